"""Refusals of the heads family."""

from collections.abc import Sequence

from repana._check import listed
from repana.errors import InputError, ModelError


def no_such_head(head: int, heads: int) -> InputError:
    return InputError("RA212", f"`head` is {head}; heads are numbered 0 to {heads - 1}.")


def padding_unknown() -> ModelError:
    return ModelError(
        "RA107",
        "positions may be padding, and no mask says which; name the mask as `mask`, or give mask=False where nothing "
        "is padded.",
    )


def no_whole_layer(names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA134",
        f"no self-attention saw every text once: {listed(names)} attend within windows, or over positions whose "
        "padding is not known.",
    )


def no_router(named: Sequence[str]) -> ModelError:
    what = f"none of {listed(named)} ran" if named else "no module gave scores, chosen experts and their weights"
    return ModelError("RA135", f"{what}; name the modules that score experts as `routers`, with `k`.")


def no_scores(name: str) -> ModelError:
    return ModelError("RA135", f"{name!r} gives no scores (tokens, experts); name the module that scores experts.")


def how_many_experts(name: str) -> ModelError:
    return ModelError("RA135", f"{name!r} gives scores alone; say as `k` how many experts a token takes.")


def too_many_experts(k: int, experts: int) -> ModelError:
    if experts < 2:
        return ModelError(
            "RA135", "the first output of the module has one column; name the module inside that scores all experts."
        )
    return ModelError("RA135", f"`k` is {k} and the router scores {experts} experts; expected 1 to {experts - 1}.")


def rows_of_a_router(name: str, rows: int, texts: int) -> ModelError:
    return ModelError("RA135", f"{name!r} scores {rows} rows for {texts} texts; expected as many tokens of each.")
