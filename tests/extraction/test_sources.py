"""Models and data from a line of text: what is loaded, and what is refused with which words."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import bert, table, word_tokenizer
from torch import nn

from repana import FileError, ModelError, RepanaError
from repana.extraction._sources import data_from, model_from, read_arrays
from repana.extraction.sources._tables import open_table

HERE = str(Path(__file__).parents[1])


# --- specs ------------------------------------------------------------------------------------------------------------


def test_model_specs():
    assert isinstance(model_from("torch.nn:Identity"), nn.Identity)
    assert model_from("torch.nn:Linear(in_features=3, out_features=2)").weight.shape == (2, 3)
    assert model_from(f"{HERE}/networks.py:mlp(width=5)")[1].out_features == 5


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            "resnet50",
            "RA304: model 'resnet50' is not understood; expected one of 'pkg.module:factory', 'file.py:factory', "
            "'hf:PATH', 'timm:NAME'.",
        ),
        (
            "torch.nn:Linear(in_features=open('x'))",
            "RA304: model \"torch.nn:Linear(in_features=open('x'))\" is not understood; expected one of "
            "'pkg.module:factory', 'file.py:factory', 'hf:PATH', 'timm:NAME'.",
        ),
        ("nowhere.py:make", "RA304: model file 'nowhere.py' does not exist."),
        (
            "no_such_package:make",
            "RA304: 'no_such_package:make': No module named 'no_such_package'. Run where it can be imported, or name "
            "the file: file.py:factory.",
        ),
        ("hf:./nowhere", "RA304: model folder './nowhere' does not exist."),
    ],
)
def test_refused_models(spec, text):
    with pytest.raises(FileError) as error:
        model_from(spec)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("spec", "package", "extra"), [("timm:resnet18", "timm", "timm"), ("hf:x", "transformers", "hf")]
)
def test_an_optional_package_that_is_missing(monkeypatch, spec, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FileError) as error:
        model_from(spec)
    assert str(error.value) == (
        f"RA305: {package} cannot be imported (ModuleNotFoundError: import of {package} halted; None in sys.modules); "
        f"install it with `pip install 'repana[{extra}]'`."
    )


def test_a_factory_that_is_not_there():
    with pytest.raises(FileError, match="RA304: .*: there is no 'mpl'; nearest: 'mlp'"):
        model_from(f"{HERE}/networks.py:mpl")
    with pytest.raises(ModelError, match="RA100: `model` is of type int"):
        model_from("sys:maxsize")


def test_arrays_from_files(tmp_path):
    x, y = torch.randn(6, 3).numpy(), np.arange(6) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y)
    save_file({"features": torch.from_numpy(x).bfloat16()}, tmp_path / "a.safetensors")
    np.save(tmp_path / "a.npy", x)
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npz")["x"], x)
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npy")["features"], x)
    np.testing.assert_allclose(read_arrays(tmp_path / "a.safetensors")["features"], x, rtol=1e-2)
    tensors = data_from(f"npz:{tmp_path / 'a.npz'}")
    assert tensors[0].shape == (6, 3)
    np.savez(tmp_path / "o.npz", x=np.array([{}], dtype=object))
    with pytest.raises(FileError, match="RA302: .* would run code when loaded: it names 'pickled objects'"):
        read_arrays(tmp_path / "o.npz")
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(FileError, match="RA30[12]"):
        read_arrays(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", z=x)
    with pytest.raises(FileError, match="RA306: .* has no column 'x'; it has 'z'"):
        data_from(f"npz:{tmp_path / 'c.npz'}")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
def test_tables(tmp_path, suffix):
    import pandas as pd

    frame = pd.DataFrame({"sentence": ["a b", "c, d", "e"], "kind": ["y", "x", "y"]})
    path = tmp_path / f"t.{suffix}"
    writers = {
        "parquet": lambda: frame.to_parquet(path),
        "csv": lambda: frame.to_csv(path, index=False),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "json": lambda: frame.to_json(path, orient="records"),
    }
    writers[suffix]()
    table = open_table(path)
    assert (table.names, table.rows) == (("sentence", "kind"), 3)
    assert list(table.column("sentence")) == ["a b", "c, d", "e"]
    assert table.cell("kind", 1) == "x"
    with pytest.raises(FileError) as error:
        table.chosen("text", ())
    assert str(error.value) == f"RA306: {str(path)!r} has no column 'text'; it has 'sentence', 'kind'."
    with pytest.raises(FileError, match="RA304: .* holds text, which needs the tokenizer of a model 'hf:PATH'"):
        data_from(str(path), model="torch.nn:Identity", text_column="sentence", label_column="kind")


def test_digits_are_split_within_classes():
    train, held = data_from("digits"), data_from("digits:held_out")
    assert len(train[1]) + len(held[1]) == 1797
    assert train[0].shape[1:] == (1, 8, 8)
    assert abs(np.bincount(train[1]) / len(train[1]) - np.bincount(held[1]) / len(held[1])).max() < 0.01


# --- models of libraries ----------------------------------------------------------------------------------------------


def loaded(spec, **options):
    """The model and what was said of it."""
    notes = []
    return model_from(spec, say=notes.append, **options), notes


def refused(function, *arguments, **options):
    with pytest.raises(RepanaError) as error:
        function(*arguments, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("wide", "RA311: 'FILE:wide' needs 'width'; write \"FILE:wide(width=...)\"."),
        ("wide(depth=2)", "RA311: 'FILE:wide' needs 'width'; write \"FILE:wide(depth=2, width=...)\"."),
        ("wide(width=2, dept=2)", "RA311: 'FILE:wide' takes no 'dept'; expected some of 'width', 'depth'."),
        ("wide(2)", "RA311: 'FILE:wide(2)' gives arguments by their place; expected names: factory(key=value)."),
        ("Net", "RA311: 'FILE:Net' needs 'width'; write \"FILE:Net(width=...)\"."),
    ],
)
@pytest.mark.parametrize("function", [model_from, data_from])
def test_factories_with_arguments(tmp_path, call, text, function):
    file = tmp_path / "nets.py"
    file.write_text(
        "from torch import nn\n"
        "def wide(width, depth=1): return nn.Linear(width, depth)\n"
        "class Net(nn.Module):\n    def __init__(self, *, width): super().__init__()\n"
    )
    assert refused(function, f"{file}:{call}") == text.replace("FILE", str(file))
    assert function(f"{file}:wide(width=3)").weight.shape == (1, 3)


def test_timm_says_whether_weights_are_random():
    net, notes = loaded("timm:test_resnet(num_classes=4)")
    assert net.num_classes == 4
    assert not net.training
    assert notes == [
        "RA313: the weights of 'timm:test_resnet(num_classes=4)' are random; --pretrained (pretrained=True) takes "
        "trained ones."
    ]


def test_weights_of_a_file_are_not_random(tmp_path):
    net, _ = loaded("timm:test_resnet")
    save_file(net.state_dict(), tmp_path / "c.safetensors")
    again, notes = loaded("timm:test_resnet", checkpoint=tmp_path / "c.safetensors")
    assert notes == []
    torch.testing.assert_close(again.state_dict(), net.state_dict())


@pytest.mark.parametrize(
    ("spec", "options", "text"),
    [
        ("timm:resnet181", {}, "RA304: timm has no model 'resnet181'; nearest: 'resnet18', "),
        ("timm:test_resnet.wrong", {}, "RA312: timm has no trained weights 'test_resnet.wrong'; it has 'test_res"),
        (
            "timm:coatnet_0_224",
            {"pretrained": True},
            "RA312: timm has no trained weights 'coatnet_0_224'; it has none for this architecture; give --checkpoint.",
        ),
        ("timm:test_resnet(width=3)", {}, "RA311: 'timm:test_resnet(width=3)' cannot be made with these arguments ("),
        ("timm:", {}, "RA304: model 'timm:' is not understood; expected one of 'timm:NAME', 'timm:NAME(key=value)'."),
        (
            "torch.nn:Identity",
            {"pretrained": True},
            "RA312: --pretrained (pretrained=True) is for 'timm:NAME', got 'torch.nn:Identity', which makes its own "
            "weights; give it an argument, or --checkpoint.",
        ),
        (
            "timm:test_resnet",
            {"pretrained": True, "checkpoint": "c.pt"},
            "RA312: got --pretrained and --checkpoint, each of which gives all weights; expected one.",
        ),
    ],
)
def test_refused_models_of_libraries(spec, options, text):
    found = refused(model_from, spec, **options)
    assert found[: len(text)] == text


def test_weights_that_cannot_be_downloaded(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = refused(model_from, "timm:test_resnet", pretrained=True)
    assert found.startswith("RA312: the weights of 'timm:test_resnet' could not be loaded (")
    assert found.endswith("); give a file of them with --checkpoint.")
    assert refused(model_from, "hf:nobody/nothing").startswith("RA301: 'hf:nobody/nothing' cannot be read: OSError: ")


# --- transformers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A folder whose model decides between pos (0) and neg (1)."""
    folder = tmp_path_factory.mktemp("bert")
    bert(folder, label2id={"pos": 0, "neg": 1})
    return folder


