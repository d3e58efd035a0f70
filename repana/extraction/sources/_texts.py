"""Texts and token ids as padded batches with mask and labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from repana.errors import FileError
from repana.extraction.sources import _refusals
from repana.extraction.sources._described import Described
from repana.extraction.sources._factories import imported
from repana.extraction.sources._models import hf_error
from repana.extraction.sources._tables import IDS, Table

TOKENS = 128  # of a text, where the user does not say how many
# Their positions count from the padding's number on, so that the last ones of the table do not exist.
POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "ibert", "data2vec-text")


@dataclass(frozen=True)
class Texts(Dataset):
    """Texts, or token ids, with labels; `classes` are the names of the labels."""

    rows: Sequence[Any]
    labels: Sequence[int] | None
    classes: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, int | None]:
        return self.rows[index], None if self.labels is None else self.labels[index]


@dataclass(frozen=True)
class Tokenized:
    """How a list of rows becomes a batch, padded to its longest row."""

    tokenizer: Any
    longest: int

    def __call__(self, rows: list[tuple[Any, int | None]]) -> dict[str, Any]:
        content = [row for row, _ in rows]
        if isinstance(content[0], str):
            batch = self.tokenizer(
                content, padding=True, truncation=True, max_length=self.longest, return_tensors="pt",
                return_attention_mask=True,
            )  # fmt: skip
        else:
            batch = self.tokenizer.pad({k: [row[k] for row in content] for k in content[0]}, return_tensors="pt")
        labels = [label for _, label in rows]
        return {**batch} if None in labels else {**batch, "labels": torch.tensor(labels)}


def text_loader(
    texts: Texts, model: Described, where: str, batch_size: int, max_length: int | None, say: Callable[[str], None]
) -> DataLoader:
    """Batches of token ids, read with the tokenizer of the model."""
    tokenizer = tokenizer_of(model, where)
    _give_padding(tokenizer, model, say)
    most = _most(tokenizer, model)
    if max_length is not None and max_length > most:
        raise _refusals.length_beyond(max_length, most, model.spec)
    longest = min(max_length or TOKENS, most)
    if len(texts) and isinstance(texts.rows[0], str):
        # A token is at least one byte: only longer texts need a look.
        candidates = [t for t in texts.rows if len(t.encode()) + tokenizer.num_special_tokens_to_add() > longest]
        cut = sum(len(tokenizer(t, truncation=False, verbose=False)[IDS]) > longest for t in candidates)
        if cut:
            say(_refusals.texts_cut(where, cut, len(texts), longest, most))
    else:
        found = max((len(row[IDS]) for row in texts.rows), default=0)
        if found > most:
            raise _refusals.ids_too_long(where, found, most)
    return DataLoader(texts, batch_size=batch_size, collate_fn=Tokenized(tokenizer, longest))


def tokenizer_of(model: Described, where: str) -> Any:
    path = model.path
    if path is None:
        raise _refusals.needs_tokenizer(where, model.spec)
    try:
        return imported("transformers", "hf").AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        if isinstance(error, FileError):
            raise
        raise hf_error(path, error) from error


def _give_padding(tokenizer: Any, model: Described, say: Callable[[str], None]) -> None:
    """The end-of-text token pads where there is no other; the mask tells it from a real one."""
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise _refusals.no_padding(model.spec)
        tokenizer.pad_token = tokenizer.eos_token
        say(_refusals.padded_with_end(model.spec, tokenizer.eos_token))
    config = getattr(model.network, "config", None)
    if model.outputs is not None and config is not None and getattr(config, "pad_token_id", 0) is None:
        config.pad_token_id = tokenizer.pad_token_id  # such a classifier looks for the last token that is no padding
        say(_refusals.padding_set(model.spec, tokenizer.pad_token_id))


def _most(tokenizer: Any, model: Described) -> int:
    """The longest text that the tokenizer and the model's table of positions allow."""
    most = int(tokenizer.model_max_length)
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        after = model.config.model_type in POSITIONS_AFTER_PADDING
        most = min(most, positions - (model.config.pad_token_id or 0) - 1 if after else positions)
    return most


def text_rows(table: Table, column: str) -> list[str]:
    """The texts of a column, without holes."""
    import pandas as pd

    cells = pd.Series(table.column(column), dtype=object)
    empty = cells.isna().to_numpy()
    if empty.any():
        raise _refusals.cells_missing(table.described(column), int(empty.sum()), int(empty.argmax()))
    return [str(cell) for cell in cells]


def id_rows(table: Table) -> list[dict[str, list[int]]]:
    """Token ids that were made beforehand, with their masks and types."""
    names = [name for name in (IDS, "attention_mask", "token_type_ids") if name in table.names]
    columns = [table.column(name) for name in names]
    return [{name: list(column[i]) for name, column in zip(names, columns)} for i in range(table.rows)]
