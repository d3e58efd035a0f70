"""What data ask of a model: its tokenizer, its image processor, and how it numbers its classes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from repana.extraction.sources import _refusals
from repana.extraction.sources._factories import imported
from repana.extraction.sources._models import check_folder, hf_error

UNNAMED = re.compile(r"LABEL_\d+")  # what transformers calls a class that nobody named
WORDNET = re.compile(r"n\d{8}")  # folders of ImageNet


@dataclass(frozen=True)
class Described:
    """A model by its line of text, by itself, or both."""

    spec: str = ""
    network: nn.Module | None = None

    @classmethod
    def of(cls, model: "str | nn.Module | None", network: nn.Module | None = None) -> "Described":
        if isinstance(model, nn.Module):
            path = getattr(getattr(model, "config", None), "_name_or_path", "")
            return cls(f"hf:{path}" if path else type(model).__name__, model)
        return cls(model or "", network)

    @cached_property
    def path(self) -> str | None:
        """Where transformers finds the model's files."""
        kind, _, path = self.spec.partition(":")
        if kind != "hf":
            return None
        check_folder(path)
        return str(Path(path).expanduser()) if path.startswith("~") else path

    @cached_property
    def config(self) -> Any:
        """The configuration of a model of transformers."""
        config = getattr(self.network, "config", None)
        if config is not None or self.path is None:
            return config if hasattr(config, "id2label") else None
        try:
            return imported("transformers", "hf").AutoConfig.from_pretrained(self.path, trust_remote_code=False)
        except OSError as error:
            raise hf_error(self.path, error) from error
        except ValueError as error:
            raise hf_error(self.path, error) from error

    @cached_property
    def timm(self) -> Mapping[str, Any] | None:
        """The configuration that timm keeps of a model's weights and inputs."""
        found = getattr(self.network, "pretrained_cfg", None)
        if isinstance(found, Mapping):
            return found
        if self.network is None and self.spec.startswith("timm:"):
            name = self.spec.removeprefix("timm:").partition("(")[0]
            config = imported("timm", "timm").get_pretrained_cfg(name)
            return None if config is None else config.to_dict()
        return None

    @cached_property
    def outputs(self) -> int | None:
        """How many classes the model decides between, where it says that it is a classifier."""
        if self.config is not None:
            kind = type(self.network).__name__ if self.network is not None else (self.config.architectures or [""])[0]
            whole = "Classification" in kind and "TokenClassification" not in kind
            values = getattr(self.config, "problem_type", None) == "regression" or self.config.num_labels < 2
            return self.config.num_labels if whole and not values else None
        if self.timm is not None:
            found = getattr(self.network, "num_classes", None) if self.network is not None else None
            return int(found if found is not None else self.timm.get("num_classes", 0)) or None
        named = self._categories
        return len(named) if named else None

    @cached_property
    def places(self) -> dict[str, int] | None:
        """The output of each class by its name, where the model names its classes."""
        if self.outputs is None:
            return None
        if self.config is None:
            return {name: i for i, name in enumerate(self._categories)} or None
        forward = {str(k): int(v) for k, v in (self.config.label2id or {}).items()}
        backward = {str(v): int(k) for k, v in (self.config.id2label or {}).items()}
        named = [found for found in (forward, backward) if found and not all(map(UNNAMED.fullmatch, found))]
        if len(named) == 2 and named[0] != named[1]:
            raise _refusals.labels_disagree(self.spec, forward, backward)
        return named[0] if named else None

    @property
    def _categories(self) -> list[str]:
        """Names that weights of torchvision carry."""
        meta = getattr(getattr(self.network, "weights", None), "meta", None)
        return [str(name) for name in meta.get("categories", ())] if isinstance(meta, Mapping) else []

    def wordnet_places(self, names: list[str]) -> dict[str, int] | None:
        """Outputs of folders that are called by WordNet numbers, in a classifier of ImageNet."""
        if not names or not all(map(WORDNET.fullmatch, names)) or self.outputs is None:
            return None
        if self.outputs == len(names):
            return {name: i for i, name in enumerate(sorted(names))}
        try:
            from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
        except ImportError:
            return None
        subset = infer_imagenet_subset(self.network) if self.network is not None else None
        if subset is None:
            return None
        places = {name: i for i, name in enumerate(ImageNetInfo(subset).label_names())}
        return places if set(names) <= set(places) else None
