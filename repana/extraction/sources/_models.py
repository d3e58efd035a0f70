"""Models by name: timm's, and folders or names that transformers reads. Nothing of theirs is run but their weights."""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from repana import _check
from repana.errors import FileError
from repana.extraction.sources import _weights_refusals
from repana.extraction.sources._factories import imported, keywords_of, reason_of

Say = Callable[[str], None]

TIMM = ("timm:NAME", "timm:NAME(key=value)")


def timm_model(spec: str, *, pretrained: bool, filled: bool, say: Say) -> nn.Module:
    """A model of timm in evaluation mode; `filled`: its weights are to come from a checkpoint."""
    timm = imported("timm", "timm")
    found = re.fullmatch(r"timm:(?P<name>[^()]+)(?P<call>\(.*\))?", spec)
    if not found:
        raise _weights_refusals.spec_not_understood(spec, "model", TIMM)
    name, keywords = found["name"], keywords_of(found["call"], spec, "model", TIMM)
    pretrained = bool(keywords.pop("pretrained", pretrained))
    if ":" not in name:  # `hf-hub:` and `local-dir:` are names that timm does not list
        _check_timm_name(timm, name, pretrained)
    try:
        network = timm.create_model(name, pretrained=pretrained, **keywords).eval()
    except TypeError as error:
        raise _weights_refusals.model_arguments(spec, reason_of(error)) from error
    except Exception as error:  # no network, a moved file, a cut file: each library has classes of its own
        raise _weights_refusals.weights_not_loaded(spec, reason_of(error)) from error
    if not pretrained and not filled:
        say(_weights_refusals.random_weights(spec))
    return network


def _check_timm_name(timm: ModuleType, name: str, pretrained: bool) -> None:
    """timm drops what it does not know of a name when no weights are asked for; here it is refused either way."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise _weights_refusals.no_timm_model(name, timm.list_models())
    trained = timm.list_models(f"{architecture}.*", pretrained=True)
    if (tag and name not in trained) or (pretrained and not trained):
        raise _weights_refusals.no_timm_weights(name, trained)


def hf_model(path: str, *, filled: bool, say: Say) -> nn.Module:
    """The class that the configuration names, else the bare encoder; what the files do not fill is said."""
    transformers = imported("transformers", "hf")
    check_folder(path)
    path = str(Path(path).expanduser()) if path.startswith("~") else path
    try:
        config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
        kind = _class_of(transformers, config, path, say)
        network, info = kind.from_pretrained(path, output_loading_info=True, trust_remote_code=False)
    except FileError:
        raise
    except Exception as error:
        raise hf_error(path, error) from error
    missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    total = len(network.state_dict())
    if missing and len(missing) >= len(dict(network.named_parameters())) and not filled:
        raise _weights_refusals.keys_do_not_match(f"hf:{path}", total, missing, unexpected, "")
    if missing and not filled:
        say(_weights_refusals.newly_initialised(f"hf:{path}", type(network).__name__, missing, total))
    if unexpected:
        say(_weights_refusals.weights_unused(f"hf:{path}", type(network).__name__, unexpected))
    return network.eval()


def check_folder(path: str) -> None:
    """A path that is written as one must be there: otherwise transformers would look for it on the hub."""
    if path.startswith((".", "/", "~")) and not Path(path).expanduser().exists():
        raise _weights_refusals.file_missing(path, "model folder")


def hf_error(path: str, error: Exception) -> FileError:
    """The refusal for what transformers raised."""
    if "trust_remote_code" in str(error):
        return _weights_refusals.remote_code(f"hf:{path}")
    return _check.unreadable(f"hf:{path}", reason_of(error))


def _class_of(transformers: ModuleType, config: Any, path: str, say: Say) -> Any:
    names = getattr(config, "architectures", None) or []
    for name in names:
        try:
            found = getattr(transformers, name, None)
        except ImportError as error:  # the class is there, something that it imports is broken
            raise _check.extra_missing("transformers", "hf", reason_of(error.__cause__ or error)) from error
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    say(_weights_refusals.class_missing(f"hf:{path}", names))
    return transformers.AutoModel
