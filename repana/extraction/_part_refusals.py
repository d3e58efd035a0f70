"""Refusals of addresses of parts of a module: which part, what there is, what to ask for instead."""

from collections.abc import Sequence

from repana._check import listed
from repana.errors import ModelError


def unknown_part(text: str, tail: str) -> ModelError:
    return ModelError(
        "RA136",
        f"{text!r}: '#{tail}' names no part of a module; expected #h3 (what head 3 gives), #w3 (what it writes), #q3, "
        "#k1, #v1 (a query, key or value; #q3.raw before norms and rotary embeddings), #router, #e5 (the tokens of "
        "expert 5), or #in.",
    )


def maps_are_elsewhere(text: str) -> ModelError:
    return ModelError(
        "RA136", f"{text!r} is a map, not a vector for each token; `repana.heads.attention(..., keep=...)` keeps maps."
    )


def no_module(text: str, base: str, owners: Sequence[str]) -> ModelError:
    return ModelError("RA136", f"{text!r}: the model has no module {base!r}; modules with parts are {listed(owners)}.")


def owners(text: str, base: str, found: Sequence[str], what: str) -> ModelError:
    sort = "router" if what in ("router", "e") else "self-attention"
    if found:
        return ModelError("RA136", f"{text!r}: {base!r} holds {len(found)} modules with {sort}: {listed(found)}.")
    return ModelError("RA136", f"{text!r}: no {sort} was seen to run in {base!r}.")


def not_seen(text: str, what: str, seen: Sequence[str]) -> ModelError:
    why = {
        "w": "no output projection was seen to read its heads",
        "e": "the tokens that come in were not seen",
    }.get(what, "its queries, keys and values go into no one function")
    return ModelError("RA136", f"{text!r}: {why}; parts that can be read: {listed(['#' + s for s in seen])}.")


def groups_changed(text: str, groups: int, found: int) -> ModelError:
    return ModelError(
        "RA136", f"{text!r}: the first samples showed {groups} groups of keys and values, and a later batch {found}."
    )


def no_source(text: str, module: str) -> ModelError:
    return ModelError(
        "RA136",
        f"{text!r}: not exactly one matrix of {module!r} gives it before norms and rotary embeddings; record the "
        "output of that matrix by its own name.",
    )


def no_such_number(text: str, title: str, number: int, count: int) -> ModelError:
    return ModelError("RA136", f"{text!r}: there is no {title} {number}; they are numbered 0 to {count - 1}.")


def no_part_matches(text: str, names: Sequence[str]) -> ModelError:
    found = f"the parts are {listed(names)}" if names else "no self-attention and no router was seen to run"
    return ModelError("RA136", f"{text!r} matches no part of a module; {found}.")


def several_experts(names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA136", f"{listed(names)}: every expert gets other tokens, so rows would differ; record one at a time."
    )


def expert_rows(text: str, method: str) -> ModelError:
    return ModelError(
        "RA136",
        f"{text!r} with pooling {method!r}: a text may send no token to an expert, so there is no value for each text; "
        "record it alone, with pool='tokens'.",
    )


def parts_of_shards(names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA136", f"{listed(names)}: parts of modules cannot be read of a model whose weights are sharded."
    )


def no_gradient(names: Sequence[str]) -> ModelError:
    return ModelError(
        "RA136", f"{listed(names)}: a part of a module is read, not changed; take the module itself for gradients."
    )


def not_one_path(name: str, value: object) -> ModelError:
    return ModelError(
        "RA137",
        f"generation with {name}={value!r}: texts change places or tokens are taken back between steps, so calls do "
        "not add up to one text; generate greedily or by sampling, one sequence for each prompt.",
    )


def other_ends() -> ModelError:
    return ModelError(
        "RA137",
        "generation with stopping criteria or stop strings of its own: where each text ended is not known; end texts "
        "by `eos_token_id` and `max_new_tokens`.",
    )


def other_steps(address: str, call: int, length: int, before: int, batch: int) -> ModelError:
    return ModelError(
        "RA137",
        f"{address!r}: call {call} on batch {batch} has {length} positions after {before}; expected 1 (with a cache) "
        f"or {before + 1} (without). Record single calls, as {address.partition('|')[0]}@{call}.",
    )


def several_calls_a_step(address: str, calls: int, passes: int) -> ModelError:
    return ModelError(
        "RA137",
        f"{address!r} ran {calls} times in {passes} passes of the model, so its calls are not one for each step; "
        "record a module that runs once in a pass.",
    )


def steps_of_one_call(address: str) -> ModelError:
    return ModelError("RA137", f"{address!r}: 'steps' puts all calls together; leave out the number of the call.")


def no_such_position(address: str, position: int, shortest: int, batch: int) -> ModelError:
    return ModelError(
        "RA111",
        f"{address!r}: position {position} is not in every sample of batch {batch}, the shortest of which has "
        f"{shortest} real positions; expected {-shortest} to {shortest - 1}.",
    )