def changed(folder, target, **values):
    """A copy of a model's folder with another configuration."""
    import json
    import shutil

    shutil.copytree(folder, target, dirs_exist_ok=True)
    config = json.loads((target / "config.json").read_text()) | values
    (target / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return f"hf:{target}"


def test_a_whole_classifier_says_nothing(classifier):
    net, notes = loaded(f"hf:{classifier}")
    assert (type(net).__name__, notes) == ("BertForSequenceClassification", [])


def test_a_head_that_was_never_trained_is_said(tmp_path):
    bert(tmp_path, "BertModel")
    spec = changed(tmp_path, tmp_path / "new", architectures=["BertForSequenceClassification"])
    net, notes = loaded(spec)
    assert notes == [
        f"RA313: 2 of {len(net.state_dict())} weights of BertForSequenceClassification are not in {spec!r} and are "
        "random: 'classifier.bias', 'classifier.weight'. What depends on them says nothing about training."
    ]
    save_file(net.state_dict(), tmp_path / "c.safetensors")
    assert loaded(spec, checkpoint=tmp_path / "c.safetensors")[1] == []


@pytest.mark.parametrize(
    ("names", "what"),
    [(["BertForSomethingNew"], "names 'BertForSomethingNew', which this version of transformers lacks"),
     (None, "names no class"), (["pipeline"], "names 'pipeline', which this version of transformers lacks")],
)  # fmt: skip
def test_a_class_that_is_missing_is_said(classifier, tmp_path, names, what):
    spec = changed(classifier, tmp_path, architectures=names)
    net, notes = loaded(spec)
    assert type(net).__name__ == "BertModel"
    assert notes == [
        f"RA314: the configuration of {spec!r} {what}; AutoModel was taken, without the head of a task.",
        f"RA314: BertModel has no place for 2 weight(s) in {spec!r}: 'classifier.bias', 'classifier.weight'.",
    ]


def test_code_of_a_model_folder_is_not_run(classifier, tmp_path):
    (tmp_path / "code.py").write_text("raise SystemExit('ran')")
    spec = changed(classifier, tmp_path, model_type="own", auto_map={"AutoConfig": "code.C", "AutoModel": "code.M"})
    assert refused(model_from, spec) == (
        f"RA302: {spec!r} brings code of its own, which is not run; build the model in a file of yours and give "
        "file.py:factory."
    )


def test_weights_of_another_shape_are_refused(classifier, tmp_path):
    spec = changed(classifier, tmp_path, hidden_size=12)
    assert refused(model_from, spec).startswith(f"RA301: {spec!r} cannot be read: RuntimeError: ")


# --- texts and how their labels are numbered --------------------------------------------------------------------------


def labels_of(data):
    return torch.cat([batch["labels"] for batch in data]).tolist()


def read(spec, model, **options):
    notes = []
    return data_from(spec, model=model, say=notes.append, **options), notes


@pytest.mark.parametrize(
    ("labels", "options", "codes", "names"),
    [
        (["pos", "neg"], {}, [0, 1], ("pos", "neg")),
        ([0, 1], {}, [0, 1], ("pos", "neg")),
        ([1, -100], {}, [1, -100], ("pos", "neg")),
        ([1.0, 0.0], {}, [1, 0], ("pos", "neg")),
        (["b", "a"], {"class_names": ["b", "a"]}, [0, 1], ("b", "a")),
        (["b", "a"], {"class_names": False}, [1, 0], ("a", "b")),
        ([True, False], {}, [1, 0], ("pos", "neg")),
    ],
)
def test_labels_are_numbered_as_the_model_numbers_them(classifier, tmp_path, labels, options, codes, names):
    data, notes = read(table(tmp_path, labels), f"hf:{classifier}", **options)
    assert (labels_of(data), data.dataset.classes or names, notes) == (codes, names, [])


def test_case_alone_is_no_other_name(classifier, tmp_path):
    path = table(tmp_path, ["Neg", "POS"])
    data, notes = read(path, f"hf:{classifier}")
    assert labels_of(data) == [1, 0]
    assert notes == [
        f"RA317: column 'label' of {path!r}: 'Neg', 'POS' were matched with 'pos', 'neg' without regard to case."
    ]


@pytest.mark.parametrize(
    ("labels", "options", "text"),
    [
        (
            ["pos", "negative"],
            {},
            "WHERE has the classes 'negative', 'pos', got 'negative' unknown to the model 'MODEL'; expected some of "
            "'pos', 'neg'. Rename them, or give --class-names (class_names=) in the order of the outputs.",
        ),
        (
            ["pos", "neg"],
            {"class_names": ["pos", "negative"]},
            "WHERE has the classes 'neg', 'pos', got 'neg' unknown to `class_names`; expected some of 'pos', "
            "'negative'. Rename them, or give --class-names (class_names=) in the order of the outputs.",
        ),
        (
            ["a", "b"],
            {"class_names": ["a", "b", "c"]},
            "WHERE has 3 classes ('a', 'b', 'c') and the model 'MODEL' 2 outputs; give --class-names (class_names=), "
            "one for each output in their order, or --class-names none (False) where the outputs are other classes.",
        ),
        (["a", "b"], {"class_names": ["a", "a"]}, "`class_names` is 'a', 'a'; expected names that differ."),
        (
            [0, 2],
            {},
            "WHERE has the label 2; expected 0 to 1, the 2 classes of 'MODEL', or -100 for rows without a label.",
        ),
        (
            [-1, 1],
            {},
            "WHERE has the label -1; expected 0 to 1, the 2 classes of 'MODEL', or -100 for rows without a label.",
        ),
        ([0.5, 1.0], {}, "WHERE has the value 0.5; expected classes (whole numbers or names)."),
    ],
)
def test_labels_that_the_model_does_not_know(classifier, tmp_path, labels, options, text):
    path = table(tmp_path, labels)
    text = text.replace("WHERE", f"column 'label' of {path!r}").replace("MODEL", f"hf:{classifier}")
    assert refused(data_from, path, model=f"hf:{classifier}", **options) == f"RA316: {text}"


def test_holes_are_not_read_as_words(classifier, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\ngood,pos\n,neg\nNA,\n")
    path = str(tmp_path / "t.csv")
    assert refused(data_from, path, model=f"hf:{classifier}") == (
        f"RA319: column 'label' of {path!r} has 1 empty cell(s), the first in row 2 (counted from 0); expected a value "
        "in each: drop those rows."
    )
    assert refused(data_from, path, model=f"hf:{classifier}", label_column=False) == (
        f"RA319: column 'text' of {path!r} has 1 empty cell(s), the first in row 1 (counted from 0); expected a value "
        "in each: drop those rows."
    )
    (tmp_path / "t.csv").write_text("text,label\ngood,NA\nNA,None\n")
    data, _ = read(path, f"hf:{classifier}", class_names=["None", "NA"])
    assert (labels_of(data), data.dataset.rows) == ([1, 0], ["good", "NA"])


def test_a_classifier_without_names_needs_them(tmp_path):
    bert(tmp_path)
    path = table(tmp_path, ["yes", "no"])
    assert refused(data_from, path, model=f"hf:{tmp_path}") == (
        f"RA316: column 'label' of {path!r} has the classes 'no', 'yes' and the model 'hf:{tmp_path}' does not name "
        "its 2 outputs; give --class-names (class_names=) in their order, or --class-names none (False) where they are "
        "other classes."
    )
    assert labels_of(read(path, f"hf:{tmp_path}", class_names=["yes", "no"])[0]) == [0, 1]
    bert(tmp_path, "BertModel")  # an encoder decides nothing: any order will do
    assert labels_of(read(path, f"hf:{tmp_path}")[0]) == [1, 0]


def test_numbers_that_are_names_of_other_outputs(tmp_path):
    """Stars from 1 to 3 are outputs 0 to 2: 1 and 2 may be either, 3 is a name."""
    bert(tmp_path, label2id={"1": 0, "2": 1, "3": 2})
    assert labels_of(read(table(tmp_path, [1, 3]), f"hf:{tmp_path}")[0]) == [0, 2]
    path = table(tmp_path, [1, 2])
    assert refused(data_from, path, model=f"hf:{tmp_path}") == (
        f"RA316: column 'label' of {path!r} has numbers, which the model 'hf:{tmp_path}' has as names of other outputs "
        "({'1': 0, '2': 1, '3': 2}); expected the names as text, or numbers that are no such names."
    )


def test_a_configuration_that_contradicts_itself(classifier, tmp_path):
    spec = changed(classifier, tmp_path, label2id={"neg": 0, "pos": 1})
    found = refused(data_from, table(tmp_path, ["pos", "neg"]), model=spec)
    assert found.startswith(f"RA316: the configuration of {spec!r} numbers its classes twice, label2id ")


def test_held_out_labels_have_the_numbers_of_the_first_data(tmp_path):
    bert(tmp_path, "BertModel")
    first, _ = read(table(tmp_path, ["a", "b", "c", "a"]), f"hf:{tmp_path}")
    held, _ = read(table(tmp_path, ["c", "a"], "h.csv"), f"hf:{tmp_path}", like=first)
    assert (labels_of(first), labels_of(held)) == ([0, 1, 2, 0], [2, 0])
    path = table(tmp_path, ["d", "a"], "h.csv")
    assert "got 'd' unknown to `class_names`" in refused(data_from, path, model=f"hf:{tmp_path}", like=first)


def test_long_texts_are_cut_and_it_is_said(classifier, tmp_path):
    path = table(tmp_path, ["pos", "neg"], words=["so " * 30, "so " * 3])
    data, notes = read(path, f"hf:{classifier}", text_column="words")
    assert next(iter(data))["input_ids"].shape == (2, 16)  # the positions that the model has
    assert notes == [
        f"RA317: {path!r}: 1 of 2 texts have more than 16 tokens and are cut there, where the model's positions end."
    ]
    assert read(path, f"hf:{classifier}", text_column="words", max_length=4)[1] == [
        f"RA317: {path!r}: 1 of 2 texts have more than 4 tokens and are cut there; --max-length (max_length=) takes "
        "more."
    ]
    assert refused(data_from, path, model=f"hf:{classifier}", max_length=17) == (
        f"RA318: `max_length` is 17; expected at most 16, which 'hf:{classifier}' has positions for."
    )


def gpt2(folder, kind, eos):
    import transformers

    config = transformers.GPT2Config(
        vocab_size=5, n_positions=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1,
        id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1},
    )  # fmt: skip
    getattr(transformers, kind)(config).save_pretrained(folder)
    word_tokenizer(folder, pad=None, eos=eos)


def test_a_tokenizer_without_padding(tmp_path):
    """The end of text pads, and the features of a text do not depend on what it is padded with."""
    gpt2(tmp_path, "GPT2Model", "so")
    data, notes = read(table(tmp_path, ["a", "b"]), f"hf:{tmp_path}")
    assert notes == [
        f"RA317: the tokenizer of 'hf:{tmp_path}' has no padding token; 'so' pads, and the attention mask says where."
    ]
    batch = next(iter(data))
    assert batch["attention_mask"].sum(1).tolist() == [1, 2]
    word_tokenizer(tmp_path, pad=None)
    assert refused(data_from, table(tmp_path, ["a", "b"]), model=f"hf:{tmp_path}") == (
        f"RA318: the tokenizer of 'hf:{tmp_path}' has neither a padding nor an end-of-text token; expected one of "
        "them: set `tokenizer.pad_token` and save the tokenizer again."
    )


def test_a_classifier_that_knows_no_padding_is_told(tmp_path):
    gpt2(tmp_path, "GPT2ForSequenceClassification", "so")
    net = model_from(f"hf:{tmp_path}")
    data, notes = read(table(tmp_path, ["a", "b"]), net)
    assert notes[1] == (f"RA317: the model 'hf:{tmp_path}' knew no padding; its configuration now has pad_token_id=4.")
    assert net(**next(iter(data))).logits.shape == (2, 2)


# --- folders of datasets ----------------------------------------------------------------------------------------------


def saved(folder, columns, features, **splits):
    import datasets

    features = datasets.Features(features)
    made = datasets.Dataset.from_dict(columns, features=features)
    if splits:
        made = datasets.DatasetDict(dict.fromkeys(splits, made))
    made.save_to_disk(str(folder))
    return f"dataset:{folder}"


def test_class_labels_are_matched_by_name(classifier, tmp_path, monkeypatch):
    """The data number neg 0 and pos 1, the model the other way round; -1 is a row without a label."""
    import datasets

    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    spec = saved(tmp_path / "d", {"text": ["bad", "good", "so"], "label": [0, 1, -1]}, features)
    where = str(tmp_path / "d")
    data, notes = read(spec, f"hf:{classifier}")
    assert labels_of(data) == [1, 0, -100]
    assert notes == [
        f"RA317: column 'label' of {where!r}: 1 of 3 rows have no label (-1) and are left out of what compares classes."
    ]
    datasets.load_from_disk(where).to_parquet(str(tmp_path / "t.parquet"))  # its schema has the names too
    assert labels_of(read(str(tmp_path / "t.parquet"), f"hf:{classifier}")[0]) == [1, 0, -100]
    bert(tmp_path / "other", label2id={"bad": 0, "good": 1})
    assert "got 'neg', 'pos' unknown to the model" in refused(data_from, spec, model=f"hf:{tmp_path / 'other'}")
    spec = saved(tmp_path / "hidden", {"text": ["bad"], "label": [-1]}, features)
    assert refused(data_from, spec, model=f"hf:{classifier}") == (
        f"RA316: column 'label' of {str(tmp_path / 'hidden')!r} has no label in any row (-1 throughout, as hidden test "
        "labels have); give another split, or --label-column none (label_column=False)."
    )


def test_a_split_is_chosen(classifier, tmp_path):
    import datasets

    features = {"text": datasets.Value("string"), "label": datasets.Value("int64")}
    spec = saved(tmp_path / "d", {"text": ["bad", "good"], "label": [0, 1]}, features, train=1, test=1)
    assert refused(data_from, spec, model=f"hf:{classifier}") == (
        f"RA315: {spec!r} holds the splits 'train', 'test'; choose one: '{spec}:train'."
    )
    assert refused(data_from, f"{spec}:dev", model=f"hf:{classifier}") == (
        f"RA315: {spec!r} holds the splits 'train', 'test', got 'dev'; choose one: '{spec}:train'."
    )
    assert labels_of(read(f"{spec}:test", f"hf:{classifier}")[0]) == [0, 1]
    assert refused(data_from, "dataset:nowhere") == "RA304: dataset folder 'nowhere' does not exist."
    assert refused(data_from, f"dataset:{classifier}").startswith(f"RA301: {str(classifier)!r} cannot be read: ")


def test_token_ids_that_were_made_beforehand(classifier, tmp_path):
    import datasets

    ids = datasets.Sequence(datasets.Value("int32"))
    spec = saved(
        tmp_path / "d",
        {"input_ids": [[2, 3], [4]], "label": [0, 1]},
        {"input_ids": ids, "label": datasets.Value("int64")},
    )
    batch = next(iter(read(spec, f"hf:{classifier}")[0]))
    assert batch["input_ids"].tolist() == [[2, 3], [4, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
