"""What models, weights and data leave open, and the option that decides it: refusals and notes.

A function that returns an error is raised by its caller; one that returns a text is a note, which is said.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from repana._check import listed, nearest
from repana.errors import FileError, InputError

# --- models and weights -----------------------------------------------------------------------------------------------


def positional_arguments(spec: str) -> FileError:
    return FileError("RA311", f"{spec!r} gives arguments by their place; expected names: factory(key=value).")


def factory_arguments(
    name: str, given: Mapping[str, Any], needed: Sequence[str], unknown: Sequence[str], takes: Sequence[str]
) -> FileError:
    if unknown:
        return FileError("RA311", f"{name!r} takes no {listed(unknown)}; expected some of {listed(takes, 12)}.")
    call = ", ".join([f"{key}={value!r}" for key, value in given.items()] + [f"{key}=..." for key in needed])
    return FileError("RA311", f'{name!r} needs {listed(needed)}; write "{name}({call})".')


def model_arguments(spec: str, reason: str) -> FileError:
    return FileError("RA311", f"{spec!r} cannot be made with these arguments ({reason}).")


def no_timm_model(name: str, names: Sequence[str]) -> FileError:
    return FileError("RA304", f"timm has no model {name!r}; nearest: {listed(nearest(name, names))}.")


def no_timm_weights(name: str, trained: Sequence[str]) -> FileError:
    have = f"it has {listed(trained, 9)}" if trained else "it has none for this architecture; give --checkpoint"
    return FileError("RA312", f"timm has no trained weights {name!r}; {have}.")


def weights_not_loaded(spec: str, reason: str) -> FileError:
    return FileError(
        "RA312", f"the weights of {spec!r} could not be loaded ({reason}); give a file of them with --checkpoint."
    )


def not_pretrained_here(spec: str) -> FileError:
    return FileError(
        "RA312",
        f"--pretrained (pretrained=True) is for 'timm:NAME', got {spec!r}, which makes its own weights; give it an "
        "argument, or --checkpoint.",
    )


def two_sources_of_weights() -> FileError:
    return FileError("RA312", "got --pretrained and --checkpoint, each of which gives all weights; expected one.")


def no_checkpoint_given(options: Sequence[str]) -> FileError:
    return FileError("RA312", f"got {', '.join(options)}, which choose in a file; expected --checkpoint too.")


def remote_code(spec: str) -> FileError:
    return FileError(
        "RA302",
        f"{spec!r} brings code of its own, which is not run; build the model in a file of yours and give "
        "file.py:factory.",
    )


def checkpoint_is_folder(path: Any) -> FileError:
    return FileError("RA301", f"checkpoint {str(path)!r} is a folder; expected one file of weights in it.")


def random_weights(spec: str) -> str:
    return f"RA313: the weights of {spec!r} are random; --pretrained (pretrained=True) takes trained ones."


def newly_initialised(spec: str, kind: str, missing: Sequence[str], total: int) -> str:
    return (
        f"RA313: {len(missing)} of {total} weights of {kind} are not in {spec!r} and are random: {listed(missing)}. "
        "What depends on them says nothing about training."
    )


def class_missing(spec: str, names: Sequence[str]) -> str:
    which = f"names {listed(names)}, which this version of transformers lacks" if names else "names no class"
    return f"RA314: the configuration of {spec!r} {which}; AutoModel was taken, without the head of a task."


def weights_unused(spec: str, kind: str, unexpected: Sequence[str]) -> str:
    return f"RA314: {kind} has no place for {len(unexpected)} weight(s) in {spec!r}: {listed(unexpected)}."


def weights_chosen(path: Any, taken: str, names: Sequence[str]) -> str:
    others = [name for name in names if name != taken]
    return f"RA314: {str(path)!r} holds {listed(names)}; {taken!r} was taken. --weights {others[0]!r} takes the other."


def prefix_chosen(path: Any, prefix: str, outside: Sequence[str]) -> str:
    return (
        f"RA314: of {str(path)!r} the weights under {prefix!r} were taken; {len(outside)} other key(s) are no part of "
        f"the model: {listed(outside, 3)}."
    )


def buffers_differ(path: Any, absent: Sequence[str], unused: Sequence[str]) -> str:
    parts = [f"{listed(absent, 3)} not in the file, left as built"] * bool(absent)
    parts += [f"{listed(unused, 3)} not in the model, left out"] * bool(unused)
    return f"RA314: buffers of {str(path)!r}: {'; '.join(parts)}. All weights were found."


def weights_without_place(path: Any, extra: Sequence[str]) -> FileError:
    first = extra[0].rpartition(".")[0]
    pattern = f"{first}.*" if first else extra[0]
    return FileError(
        "RA303",
        f"{str(path)!r} has {len(extra)} weight(s) that the model has no place for ({listed(extra, 3)}); expected "
        f"those of this architecture. A part is left out by --ignore {pattern!r} (ignore={pattern!r}).",
    )


def no_such_weights(path: Any, wanted: str, names: Sequence[str]) -> FileError:
    return FileError("RA315", f"{str(path)!r} has no set of weights {wanted!r}; expected one of {listed(names, 9)}.")


def choose_weights(path: Any, names: Sequence[str]) -> FileError:
    return FileError(
        "RA315", f"{str(path)!r} holds {listed(names, 9)}, each a set of weights; choose one: --weights (weights=)."
    )


def no_such_prefix(path: Any, prefix: str, heads: Sequence[str]) -> FileError:
    return FileError("RA315", f"no key of {str(path)!r} starts with {prefix!r}; expected one of {listed(heads, 9)}.")


def choose_prefix(path: Any, found: Sequence[str]) -> FileError:
    return FileError(
        "RA315",
        f"the model fits under {len(found)} prefixes of {str(path)!r}, {listed(found, 9)}; choose one: --prefix "
        "(prefix=).",
    )


# --- data -------------------------------------------------------------------------------------------------------------


def choose_split(spec: str, wanted: str, names: Sequence[str]) -> FileError:
    if not names:
        return FileError("RA315", f"{spec!r} holds one dataset without splits, got the split {wanted!r}; leave it out.")
    got = f", got {wanted!r}" if wanted else ""
    return FileError("RA315", f"{spec!r} holds the splits {listed(names, 9)}{got}; choose one: '{spec}:{names[0]}'.")


def folder_of_splits(spec: str, names: Sequence[str]) -> FileError:
    return FileError(
        "RA315", f"{spec!r} holds {listed(names)}, which are splits and no classes; choose one: '{spec}/{names[0]}'."
    )


def text_or_image(where: str, texts: Sequence[str], images: Sequence[str]) -> FileError:
    return FileError(
        "RA315",
        f"{where!r} holds texts ({listed(texts)}) and images ({listed(images)}); choose one: --text-column "
        "(text_column=) or --image-column (image_column=).",
    )


def classes_do_not_match(
    where: str, unknown: Sequence[str], names: Sequence[str], source: str, known: Sequence[str]
) -> InputError:
    return InputError(
        "RA316",
        f"{where} has the classes {listed(names, 9)}, got {listed(unknown)} unknown to {source}; expected some of "
        f"{listed(known, 9)}. Rename them, or give --class-names (class_names=) in the order of the outputs.",
    )


def classes_unnamed(where: str, names: Sequence[str], spec: str, outputs: int) -> InputError:
    return InputError(
        "RA316",
        f"{where} has the classes {listed(names, 9)} and the model {spec!r} does not name its {outputs} outputs; give "
        "--class-names (class_names=) in their order, or --class-names none (False) where they are other classes.",
    )


def class_counts_differ(where: str, names: Sequence[str], spec: str, outputs: int) -> InputError:
    return InputError(
        "RA316",
        f"{where} has {len(names)} classes ({listed(names)}) and the model {spec!r} {outputs} outputs; give "
        "--class-names (class_names=), one for each output in their order, or --class-names none (False) where the "
        "outputs are other classes.",
    )


def class_names_twice(names: Sequence[str]) -> InputError:
    return InputError("RA316", f"`class_names` is {listed(names, 9)}; expected names that differ.")


def names_in_one_text(names: Any) -> InputError:
    return InputError("RA212", f"`class_names` is {names!r}; expected a list of names.")


def labels_disagree(spec: str, forward: Mapping[str, int], backward: Mapping[str, int]) -> InputError:
    return InputError(
        "RA316",
        f"the configuration of {spec!r} numbers its classes twice, label2id {dict(forward)} and id2label "
        f"{ {v: k for k, v in backward.items()} }; expected the same order. Correct config.json.",
    )


def numbers_are_names(where: str, spec: str, places: Mapping[str, int]) -> InputError:
    return InputError(
        "RA316",
        f"{where} has numbers, which the model {spec!r} has as names of other outputs ({dict(places)}); expected the "
        "names as text, or numbers that are no such names.",
    )


def label_outside(where: str, value: int, count: int, source: str) -> InputError:
    return InputError(
        "RA316",
        f"{where} has the label {value}; expected 0 to {count - 1}, the {count} classes of {source}, or -100 for rows "
        "without a label.",
    )


def label_fractions(where: str, value: float) -> InputError:
    return InputError("RA316", f"{where} has the value {value:g}; expected classes (whole numbers or names).")


def label_lists(where: str) -> InputError:
    return InputError("RA316", f"{where} has a list in each row; expected one class a row.")


def labels_hidden(where: str) -> InputError:
    return InputError(
        "RA316",
        f"{where} has no label in any row (-1 throughout, as hidden test labels have); give another split, or "
        "--label-column none (label_column=False).",
    )


def unlabelled_rows(where: str, count: int, n: int) -> str:
    return f"RA317: {where}: {count} of {n} rows have no label (-1) and are left out of what compares classes."


def matched_without_case(where: str, names: Sequence[str], known: Sequence[str]) -> str:
    return f"RA317: {where}: {listed(names, 9)} were matched with {listed(known, 9)} without regard to case."


def empty_folders(where: str, names: Sequence[str]) -> str:
    return f"RA317: {where}: no image of class(es) {listed(names)}, which keep their number."


def files_left_out(where: str, count: int, first: str) -> str:
    return f"RA317: {where}: {count} file(s) that are no images were left out, such as {first!r}."


def texts_cut(where: str, count: int, n: int, longest: int, most: int) -> str:
    more = "; --max-length (max_length=) takes more" if longest < most else ", where the model's positions end"
    return f"RA317: {where!r}: {count} of {n} texts have more than {longest} tokens and are cut there{more}."


def padded_with_end(spec: str, token: str) -> str:
    return f"RA317: the tokenizer of {spec!r} has no padding token; {token!r} pads, and the attention mask says where."


def padding_set(spec: str, number: int) -> str:
    return f"RA317: the model {spec!r} knew no padding; its configuration now has pad_token_id={number}."


def no_padding(spec: str) -> FileError:
    return FileError(
        "RA318",
        f"the tokenizer of {spec!r} has neither a padding nor an end-of-text token; expected one of them: set "
        "`tokenizer.pad_token` and save the tokenizer again.",
    )


def length_beyond(found: int, most: int, spec: str) -> InputError:
    return InputError("RA318", f"`max_length` is {found}; expected at most {most}, which {spec!r} has positions for.")


def ids_too_long(where: str, found: int, most: int) -> FileError:
    return FileError("RA318", f"{where!r} has rows of {found} ids; expected at most {most}, the model's positions.")


def cells_missing(where: str, count: int, first: int) -> InputError:
    return InputError(
        "RA319",
        f"{where} has {count} empty cell(s), the first in row {first} (counted from 0); expected a value in each: drop "
        "those rows.",
    )


def image_unreadable(name: str, reason: str) -> FileError:
    return FileError("RA320", f"image {name!r} cannot be read ({reason}).")


def image_too_deep(name: str, mode: str) -> FileError:
    return FileError(
        "RA320", f"image {name!r} has more than 8 bits a channel (mode {mode!r}), which would be clipped; convert it."
    )


def no_images(folder: str, classes: int, loose: int, suffixes: Sequence[str]) -> FileError:
    if loose:
        return FileError(
            "RA320", f"{folder!r} holds {loose} image(s) itself; expected one folder for each class, with its images."
        )
    return FileError(
        "RA320",
        f"no image in the {classes} folder(s) of {folder!r}; expected files in {listed(suffixes, 12)}.",
    )


def images_do_not_stack(spec: str, reason: str) -> InputError:
    return InputError(
        "RA321",
        f"the preparation of {spec!r} leaves images of different sizes ({reason}); give --image-size, --image-mean and "
        "--image-std (image_size=, image_mean=, image_std=).",
    )


def no_preparation(where: str, spec: str) -> FileError:
    return FileError(
        "RA321",
        f"{where!r} holds images and the model {spec!r} does not say how it takes them; give --image-size, "
        "--image-mean and --image-std (image_size=, image_mean=, image_std=).",
    )


def no_processor(spec: str, reason: str) -> FileError:
    return FileError(
        "RA321",
        f"{spec!r} has no image processor ({reason}); give --image-size, --image-mean and --image-std (image_size=, "
        "image_mean=, image_std=).",
    )


def preparation_incomplete(absent: Sequence[str]) -> InputError:
    return InputError(
        "RA321", f"`image_size`, `image_mean` and `image_std` belong together; expected {listed(absent)} too."
    )


def image_size_of(size: Any) -> InputError:
    return InputError("RA321", f"`image_size` is {size!r}; expected one number, or height and width.")


def numbers_by_commas(name: str, text: str) -> InputError:
    return InputError("RA212", f"`{name}` is {text!r}; expected numbers parted by commas, such as 0.5,0.5,0.5.")


def image_moments(mean: Sequence[float], std: Sequence[float]) -> InputError:
    return InputError(
        "RA321",
        f"`image_mean` is {list(mean)} and `image_std` {list(std)}; expected 1 or 3 numbers each, no deviation of 0.",
    )


def shape_not_understood(shape: str) -> InputError:
    return InputError("RA212", f"`input` is {shape!r}; expected sizes above 0, such as 3x32x32.")
