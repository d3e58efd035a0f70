"""What readers with fresh eyes found wrong, each kept from coming back."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from networks import ResNet
from reference import collapse as slow
from test_collapse import clouds
from torch import nn

from repana import Discriminant, InputError, ModelError, Moments, fisher, neural_collapse, plan, profile, record
from repana import separation_law as law
from repana._estimate import Estimate
from repana._results import Report, row

# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_dead_layer_has_values_or_reasons_and_stops_nothing():
    x, y = torch.ones(60, 4), torch.arange(60) % 3
    got = fisher(x, y)
    assert math.isnan(float(got.trace_ratio))
    assert got.trace_ratio.note == got.quotient.note == "every feature is constant"
    assert float(neural_collapse(x, y).nc1) == math.inf

    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.c(torch.relu(self.b(self.a(x) * 0)) + self.a(x))

    report = profile(Dead(), (torch.randn(60, 6), y), "?", permutations=2, bootstrap=5)
    assert {r.layer for r in report.select("trace_ratio")} == {"a@1", "a@2", "b", "c"}


def test_nulls_of_a_subset_are_on_the_scale_of_its_values():
    y = torch.arange(8000) % 5
    x = torch.randn(8000, 20, dtype=torch.float64)
    part = torch.randperm(8000)[:800]
    whole = neural_collapse(x, y, permutations=10, bootstrap=0)
    some = neural_collapse(x[part], y[part], moments=Moments.of(x, y, scatter=True), permutations=10, bootstrap=5)
    for name in ("nc1", "cdnv", "quotient", "fuzziness"):
        assert getattr(some, name).null == pytest.approx(getattr(whole, name).null, rel=0.25), name


def test_nearest_means_of_a_subset_are_those_of_all_samples():
    y = torch.arange(8000) % 10
    x = torch.randn(8000, 40, dtype=torch.float64)
    part = slice(0, 100)
    got = neural_collapse(x[part], y[part], moments=Moments.of(x, y, scatter=True), bootstrap=0)
    assert float(got.ncc_accuracy) < 0.5


@pytest.mark.parametrize(("c", "live", "dead", "n"), [(30, 8, 0, 1200), (4, 10, 90, 400), (4, 10, 290, 300)])
def test_nulls_count_the_rank_not_the_columns(c, live, dead, n):
    y = torch.arange(n) % c
    found = []
    for _ in range(15):
        x = torch.cat([torch.randn(n, live, dtype=torch.float64), torch.zeros(n, dead, dtype=torch.float64)], 1)
        found.append((neural_collapse(x, y, families=("vci",), bootstrap=0), fisher(x, y, jackknife=0)))
    assert Discriminant.of(x, y, jackknife=0).rank == live
    vci, bounded = ([float(getattr(f[i], q)) for f in found] for i, q in ((0, "vci"), (1, "bounded")))
    assert found[0][0].vci.null == pytest.approx(np.mean(vci), rel=0.02)
    assert found[0][1].bounded.null == pytest.approx(np.mean(bounded), rel=0.1)
    assert found[0][0].vci.note == ""


def test_all_rows_of_the_classifier_decide():
    x, y = clouds(c=4, sd=0.1)
    w = Moments.of(x, y).mean
    b = -0.5 * w.square().sum(1)
    three = y != 3
    got = neural_collapse(x[three], y[three], weight=w, bias=b, reference=Moments.of(x, y), bootstrap=0)
    assert float(got.accuracy) == float(got.nc4) == 1
    lifted = b.clone()
    lifted[3] = 1000
    assert float(neural_collapse(x[three], y[three], weight=w, bias=lifted, bootstrap=0).accuracy) == 0


@pytest.mark.parametrize(("offset", "sd", "others"), [(30.0, 1e-3, 10.0), (60.0, 0.05, 1.0)])
def test_one_narrow_feature_far_from_the_origin(offset, sd, others):
    """Sums around the origin would lose it in float32; where features are kept apart each counts for itself."""
    n, d, c = 2000, 64, 4
    y = torch.arange(n) % c
    x = others * torch.randn(n, d, dtype=torch.float64)
    x[:, 0] = offset + sd * (torch.randn(n, dtype=torch.float64) + y)
    x = x.float()
    got, want = fisher(x, y, jackknife=0), fisher(x.double(), y, jackknife=0)
    assert float(got.per_feature[0]) == pytest.approx(float(want.per_feature[0]), rel=1e-5)
    assert float(got.quotient) == pytest.approx(float(want.quotient), rel=1e-4)


def test_vci_of_collapsed_classes_with_a_duplicate_feature():
    x, y = clouds(n=400, d=8, c=4, sd=1e-3)
    plain = float(neural_collapse(x, y, bootstrap=0).vci)
    twice = float(neural_collapse(torch.cat([x, x[:, :1]], 1), y, bootstrap=0).vci)
    assert twice == pytest.approx(plain, rel=1e-4)


def test_equal_means_in_float32():
    block = torch.randn(200, 6)
    orders = [torch.randperm(200) for _ in range(3)]
    x, y = torch.cat([block[o] for o in orders]), torch.arange(3).repeat_interleave(200)
    got = neural_collapse(x, y, bootstrap=0)
    assert float(got.nc1) == float(got.cdnv) == math.inf
    assert math.isnan(float(got.etf_error))
    fourth = torch.cat([x, torch.randn(200, 6) + 3])
    two = neural_collapse(fourth, torch.cat([y, torch.full((200,), 3)]), bootstrap=0)
    assert float(two.nc1) < 100
    assert "linearly dependent" in two.nc1.note


def test_samples_between_two_equal_means_are_left_out():
    x, y = clouds(n=60, c=3, sd=0.1)
    x, y = torch.cat([x, x[y == 0]]), torch.cat([y, torch.full((20,), 3)])
    got = neural_collapse(x, y, bootstrap=0)
    assert float(got.ncc_accuracy) == 1
    assert got.ncc_accuracy.n == 40
    assert got.ncc_accuracy.note == "40 samples left out: their nearest class mean is that of two classes"


def test_one_vs_rest_of_a_zero_row():
    x, y = clouds(c=8, d=3)
    assert math.isnan(float(neural_collapse(x, y, weight=torch.zeros(8, 3), bootstrap=0).one_vs_rest))


def test_the_law_keeps_its_layers_in_place():
    values = [8.0, math.inf, 2.0, 1.0, 0.5]
    rows = [row("r", "s", f"l{i}", i, "neural_collapse", "fuzziness", Estimate(v)) for i, v in enumerate(values)]
    assert float(law(Report(tuple(rows))).rho) == pytest.approx(0.5)


def test_trivial_geometry_is_said_only_where_it_is_trivial():
    x, y = clouds(counts=[50, 10])
    assert "trivial" in neural_collapse(x, y, bootstrap=0).uniformity.note
    got = neural_collapse(x, y, convention="he_su", bootstrap=0)
    assert float(got.etf_error) > 0.1
    assert got.etf_error.note == ""


def test_class_weighted_scatter_reads_the_rows_beside_a_pooled_scatter():
    x, y = clouds(counts=[60, 30, 10])
    got = neural_collapse(x, y, convention="galanti", moments=Moments.of(x, y, scatter=True), bootstrap=0)
    assert float(got.nc1) == pytest.approx(slow.nc1(x.numpy(), y.numpy(), "galanti"), rel=1e-8)


def test_fisher_leaves_ignored_samples_out():
    x, y = clouds(c=3)
    marked = y.clone()
    marked[::4] = -100
    keep = marked != -100
    assert float(fisher(x, marked).trace_ratio) == pytest.approx(float(fisher(x[keep], y[keep]).trace_ratio))


def test_median_of_an_even_number_of_pairs():
    x, y = clouds(c=4)
    grid = slow.cdnv_grid(x.numpy(), y.numpy())
    assert float(neural_collapse(x, y, bootstrap=0).cdnv_median) == pytest.approx(
        np.median(grid[np.triu_indices(4, 1)])
    )


def test_a_huge_value_late_in_the_data():
    x, y = clouds(n=400, c=4)
    x[300] = 1e25
    single = x.float()
    got, want = neural_collapse(single, y, bootstrap=0), neural_collapse(single.double(), y, bootstrap=0)
    assert float(got.nc1) == pytest.approx(float(want.nc1), rel=1e-4)


@pytest.mark.parametrize("scale", [1e-25, 1e-15, 1e15, 1e20])
def test_scales_at_the_edges_of_float32(scale):
    x, y = clouds(n=200, c=4)
    w = Moments.of(x, y).mean
    want = neural_collapse(x, y, weight=w, bootstrap=0)
    got = neural_collapse((x * scale).float(), y, weight=w, bootstrap=0)
    for name in ("nc1", "quotient", "cdnv", "etf_error", "vci", "fuzziness", "self_duality", "ncc_accuracy"):
        assert float(getattr(got, name)) == pytest.approx(float(getattr(want, name)), rel=1e-4), name


# --- use --------------------------------------------------------------------------------------------------------------

X, Y = torch.randn(40, 3, 8, 8), torch.arange(40) % 5


def planted(run, layers):
    return Report(tuple(row(run, "s", k, i, "neural_collapse", "nc1", Estimate(1.0)) for i, k in enumerate(layers)))


def test_joined_reports_keep_the_order_of_each():
    both = planted("a", ["in", "p", "q", "out"]) + planted("b", ["in", "g", "q", "r", "out"])
    assert both.layers == ("in", "g", "p", "q", "r", "out") or both.layers == ("in", "p", "g", "q", "r", "out")
    with pytest.raises(TypeError):
        both + 1


class Hand(nn.Module):
    """Blocks kept in containers that are not called themselves."""

    def __init__(self, kind):
        super().__init__()
        parts = [nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3)]
        names = {"Sequential": nn.Sequential(*parts), "ModuleList": nn.ModuleList(parts)}
        names["ModuleDict"] = nn.ModuleDict({str(i): p for i, p in enumerate(parts)})
        self.b = names[kind]
        self.dict = kind == "ModuleDict"

    def forward(self, x):
        for i in range(4):
            x = self.b[str(i) if self.dict else i](x)
        return x


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList", "ModuleDict"])
def test_auto_looks_into_containers_that_are_not_called(kind):
    got = record(Hand(kind), (torch.randn(9, 6), torch.arange(9) % 3))
    assert list(got) == ["input", "b.1", "b.3:in", "b.3"]


def test_a_pattern_takes_every_tensor_that_can_be_recorded():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head, self.const = nn.GRU(5, 4, batch_first=True), nn.Linear(4, 3), nn.Embedding(2, 4)

        def forward(self, x):
            return self.head(self.gru(x)[0][:, -1] + self.const(torch.tensor([1])))

    found = [p.address for p in plan(Mixed(), torch.randn(6, 7, 5), "*", mask=False).layers]
    assert found == ["gru[0]", "gru[1]", "head"]
    with pytest.raises(ModelError, match="RA106"):
        plan(Mixed(), torch.randn(6, 7, 5), "cons*", mask=False)


def test_poolings_by_pattern_and_of_no_layer():
    net = ResNet().eval()
    got = plan(net, (X, Y), pool={"layer*": "max"})
    assert {p.address: p.pooling.method for p in got.layers}["layer1.0"] == "max"
    with pytest.raises(ModelError) as error:
        plan(net, (X, Y), ["layer1", "fc"], pool={"nonsense": "max"})
    assert str(error.value) == "RA111: `pool` names 'nonsense', which matches none of the layers 'layer1', 'fc'."
    assert {p.pooling.method for p in plan(net, (X, Y), pool="max").layers} == {"max", "none"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"convention": "zhang"},
            "RA212: `convention` is 'zhang'; expected one of 'papyan', 'zhu', 'he_su', 'galanti'.",
        ),
        ({"permutations": -1}, "RA212: `permutations` is -1; expected 0 or more."),
        ({"level": 95.0}, "RA212: `level` is 95.0; expected a number between 0 and 1, such as 0.95."),
        (
            {"max_samples": 0},
            "RA205: there are no features: max_samples=0 keeps moments alone, for `record`. Give `profile` at least a "
            "few samples of every class.",
        ),
        (
            {"max_samples": 7},
            "RA221: `max_samples` kept 7 samples of 5 classes, and fewer than 2 of class(es) ",
        ),
        ({"device": "gpu"}, "RA212: `device` 'gpu' cannot be used here: "),
        ({"dtype": "float61"}, "RA212: `dtype` is 'float61'; expected one of 'float16', 'bfloat16', 'float32'."),
    ],
)
def test_wrong_arguments_of_profile(options, text):
    with pytest.raises(InputError) as error:
        profile(ResNet().eval(), (X, Y), ["layer1", "fc"], **options)
    assert str(error.value).startswith(text)


def test_dtype_by_name():
    assert record(ResNet().eval(), (X, Y), ["fc"], dtype="bfloat16").provenance["autocast"] == "bfloat16"


def test_shrinkage_out_of_range():
    x, y = clouds()
    with pytest.raises(InputError) as error:
        fisher(x, y, shrinkage=2.0)
    assert str(error.value) == "RA212: `shrinkage` is 2.0; expected 'ledoit_wolf' or a number from 0 to 1."


def test_labels_beyond_the_output_are_noted():
    notes = plan(ResNet().eval(), (X, Y + 5), ["fc"]).notes
    assert notes == ("labels reach 9 but no output has more than 5 columns: there are no logits",)


@pytest.mark.parametrize("form", ["whole", "batches"])
def test_labels_as_text_in_batches(form):
    names = np.array(["a", "b", "c", "d", "e"])[Y.numpy()]
    data = (X, names) if form == "whole" else [(X, names.tolist())]
    with pytest.raises(InputError) as error:
        record(ResNet(), data)
    assert str(error.value) == (
        "RA203: the data hold labels or inputs of type <U1; expected numbers. Number the classes from 0 first, or give "
        "`class_names=` in the order of the model's outputs."
    )


def test_class_names_number_labels_and_name_the_page(tmp_path):
    names = ["ant", "bee", "cat", "dog", "emu"]
    text = [(X, [names[i] for i in Y.tolist()])]
    options = {"permutations": 0, "bootstrap": 0, "class_names": names}
    report = profile(ResNet().eval(), text, ["fc:in"], **options)
    assert report.classes() == tuple(names)
    numbered = profile(ResNet().eval(), (X, Y), ["fc:in"], **options)
    assert set(numbered.classes()) == set(names)
    for data, shown in (([(X, ["fox"] * len(X))], "'fox'"), ((X, Y + 1), "5")):
        with pytest.raises(InputError) as error:
            profile(ResNet().eval(), data, ["fc:in"], **options)
        assert str(error.value) == (
            f"RA203: the data have the label {shown} and `class_names` has 5 names: 'ant', 'bee', 'cat', 'dog', 'emu'."
        )


def test_labels_off_by_one_are_an_issue():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = ResNet()

        def forward(self, x):
            z = self.net(x)
            return {"logits": z, "embedding": z[:, :3]}

    report = profile(Two().eval(), (X, Y + 1), ["net.fc:in"], permutations=0, bootstrap=0)
    first = report.findings()[0]
    assert (first.code, first.severity) == ("RF101", "issue")
    assert first.evidence == (
        "Labels reach 5 but no output has more than 5 columns: there are no logits. What reads the classifier was left "
        "out; renumber them."
    )


def test_an_unknown_option_of_profile_is_named():
    with pytest.raises(InputError, match="RA212: `an option of profile` is 'maks'; expected one of 'analyzers'"):
        profile(ResNet().eval(), (X, Y), maks=False)


def test_the_same_failure_is_said_once():
    with pytest.raises(InputError) as error:
        profile(ResNet().eval(), (X, Y + 0.5), ["fc"], ["neural_collapse", "fisher"])
    assert str(error.value).count("RA203") == 1


def test_padding_is_settled_from_the_command_line(tmp_path):
    from typer.testing import CliRunner

    from repana.cli import app

    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(4, 6)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x)\n"
        "make = Net\n"
    )
    for command in ("layers", "plan"):
        with pytest.raises(ModelError, match="RA107"):
            CliRunner().invoke(app, [command, f"{tmp_path}/net.py:make", "--input", "7x4"], catch_exceptions=False)
        done = CliRunner().invoke(app, [command, f"{tmp_path}/net.py:make", "--input", "7x4", "--mask", "none"])
        assert done.exit_code == 0, done.output
        assert "layer" in done.output


def test_a_quantity_of_the_whole_network_has_no_depth(tmp_path):
    report = profile(ResNet().eval(), (X, Y), permutations=0, bootstrap=0)
    with pytest.raises(InputError) as error:
        report.plot("separation_law.rho")
    assert str(error.value) == (
        "RA222: 'separation_law.rho' is one number for the whole network and has no depth profile; see `report.select`."
    )
    (tmp_path / "file").write_text("x")
    with pytest.raises(Exception, match="RA307: .* is a file; a report is saved as a folder"):
        report.save(tmp_path / "file")


def test_an_error_of_the_model_says_what_it_was_called_with():
    with pytest.raises(RuntimeError) as error:
        record(ResNet(), torch.randn(5, 1, 8, 8))
    assert error.value.__notes__ == ["repana: ResNet was called with (5, 1, 8, 8) float32."]


def test_command_line_with_a_factory_that_imports_its_neighbour(tmp_path):
    (tmp_path / "parts.py").write_text("WIDTH = 7\n")
    (tmp_path / "net.py").write_text(
        "import torch\nfrom parts import WIDTH\ndef make():\n    return torch.nn.Linear(4, WIDTH)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "repana", "layers", str(tmp_path / "net.py:make"), "--input", "4", "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[-1]["width"] == 7


def test_a_damaged_array_file_is_not_called_unsafe(tmp_path):
    (tmp_path / "bad.npz").write_text("just text")
    done = subprocess.run(
        [sys.executable, "-m", "repana", "analyze", str(tmp_path / "bad.npz")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "RA301" in done.stderr
