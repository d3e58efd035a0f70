"""The page: self-contained, complete, escaped, small, readable; looked at in a browser where there is one."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from planted import classes, planted

import repana
from repana import Report
from repana._estimate import Estimate
from repana._quantity import works
from repana._results import row
from repana.analyzers import ACROSS_LAYERS, ANALYZERS, SOURCES
from repana.findings import FINDINGS
from repana.report import bibliography, bibtex, fragment, number, page

X, Y = torch.randn(60, 3, 8, 8), torch.arange(60) % 5
HOSTILE = ["<script>alert(1)</script>", "a|b&$_{}", '"><img src=x onerror=alert(1)>']


@pytest.fixture(scope="module")
def report(small):
    return small[3]


@pytest.fixture(scope="module")
def text(report):
    return page(report)


class Reader(HTMLParser):
    """Tags with their attributes, in order; refuses what is not closed."""

    VOID = frozenset(["meta", "br", "img", "path", "use", "rect", "circle", "image", "line", "link"])

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self._open.pop() == tag


def test_the_page_needs_nothing_else(report, text, tmp_path):
    again = report.to_html(tmp_path / "deep" / "page.html").read_text(encoding="utf-8")
    assert again == text  # the same report, the same bytes
    assert "<script" not in text
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    inside = ("#", "data:text/csv;base64,", "data:image/png;base64,")
    assert all(link.startswith(inside) for link in links), links
    assert not re.findall(r"url\((?!#)", text)


def test_what_the_page_holds(report, text):
    for needed in (
        "Findings",
        "Depth profile",
        "Heat map",
        "Class means",
        "Class pairs",
        "Table",
        "Every layer",
        "Methods",
    ):
        assert f"<h2>{needed}</h2>" in text
    for needed in (
        "sha256",
        "held_out",
        "papyan2020prevalence",
        "repana.profile(model, data, layers=",
        "permutations=4",
    ):
        assert needed in text.replace("&#39;", "'")
    assert number(report.select("nc1")[0].value) in text
    for f in report.findings():
        assert f'data-code="{f.code}"' in text
    for code in FINDINGS:
        assert f'<dt id="{code}">' in text


def test_anchors_lead_somewhere_and_are_single(text):
    tags = Reader(text).tags
    names = [a["id"] for _, a in tags if a.get("id")]
    assert len(names) == len(set(names))
    for _, a in tags:
        for link in (a.get("href"), a.get("xlink:href")):
            if link and link.startswith("#"):
                assert link[1:] in names, link


def test_figures_have_alternatives_and_tables_have_headers(text):
    tags = Reader(text).tags
    for tag, a in tags:
        if tag == "svg":
            assert a["role"] == "img"
            assert len(a["aria-label"]) > 5
        if tag == "img":
            assert len(a["alt"]) > 5
        if tag == "th":
            assert a.get("scope") in ("col", "row")
    assert text.count("<table") == text.count("<thead")


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_passes_in_light_and_dark(text):
    """WCAG 2.1 AA: 4.5 to 1 for text, on the page and on cards."""
    roots = re.findall(r":root \{([^}]*)\}", text)[:2]
    assert len(roots) == 2
    for root in roots:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", root))
        for ink in ("ink", "soft", "link", "issue", "tip", "passed"):
            for ground in ("paper", "card"):
                a, b = sorted((luminance(colours[ink]), luminance(colours[ground])))
                assert (b + 0.05) / (a + 0.05) >= 4.5, (ink, ground)


def test_all_rows_are_there_as_csv(report, text):
    encoded = re.search(r"text/csv;base64,([^\"]*)", text)[1]
    frame = pd.read_csv(io.BytesIO(base64.b64decode(encoded)))
    assert len(frame) == len(report.rows)
    np.testing.assert_allclose(frame["value"], report.frame()["value"])


def test_names_with_html_in_them_do_not_execute():
    hostile = planted(HOSTILE, [1.0, 2.0, 3.0], run="<b>run</b>", classes={"train": {"<i>": 3, "<u>": 4}})
    for made in (page(hostile), fragment(hostile)):
        assert "<script>" not in made
        assert "<img src=x" not in made
        assert "<b>run" not in made
        assert "<i>" not in made
    Reader(page(hostile))


@pytest.mark.parametrize(
    "strange",
    [
        planted(["only"], [1.0]),
        planted(["a", "b"], [float("nan"), float("nan")]),
        planted(["a", "b"], [float("inf"), 1.0]),
        classes(2),
        classes(300),
        Report((), {}, {}),
    ],
    ids=["one layer", "all NaN", "infinite", "two classes", "300 classes", "empty"],
)
def test_pages_of_strange_reports(strange):
    Reader(page(strange))
    assert fragment(strange)


def deep(values: int = 120 * 40) -> Report:
    """A report of a deep network, every number with interval and null."""
    known = [(a.name, q.name) for a in ANALYZERS.values() for q in a.quantities]
    layers = -(-values // len(known))
    random = np.random.default_rng(0)
    rows, arrays = [], {}
    for i in range(layers):
        layer = f"model.encoder.layers.{i}.mlp"
        for analyzer, name in known:
            v = float(random.lognormal())
            rows.append(row("deep", "train", layer, i, analyzer, name, Estimate(v, 0.9 * v, 1.1 * v, 900, "", v, v, v)))
        arrays[f"train/{layer}/neural_collapse.cdnv_grid"] = random.lognormal(size=(10, 10))
        arrays[f"train/{layer}/neural_collapse.class_cosines"] = random.uniform(-1, 1, size=(10, 10))
    return Report(tuple(rows), arrays, {"run": "deep"})


def test_a_deep_network_fits_five_megabytes():
    made = deep()
    assert len(made.rows) >= 120 * 40
    size = len(page(made).encode())
    assert size < 5e6, size


def test_what_differs_between_runs_is_said_of_each():
    def run(name: str, convention: str, seed: int, level: float) -> Report:
        about = {"settings": {"neural_collapse": {"convention": convention}}, "seed": seed, "device": "cpu"}
        return planted(["a", "b"], [1.0, 2.0], run=name, arguments={"level": level}, **about)

    text = page(repana.concat([run("one", "papyan", 3, 0.9), run("two", "kothapalli", 4, 0.95)]))
    assert "convention = papyan (one); convention = kothapalli (two)" in text
    assert "<dt>Seed</dt><dd>3 (one); 4 (two)</dd>" in text
    assert "<dt>Device</dt><dd>cpu</dd>" in text
    assert "Intervals are 90% to 95%:" in text
    seeds = page(repana.concat([run(f"r{k}", "papyan", k, 0.9) for k in range(9)]))
    assert "0 (r0); 1 (r1); 2 (r2); and 6 more" in seeds
    assert "Intervals are 90%:" in seeds


def many(runs: int = 40) -> Report:
    layers = ["input", "conv", "fc:in", "fc"]
    return repana.concat(
        [planted(layers, [(k + 1) / (r + 1) for k in range(4)], run=f"decay/epoch{r:02d}") for r in range(runs)]
    )


def test_forty_runs_open_as_one_overview():
    text = page(many())
    Reader(text)
    for needed in ("Trajectory", "Runs", "Every run"):
        assert f"<h2>{needed}</h2>" in text
    assert text.count("<summary>decay/epoch") == 40
    assert "40 of 40 runs: " in text
    for link in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{link}"' in text
    assert len(text) < 2e6


def test_every_source_has_its_entry(report):
    named = {
        work for a in (*ANALYZERS.values(), *ACROSS_LAYERS.values()) for q in a.quantities for work in works(q.source)
    }
    assert named == set(SOURCES)
    text = bibliography(report)
    keys = re.findall(r"^@\w+\{(\w+),$", text, re.M)
    assert len(keys) == len(set(keys)) >= 15
    assert text.count("{") == text.count("}")
    assert bibtex(["He & Su 2023; by definition"]) == SOURCES["He & Su 2023"]


def test_a_source_without_an_entry_is_named(report):
    own = {"mine.spread": {"formula": "std", "source": "Nobody 2031; Papyan, Han & Donoho 2020", "title": "Spread"}}
    rows = (*report.rows, *planted(["fc"], [1.0], name="spread", analyzer="mine").rows)
    known = {**report.provenance, "quantities": {**report.provenance["quantities"], **own}}
    made = Report(rows, report.arrays, known)
    assert "% Nobody 2031" in bibliography(made)
    assert "papyan2020prevalence" in bibliography(made)
    assert "Nobody 2031" in page(made)


# --- in a browser -----------------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(text, tmp_path, width):
    """Drawers open by a click, nothing runs over the edge, no error on the console, the picture is not empty."""
    probe = """<script>
