"""Refusals of the heads family."""

from collections.abc import Sequence

from repana._check import listed
from repana.errors import InputError, ModelError


def no_such_head(head: int, heads: int) -> InputError:
    return InputError("RA212", f"`head` is {head}; heads are numbered 0 to {heads - 1}.")


def no_router(named: Sequence[str]) -> ModelError:
    what = f"none of {listed(named)} ran" if named else "no module gave scores, chosen experts and their weights"
    return ModelError("RA135", f"{what}; name the modules that score experts as `routers`, with `k`.")


def no_scores(name: str) -> ModelError:
    return ModelError("RA135", f"{name!r} gives no scores (tokens, experts); name the module that scores experts.")


def how_many_experts(name: str) -> ModelError:
    return ModelError("RA135", f"{name!r} gives scores alone; say as `k` how many experts a token takes.")


def too_many_experts(k: int, experts: int) -> ModelError:
    return ModelError("RA135", f"`k` is {k} and the router scores {experts} experts; expected 1 to {experts - 1}.")


def rows_of_a_router(name: str, rows: int, texts: int) -> ModelError:
    return ModelError("RA135", f"{name!r} scores {rows} rows for {texts} texts; expected as many tokens of each.")
