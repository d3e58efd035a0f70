"""Refusals of gradients, residual paths and copies: what was found, where, and what to do."""

from collections.abc import Sequence

from repana._check import listed
from repana.errors import InputError, ModelError


def no_copy(model: str, reason: str) -> ModelError:
    return ModelError(
        "RA117",
        f"{model} cannot be copied to be re-initialised ({reason.rstrip('.')}); give `factory=`.",
    )


def weights_kept(model: str, layer: str) -> ModelError:
    return ModelError(
        "RA117",
        f"the weights of {layer!r} of {model} are quantised and cannot be drawn again; re-initialise the network that "
        "it was made from, or give `factory=`.",
    )


def target_rows(found: int, requested: int, name: str = "targets") -> InputError:
    return InputError(
        "RA255",
        f"`{name}` has {found} rows and the data gave {requested} samples; expected one row a sample, in order.",
    )


def labels_to_explain(least: int, most: int, columns: int) -> InputError:
    return InputError(
        "RA203",
        f"labels run from {least} to {most} and the model has {columns} outputs, from 0; leave out rows without "
        "a label, or explain the predicted class.",
    )


def labels_beyond(note: str) -> InputError:
    return InputError("RA203", f"{note}; give labels from 0, or data without them.")


def no_position(position: object) -> InputError:
    return InputError("RA212", f"`position` is 'first', 'last' or a whole number; got {position!r}.")


def position_beyond(position: object, fewest: int) -> InputError:
    return InputError(
        "RA212",
        f"position {position!r} is in no sample of {fewest} real positions; expected -{fewest} to {fewest - 1}.",
    )


def sample_without_labels(sample: int) -> InputError:
    return InputError(
        "RA203", f"no position of sample {sample} of a batch has a label; leave it out, or explain a logit of it."
    )


def position_without_label(position: object) -> InputError:
    return InputError(
        "RA203",
        f"position {position!r} has no label in some samples, as the last token of a text has no next one; take "
        "another `position`, such as -2, or target='loss'.",
    )


def no_next_token(reason: str) -> InputError:
    return InputError(
        "RA203",
        f"the data have no labels for each token, and the next tokens cannot stand for them: {reason}. Give labels "
        "(b, t), with -100 where there is none, or explain a logit.",
    )


def used_again(layer: str, calls: int) -> ModelError:
    return ModelError(
        "RA118",
        f"{layer!r} is called {calls} times in one forward pass, so there is no one value to attribute to; name a "
        "layer that is called once (a wrapper of each use).",
    )


def no_path(layer: str, reason: str) -> ModelError:
    return ModelError("RA118", f"no derivative reaches {layer!r}: {reason}.")


def not_traced(model: str, where: str, reason: str) -> ModelError:
    return ModelError(
        "RA120",
        f"{model} cannot be traced by torch.fx ({where}: {reason.rstrip('.')}); give the part of it that can be, or "
        "write that layer without control flow.",
    )


def no_residual(model: str) -> ModelError:
    return ModelError(
        "RA122",
        f"no sum of a skip path and a branch was seen in a forward pass of {model}; `flow(paths=...)` takes the two "
        "addresses of each block.",
    )


def other_architecture(names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA132",
        f"the two networks differ in {listed(names)}; a straight line between two networks needs the same parameters "
        "of the "
        "same shapes.",
    )


def attention_differs(moved: float, name: str = "") -> ModelError:
    where = f"{name!r}" if name else "the model"
    return ModelError(
        "RA134",
        f"with its attention read {where} gives other outputs (by {moved:.2g} of their size): its attention has a "
        "part that its queries, keys, values and mask do not show.",
    )


def no_self_attention() -> ModelError:
    return ModelError(
        "RA134",
        "no self-attention was seen: expected a model of transformers that goes through its AttentionInterface, calls "
        "of scaled_dot_product_attention or nn.MultiheadAttention, or a softmax over keys times values.",
    )


def no_feed_forward(model: str) -> ModelError:
    return ModelError(
        "RA138",
        f"no feed-forward part was seen in {model}: expected a matrix that widens its input outside attention and one "
        "behind it that narrows it again; name the modules of hidden states as `layers`.",
    )


def samples_interact(moved: float) -> ModelError:
    return ModelError(
        "RA139",
        f"the outputs of a sample change with the others in its batch (by {moved:.2g} of their size); gradients of "
        "single samples are not defined there.",
    )