const errors = []; window.addEventListener('error', e => errors.push(e.message));
const drawer = document.querySelector('details'); drawer.querySelector('summary').click();
const over = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.title = JSON.stringify([drawer.open, over, errors.length, document.querySelectorAll('figure svg').length]);
</script></body>"""
    (tmp_path / "page.html").write_text(text.replace("</body>", probe), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={max(width, 500)},900"]
    address = (tmp_path / "page.html").as_uri()
    if width < 500:  # a window cannot be narrower; a frame can
        frame = f'<iframe src="page.html" style="width:{width}px;height:880px;border:0"></iframe>'
        script = (
            "<script>onload = () => document.title = document.querySelector('iframe').contentDocument.title</script>"
        )
        (tmp_path / "frame.html").write_text(frame + script)
        address = (tmp_path / "frame.html").as_uri()
        flags.append("--allow-file-access-from-files")
    done = subprocess.run(
        [CHROMIUM, *flags, "--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom", address],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r"<title>(\[.*?\])</title>", done.stdout)
    assert found, done.stdout[:500]
    opened, over, errors, figures = json.loads(found[1])
    assert opened is True
    assert over <= 0
    assert errors == 0
    assert figures >= 4
    assert "CONSOLE" not in done.stderr
    picture = tmp_path / "page.png"
    subprocess.run([CHROMIUM, *flags, f"--screenshot={picture}", address], capture_output=True, timeout=120, check=True)
    from PIL import Image

    pixels = np.asarray(Image.open(picture).convert("L"), float)
    assert pixels.std() > 1


@pytest.mark.filterwarnings("error:constrained_layout")
@pytest.mark.parametrize("name", ["run", "epoch"])
def test_many_runs_fit_a_notebook_cell(name):
    """Forty runs: a depth profile would have no room beside its legend."""
    runs = [planted(["a", "b"], [1.0 + i, 2.0], run=f"a rather long name of a {name}{i}") for i in range(40)]
    text = fragment(repana.concat(runs))
    assert ("Trajectory of" if name == "epoch" else "Summary of runs of") in text
