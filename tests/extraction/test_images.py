"""Images from folders and tables: which classes, which pixels, and what is refused with which words."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import repana
from repana import RepanaError
from repana.extraction._sources import data_from, model_from

SIZES = {"image_size": 4, "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.25, 0.5)}
OWN = "torch.nn:Identity"


def picture(seed=0, size=(9, 6), mode="RGB"):
    channels = {"RGB": 3, "L": 1, "RGBA": 4}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(), mode)


@pytest.fixture
def folder(tmp_path):
    """Two cats, one dog, one of them grey; a text file; a class without images."""
    for i, (name, mode) in enumerate((("cat/b", "RGB"), ("cat/a", "L"), ("dog/deep/c", "RGBA"))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(i, mode=mode).save(tmp_path / f"{name}.png")
    return tmp_path


def read(spec, model=OWN, **options):
    notes = []
    return data_from(spec, model=model, say=notes.append, **options), notes


def refused(spec, model=OWN, **options):
    with pytest.raises(RepanaError) as error:
        data_from(spec, model=model, **options)
    return str(error.value)


def whole(data):
    batches = list(data)
    if isinstance(batches[0], dict):
        return tuple(torch.cat([b[k] for b in batches]) for k in ("pixel_values", "labels"))
    return tuple(torch.cat(part) for part in zip(*batches))


def test_class_folders_are_numbered_by_name(folder):
    data, notes = read(f"imagefolder:{folder}", **SIZES, batch_size=2)
    x, y = whole(data)
    assert (x.shape, y.tolist(), data.dataset.classes, notes) == ((3, 3, 4, 4), [0, 0, 1], ("cat", "dog"), [])
    assert [len(batch[1]) for batch in data] == [2, 1]
    # Written out: height 6 to 4, width 9 to 6, the middle four columns.
    small = np.asarray(picture(0).resize((6, 4), Image.Resampling.BICUBIC), dtype=np.float32)[:, 1:5] / 255
    want = (small - np.array([0.5, 0.5, 0.5])) / np.array([0.5, 0.25, 0.5])
    torch.testing.assert_close(x[1], torch.from_numpy(want.astype(np.float32)).permute(2, 0, 1))


def test_what_is_no_image_is_said(folder):
    (folder / "cat" / "notes.txt").write_text("x")
    (folder / "cat" / ".hidden").write_text("x")
    (folder / "bird").mkdir()
    data, notes = read(f"imagefolder:{folder}", **SIZES)
    assert whole(data)[1].tolist() == [1, 1, 2]
    assert notes == [
        f"RA317: imagefolder:{folder}: no image of class(es) 'bird', which keep their number.",
        f"RA317: imagefolder:{folder}: 1 file(s) that are no images were left out, such as "
        f"{str(folder / 'cat' / 'notes.txt')!r}.",
    ]


def test_one_mean_is_grey(folder):
    data, _ = read(f"imagefolder:{folder}", image_size=(6, 9), image_mean=[0.0], image_std=[1.0])
    x, _ = whole(data)
    assert x.shape == (3, 1, 6, 9)
    torch.testing.assert_close(x[0, 0], torch.from_numpy(np.asarray(picture(1, mode="L"), dtype=np.float32) / 255))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {},
            "RA321: 'imagefolder:DIR' holds images and the model 'torch.nn:Identity' does not say how it takes them; "
            "give --image-size, --image-mean and --image-std (image_size=, image_mean=, image_std=).",
        ),
        (
            {"image_size": 4},
            "RA321: `image_size`, `image_mean` and `image_std` belong together; expected 'image_mean', 'image_std' "
            "too.",
        ),
        ({**SIZES, "image_size": (4, 0)}, "RA321: `image_size` is (4, 0); expected one number, or height and width."),
        (
            {**SIZES, "image_std": (1.0, 0.0, 1.0)},
            "RA321: `image_mean` is [0.5, 0.5, 0.5] and `image_std` [1.0, 0.0, 1.0]; expected 1 or 3 numbers each, no "
            "deviation of 0.",
        ),
        ({**SIZES, "batch_size": 0}, "RA212: `batch_size` is 0; expected a whole number of at least 1."),
        ({**SIZES, "class_names": "cat,dog"}, "RA212: `class_names` is 'cat,dog'; expected a list of names."),
        (
            {**SIZES, "class_names": ["cat", "wolf"]},
            "RA316: imagefolder:DIR has the classes 'cat', 'dog', got 'dog' unknown to `class_names`; expected some of "
            "'cat', 'wolf'. Rename them, or give --class-names (class_names=) in the order of the outputs.",
        ),
    ],
)
def test_refused_options(folder, options, text):
    assert refused(f"imagefolder:{folder}", **options).replace(str(folder), "DIR") == text


def test_folders_that_are_no_classes(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    assert refused("imagefolder:nowhere") == "RA304: image folder 'nowhere' does not exist."
    assert refused(f"imagefolder:{root}", **SIZES).startswith(f"RA320: no image in the 0 folder(s) of {str(root)!r}; ")
    folder.rename(root / "train")
    (root / "val").mkdir()
    assert refused(f"imagefolder:{root}", **SIZES) == (
        f"RA315: 'imagefolder:{root}' holds 'train', 'val', which are splits and no classes; choose one: "
        f"'imagefolder:{root}/train'."
    )
    (root / "train").rename(folder)
    assert refused(f"imagefolder:{folder / 'cat'}", **SIZES) == (
        f"RA320: {str(folder / 'cat')!r} holds 2 image(s) itself; expected one folder for each class, with its images."
    )


def test_images_that_cannot_be_read_are_named(folder):
    file = folder / "cat" / "a.png"
    file.write_bytes(file.read_bytes()[:60])
    data, _ = read(f"imagefolder:{folder}", **SIZES)
    with pytest.raises(RepanaError) as error:
        list(data)
    assert str(error.value).startswith(f"RA320: image {str(file)!r} cannot be read (")
    Image.fromarray(np.full((6, 9), 40_000, dtype=np.uint16)).save(file)
    with pytest.raises(RepanaError) as error:
        list(data)
    assert str(error.value) == (
        f"RA320: image {str(file)!r} has more than 8 bits a channel (mode 'I;16'), which would be clipped; convert it."
    )


# --- what the model says ----------------------------------------------------------------------------------------------


def vit(folder, labels=("dog", "cat"), processor=True):
    import transformers

    names = dict(enumerate(labels)) if labels else {}
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=8, patch_size=4,
        **({"id2label": names, "label2id": {v: k for k, v in names.items()}} if labels else {"num_labels": 2}),
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    if processor:
        content = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}
        content |= {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 0.5]}
        (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return f"hf:{folder}"


def test_a_model_of_transformers_prepares_its_images(folder, tmp_path_factory):
    spec = vit(tmp_path_factory.mktemp("vit"))
    net = model_from(spec)
    for model in (spec, net):
        data, notes = read(f"imagefolder:{folder}", model)
        x, y = whole(data)
        assert (y.tolist(), data.dataset.classes, notes) == ([1, 1, 0], ("dog", "cat"), [])  # as the model numbers them
    small = np.asarray(picture(0).resize((8, 8), Image.Resampling.BILINEAR), dtype=np.float32) / 255
    want = (small - 0.5) / np.array([0.25, 0.5, 0.5], dtype=np.float32)
    torch.testing.assert_close(x[1], torch.from_numpy(want).permute(2, 0, 1), atol=1e-5, rtol=1e-5)
    assert net(**next(iter(data))).logits.shape == (3, 2)


def test_images_without_a_processor(folder, tmp_path_factory):
    spec = vit(tmp_path_factory.mktemp("vit"), processor=False)
    assert refused(f"imagefolder:{folder}", spec).startswith(f"RA321: {spec!r} has no image processor (OSError: ")
    sizes = {"image_size": 8, "image_mean": (0.0, 0.0, 0.0), "image_std": (1.0, 1.0, 1.0)}
    x, y = whole(read(f"imagefolder:{folder}", spec, **sizes)[0])
    assert (x.shape, y.tolist()) == ((3, 3, 8, 8), [1, 1, 0])


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (
            ("wolf", "cat"),
            "RA316: imagefolder:DIR has the classes 'cat', 'dog', got 'dog' unknown to the model 'MODEL'; expected "
            "some of 'wolf', 'cat'. Rename them, or give --class-names (class_names=) in the order of the outputs.",
        ),
        (("a", "cat", "dog"), None),
        (None, None),
    ],
)
def test_folders_and_the_classes_of_a_model(folder, tmp_path_factory, labels, text):
    spec = vit(tmp_path_factory.mktemp("vit"), labels)
    if text:
        assert refused(f"imagefolder:{folder}", spec) == text.replace("DIR", str(folder)).replace("MODEL", spec)
        return
    codes = {("a", "cat", "dog"): [1, 1, 2], None: [0, 0, 1]}[labels]
    assert whole(read(f"imagefolder:{folder}", spec)[0])[1].tolist() == codes


def test_a_model_of_timm_prepares_its_images(folder):
    from timm.data.transforms_factory import create_transform

    net = model_from("timm:test_resnet(num_classes=2)")
    x, y = whole(read(f"imagefolder:{folder}", net)[0])
    config = net.pretrained_cfg
    transform = create_transform(
        config["input_size"], interpolation=config["interpolation"], mean=config["mean"], std=config["std"],
        crop_pct=config["crop_pct"],
    )  # fmt: skip
    torch.testing.assert_close(x[1], transform(picture(0)))
    assert (y.tolist(), net(x).shape) == ([0, 0, 1], (3, 2))


def test_classes_that_are_not_the_outputs(folder):
    net = model_from("timm:test_resnet")
    assert refused(f"imagefolder:{folder}", net) == (
        f"RA316: imagefolder:{folder} has 2 classes ('cat', 'dog') and the model 'ResNet' 1000 outputs; give "
        "--class-names (class_names=), one for each output in their order, or --class-names none (False) where the "
        "outputs are other classes."
    )
    assert read(f"imagefolder:{folder}", net, class_names=False)[0].dataset.labels == [0, 0, 1]


def test_folders_of_imagenet_have_the_outputs_of_imagenet(folder):
    """Two of the thousand classes: their outputs, not 0 and 1."""
    (folder / "cat").rename(folder / "n02123045")
    (folder / "dog").rename(folder / "n02085620")
    data, _ = read(f"imagefolder:{folder}", model_from("timm:test_resnet"))
    assert data.dataset.labels == [151, 281, 281]
    assert data.dataset.classes[281] == "n02123045"


class Carries(nn.Module):
    def __init__(self):
        super().__init__()
        self.transforms = lambda image: torch.full((1, 2, 2), float(image.width))


def test_a_model_that_carries_its_transform(folder):
    data, _ = read(f"imagefolder:{folder}", Carries())
    assert whole(data)[0][:, 0, 0, 0].tolist() == [9.0, 9.0, 9.0]
    net = Carries()
    net.transforms = lambda image: torch.from_numpy(np.array(image))
    picture(5, (3, 3)).save(folder / "cat" / "a.png")
    with pytest.raises(RepanaError) as error:
        list(read(f"imagefolder:{folder}", net)[0])
    assert str(error.value).startswith("RA321: the preparation of 'Carries' leaves images of different sizes (")


# --- images in tables -------------------------------------------------------------------------------------------------


def png(seed):
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["dataset", "parquet", "plain parquet", "csv"])
def test_images_in_tables(folder, tmp_path_factory, kind):
    import datasets
    import pandas as pd

    root = tmp_path_factory.mktemp("tables")
    if kind == "csv":
        pd.DataFrame({"file": ["cat/b.png", "cat/a.png"], "label": [1, 0]}).to_csv(folder / "t.csv", index=False)
        data, _ = read(str(folder / "t.csv"), image_column="file", **SIZES)
    else:
        cells = [{"bytes": png(0), "path": None}, {"bytes": None, "path": str(folder / "cat" / "a.png")}]
        if kind == "plain parquet":
            pd.DataFrame({"image": cells, "label": [1, 0]}).to_parquet(root / "t.parquet")
        else:
            features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
            made = datasets.Dataset.from_dict({"image": cells, "label": [1, 0]}, features=datasets.Features(features))
            made.save_to_disk(str(root / "d")) if kind == "dataset" else made.to_parquet(str(root / "t.parquet"))
        data, _ = read(f"dataset:{root / 'd'}" if kind == "dataset" else str(root / "t.parquet"), **SIZES)
        assert data.dataset.classes == (None if kind == "plain parquet" else ("cat", "dog"))
    x, y = whole(data)
    folders = whole(read(f"imagefolder:{folder}", **SIZES)[0])[0]
    torch.testing.assert_close(x, folders[[1, 0]])
    assert y.tolist() == [1, 0]


def test_a_table_of_texts_and_images(tmp_path):
    import pandas as pd

    cells = [{"bytes": png(0), "path": None}, {"bytes": None, "path": None}]
    pd.DataFrame({"text": ["a", "b"], "picture": cells, "label": [1, 0]}).to_parquet(tmp_path / "t.parquet")
    path = str(tmp_path / "t.parquet")
    assert refused(path) == (
        f"RA315: {path!r} holds texts ('text') and images ('picture'); choose one: --text-column (text_column=) or "
        "--image-column (image_column=)."
    )
    with pytest.raises(RepanaError) as error:
        list(read(path, image_column="picture", **SIZES)[0])
    assert "cannot be read (the cell holds a NoneType, no bytes and no path)." in str(error.value)


def test_a_profile_from_a_folder(folder, capsys, monkeypatch, tmp_path):
    import sys

    from repana.cli import main

    monkeypatch.setattr(repana.Report, "to_html", lambda self, path: None)
    monkeypatch.setattr(repana.Report, "plot", lambda self: SimpleNamespace(savefig=lambda path: None))
    for i in range(9):
        picture(i).save(folder / "cat" / f"{i}.png")
        picture(20 + i).save(folder / "dog" / f"{i}.png")
    monkeypatch.setattr(sys, "argv", [
        "repana", "profile", "timm:test_resnet", "-d", f"imagefolder:{folder}", "--class-names", "none", "-l", "conv1",
        "-m", "nc1,silhouette", "--permutations", "0", "--bootstrap", "0", "-o", str(tmp_path / "out"),
    ])  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    assert stop.value.code == 0, err
    note = "RA313: the weights of 'timm:test_resnet' are random; --pretrained (pretrained=True) takes trained ones."
    assert err.splitlines()[0] == note
    report = repana.Report.load(tmp_path / "out" / "report")
    assert report.provenance["notes"][-1] == note
    assert report.provenance["class_names"] == ["cat", "dog"]
    assert {"NC1", "Silhouette"} <= {*out.split()}
