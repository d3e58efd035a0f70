"""What models, weights and data leave open, and the option that decides it: refusals and notes.

A function that returns an error is raised by its caller; one that returns a text is a note, which is said.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from repana._check import listed
from repana.errors import FileError, InputError

# --- models and weights -----------------------------------------------------------------------------------------------


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


# --- data -------------------------------------------------------------------------------------------------------------


def choose_split(spec: str, requested: str, names: Sequence[str]) -> FileError:
    if not names:
        return FileError(
            "RA315", f"{spec!r} holds one dataset without splits, got the split {requested!r}; leave it out."
        )
    got = f", got {requested!r}" if requested else ""
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


def needs_tokenizer(spec: str, model: str) -> FileError:
    return FileError(
        "RA304", f"{spec!r} holds text, which needs the tokenizer of a model 'hf:PATH'; the model is {model!r}."
    )
