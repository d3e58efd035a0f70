"""The page: self-contained, complete, escaped, small, readable; looked at in a browser where there is one."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import classes, planted

import repana
from repana import Report, plots
from repana._estimate import Estimate
from repana._quantity import works
from repana._results import row
from repana.analyzers import ACROSS_LAYERS, ANALYZERS, SOURCES
from repana.comparison import COMPARISONS
from repana.comparison._table import REPORTED
from repana.dynamics._table import REPORTED as OF_TRAINING
from repana.heads._table import REPORTED as OF_HEADS
from repana.kernels._table import REPORTED as OF_KERNELS
from repana.ranking._table import REPORTED as OF_RANKINGS
from repana.report import bibliography, bibtex, fragment, number, page
from repana.report._page import minified

X, Y = torch.randn(60, 3, 8, 8), torch.arange(60) % 5
SCRIPT = minified(resources.files("repana").joinpath("templates/report.js").read_text(encoding="utf-8"))
HOSTILE = ["<script>alert(1)</script>", "a|b&$_{}", '"><img src=x onerror=alert(1)>']


@pytest.fixture(scope="module")
def report(small):
    return small[3]


@pytest.fixture(scope="module")
def text(report):
    return page(report)


class Reader(HTMLParser):
    """Tags with their attributes, in order; refuses what is not closed."""

    VOID = frozenset(["meta", "br", "input", "img", "path", "use", "rect", "circle", "image", "line", "link"])

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
    """Nothing is loaded, and the policy allows the page's own script alone."""
    again = report.to_html(tmp_path / "deep" / "page.html").read_text(encoding="utf-8")
    assert again == text  # the same report, the same bytes
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert text.count("<script") == 1
    assert len(script.encode()) <= 10_000
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    for forbidden in ("eval(", "innerHTML", "localStorage", "fetch(", "XMLHttpRequest"):
        assert forbidden not in script
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links), links
    assert not re.findall(r"url\((?!#)", text)


def test_what_the_page_holds(report, text):
    heads = re.findall(r"<h2>([^<]*)</h2>", text)
    assert heads == [
        "Layers", "Findings", "Class separation and collapse", "Class pairs", "Probing", "Dimension and spectrum",
        "Topology", "Features", "All values", "Methods and citations", "Provenance", "Export",
    ]  # fmt: skip
    for needed in ("sha256", "papyan2020prevalence", "repana.profile(model, data, layers=", "permutations=4"):
        assert needed in text.replace("&#39;", "'")
    assert number(report.select("nc1")[0].value) in text
    for f in report.findings():
        assert f'data-code="{f.code}"' in text
    for sentence in report.summary():
        assert html.escape(sentence, quote=False).replace("&#x27;", "&#39;") in text.replace("&#39;", "'").replace(
            "&amp;", "&"
        ) or html.escape(sentence) in text.replace("&#39;", "&#x27;")
    assert text.index('id="summary"') < text.index('id="layers"') < text.index('id="findings"')
    assert text.count('class="tile"') >= 4


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
        for ink in ("ink", "soft", "link", "caution", "check"):
            for ground in ("paper", "card"):
                a, b = sorted((luminance(colours[ink]), luminance(colours[ground])))
                assert (b + 0.05) / (a + 0.05) >= 4.5, (ink, ground)


def test_all_values_are_in_the_table(report, text):
    """Every value of a layer, to four digits, with its interval."""
    part = text[text.index('id="values"') : text.index('id="methods"')]
    shown = [float(v) for v in re.findall(r'data-v="([^"]+)"', part)]
    kept = [r.value for r in report.rows if r.layer]
    assert len(shown) == len(kept)
    np.testing.assert_allclose(np.sort(shown), np.sort([float(f"{v:.4g}") for v in kept]))
    assert sum("n.s." in line for line in part.splitlines()) >= 1


def test_names_with_html_in_them_do_not_execute():
    hostile = planted(HOSTILE, [1.0, 2.0, 3.0], run="<b>run</b>", classes={"train": {"<i>": 3, "<u>": 4}})
    for made in (page(hostile).replace(f"<script>{SCRIPT}</script>", ""), fragment(hostile)):
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
    assert "<dt>convention</dt><dd>papyan (one); kothapalli (two)</dd>" in text
    assert "<dt>Seed</dt><dd>3 (one); 4 (two)</dd>" in text
    assert "<dt>Device</dt><dd>cpu</dd>" in text
    assert "Intervals are 90% to 95%:" in text
    settings = "convention of neural collapse (papyan, kothapalli)"
    assert f"Varied between runs: seed (3, 4); {settings}." in text
    seeds = page(repana.concat([run(f"r{k}", "papyan", k, 0.9) for k in range(9)]))
    assert "0 (r0); 1 (r1); 2 (r2); and 6 more" in seeds
    assert "Intervals are 90%:" in seeds
    assert re.search(r"Varied between runs: seed \(0, 1, 2[, 0-9]* and \d more\)\.", seeds)
    same = page(repana.concat([run("a", "papyan", 3, 0.9), run("b", "papyan", 3, 0.9)]))
    assert "All recorded settings are the same for all runs." in same


def many(runs: int = 40) -> Report:
    layers = ["input", "conv", "fc:in", "fc"]
    return repana.concat(
        [planted(layers, [(k + 1) / (r + 1) for k in range(4)], run=f"decay/epoch{r:02d}") for r in range(runs)]
    )


def test_forty_runs_open_as_one_overview():
    text = page(many())
    Reader(text)
    for needed in ("Trajectory", "Runs", "Key numbers"):
        assert f"<h2>{needed}</h2>" in text
    assert text.count('<th scope="row">decay/epoch') == 40
    assert "40 of 40 runs: " in text
    for link in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{link}"' in text
    assert len(text) < 2e6


def test_every_source_has_its_entry(report):
    named = {
        work for a in (*ANALYZERS.values(), *ACROSS_LAYERS.values()) for q in a.quantities for work in works(q.source)
    }
    named |= {work for m in COMPARISONS.values() for work in works(m.source)}
    reported = [q for table in (REPORTED, OF_TRAINING, OF_RANKINGS, OF_HEADS, OF_KERNELS) for q in table.values()]
    named |= {work for quantities in reported for q in quantities for work in works(q.source)}
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


def opened(text: str, folder: Path, width: int, script: str = "", *flags: str) -> tuple[str, str]:
    """What the page is after a script has driven it, and what the browser said; the script sets the title."""
    if script:  # the policy allows no script but the page's own
        text = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", f"<script>{script}</script></body>")
    (folder / "page.html").write_text(text, encoding="utf-8")
    address = (folder / "page.html").as_uri()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
               f"--window-size={max(width, 500)},900", "--virtual-time-budget=4000"]  # fmt: skip
    if width < 500:  # a window cannot be narrower; a frame can
        frame = f'<iframe src="page.html" style="width:{width}px;height:880px;border:0"></iframe>'
        take = "document.title = document.querySelector('iframe').contentDocument.title"
        (folder / "frame.html").write_text(f"{frame}<script>onload = () => setInterval(() => {take}, 100)</script>")
        address = (folder / "frame.html").as_uri()
        options.append("--allow-file-access-from-files")
    done = subprocess.run([CHROMIUM, *options, *flags, "--dump-dom", address], capture_output=True, text=True,
                          timeout=120)  # fmt: skip
    return done.stdout, done.stderr


def told(text: str, folder: Path, width: int, script: str, *flags: str) -> list:
    seen, said = opened(text, folder, width, script, *flags)
    assert "CONSOLE" not in said, said
    found = re.search(r"<title>(\[.*?\])</title>", seen)
    assert found, seen[:500]
    return json.loads(found[1])


browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@pytest.mark.slow
@browser
@pytest.mark.parametrize("flags", [(), ("--force-dark-mode",)], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(text, tmp_path, width, flags):
    """Nothing runs over the edge, the first figure is near, a finding opens, no error."""
    script = """
const root = document.documentElement, finding = document.querySelector('details.finding');
finding.querySelector('summary').click();
document.title = JSON.stringify([root.scrollWidth - root.clientWidth, root.scrollHeight,
  document.querySelector('figure').getBoundingClientRect().top + scrollY, finding.open,
  document.querySelectorAll('figure svg').length]);"""
    over, height, top, open_, figures = told(text, tmp_path, width, script, *flags)
    assert over <= 0
    assert open_
    assert figures >= 8
    if width == 1280:
        assert top <= 800
        assert height <= 9000


@pytest.mark.slow
@browser
def test_values_are_filtered_sorted_and_chosen(text, tmp_path):
    script = """
const box = document.getElementById('values'), all = (s, e = box) => [...e.querySelectorAll(s)];
const table = all('.set')[0], input = box.querySelector('input'), choice = box.querySelector('select');
const rows = () => all('tbody tr:not(.group)', table).filter(r => !r.hidden);
const before = rows().length;
input.value = 'nc1'; input.dispatchEvent(new Event('input'));
const filtered = rows().map(r => r.cells[0].textContent);
const groups = all('tr.group', table).filter(r => !r.hidden).length;
input.value = ''; input.dispatchEvent(new Event('input'));
const head = all('thead th', table)[2];
head.querySelector('button').click();
const values = rows().map(r => parseFloat(r.cells[2].dataset.v)).filter(v => !isNaN(v));
const up = values.every((v, i) => !i || values[i - 1] <= v);
choice.selectedIndex = 1; choice.dispatchEvent(new Event('change'));
let csv = '';
URL.createObjectURL = b => { csv = b; return '#'; };
document.querySelector('[data-csv]').click();
csv.text().then(t => document.title = JSON.stringify([before, filtered, groups, head.getAttribute('aria-sort'), up,
  table.hidden, all('.set')[1].hidden, t.split('\\n').length, t.split('\\n')[0]]));"""
    found = told(text, tmp_path, 1280, script)
    before, filtered, groups, sort, up, first, second, lines, head = found
    assert before > 80
    assert filtered == ["NC1"]
    assert groups == 1
    assert sort == "ascending"
    assert up
    assert first
    assert not second
    assert head == "set,quantity,layer,value,detail"
    assert lines == text[text.index('id="values"') : text.index('id="methods"')].count("data-v=") + 1


@pytest.mark.slow
@browser
def test_figures_are_saved_as_svg_png_and_data(text, tmp_path):
    """The data of a figure are those that it draws; a link to the methods opens what is closed."""
    script = """
const made = [], make = document.createElement.bind(document);
document.createElement = tag => {
  const e = make(tag);
  if (tag === 'a') e.click = () => made.push([e.download, fetch(e.href).then(r => r.blob())]);
  return e;
};
const figures = [...document.querySelectorAll('figure')];
const figure = figures.find(f => f.querySelector('h3')?.textContent === 'Betti curves');
figure.querySelectorAll('.menu button').forEach(b => b.click());
location.hash = '#methods-topology';
(async () => {
  while (made.length < 3) await new Promise(done => setTimeout(done, 100));
  const blobs = await Promise.all(made.map(([, content]) => content));
  const texts = await Promise.all(blobs.map(b => b.type === 'image/png' ? b.size : b.text()));
  const starts = texts.map(t => typeof t === 'number' ? t : t.slice(0, 60));
  document.title = JSON.stringify([made.map(m => m[0]), blobs.map(b => b.type), starts,
    document.getElementById('methods-topology').open, document.querySelectorAll('math').length]);
})();"""
    names, kinds, texts, opened_, formulas = told(text, tmp_path, 1280, script, "--virtual-time-budget=60000")
    assert sorted(names) == ["betti-curves.csv", "betti-curves.png", "betti-curves.svg"]
    found = dict(zip(kinds, texts))
    assert html.unescape(found["image/svg+xml"]).startswith("<svg")
    assert found["image/png"] > 10_000
    assert found["text/csv"].startswith("panel,series,x,y,value\n")
    assert opened_
    assert formulas > 60


def test_the_data_of_a_figure_are_those_that_it_draws(report):
    import csv
    import io

    axes = plots.dimension_depth(report)
    rows = list(csv.DictReader(io.StringIO(plots.drawn_data(axes))))
    drawn = [r for r in rows if r["series"] == "TwoNN dimension"]
    expected = report.select("two_nn", split="train")
    assert [r["x"] for r in drawn] == [r.layer for r in expected]
    np.testing.assert_allclose([float(r["y"]) for r in drawn], [r.value for r in expected], rtol=1e-3)
    grid = list(csv.DictReader(io.StringIO(plots.drawn_data(plots.cdnv_grid(report)))))
    array = report.array("neural_collapse.cdnv_grid", "fc:in", split="train")
    assert len(grid) == len(array) * (len(array) - 1) / 2
    first = next(r for r in grid if (r["x"], r["y"]) == ("0", "0"))
    assert float(first["value"]) == pytest.approx(array[1, 0], rel=1e-3)


def test_a_probe_without_errors_is_a_sentence_and_no_empty_figure():
    counts = np.diag([5.0, 6.0, 7.0])
    rows = planted(["a", "fc:in"], [1.0, 1.0], name="linear_probe", analyzer="probing").rows
    known = {"classes": {"train": {"x": 5, "y": 6, "z": 7}}, "run": "run"}
    text = page(Report(rows, {"train/a/probing.confusion": counts, "train/fc:in/probing.confusion": counts}, known))
    assert "no errors on 18 test samples (run, training)." in text
    figure = text[text.index('<figure id="confusion">') :].partition("</figure>")[0]
    assert "<svg" not in figure


@pytest.mark.slow
@browser
def test_one_run_of_many_is_chosen(tmp_path):
    text = page(many(9))
    assert len(text.encode()) < 800_000
    assert text.count('class="bar"') == 9
    script = """
const runs = () => [...document.querySelectorAll('[data-run]')].filter(e => !e.hidden).map(e => e.dataset.run);
const before = runs(), pick = document.querySelector('select.run');
pick.value = 'decay/epoch05'; pick.dispatchEvent(new Event('change'));
document.title = JSON.stringify([before, runs(), pick.options.length]);"""
    assert told(text, tmp_path, 1280, script) == [["decay/epoch00"], ["decay/epoch05"], 9]


@pytest.mark.slow
@browser
def test_panels_are_linked_by_layer(text, report, tmp_path):
    """Keys and pointer move a line in all panels and write the values; curves are hidden; a click sorts the table."""
    script = """
const all = (s, e = document) => [...e.querySelectorAll(s)], chart = document.getElementById('depth');
const out = document.getElementById('readout');
const press = k => chart.dispatchEvent(new KeyboardEvent('keydown', {key: k, bubbles: true}));
const key = k => { press(k); return out.textContent; }, seen = l => l.getAttribute('visibility');
const lines = () => all('.drawn line', chart).map(l => [seen(l), parseFloat(l.getAttribute('x1'))]);
const first = key('ArrowRight'), still = key('ArrowLeft') === first, begin = lines();
const last = key('End'), end = lines();
const drawing = chart.querySelector('.drawn svg'), box = drawing.getBoundingClientRect();
const x = box.left + box.width * begin[0][1] / drawing.viewBox.baseVal.width;
const at = {clientX: x, clientY: box.top + 99, bubbles: true};
drawing.dispatchEvent(new PointerEvent('pointermove', at));
const pointed = out.textContent === first;
drawing.dispatchEvent(new MouseEvent('click', at));
const sorted = all('#values .set').find(s => !s.hidden).querySelector('th[aria-sort]').textContent;
const curve = chart.querySelector('[data-curve="0"]');
curve.click();
const gone = all('.drawn .c0', chart).map(e => e.style.display);
all('[data-family]').find(b => b.textContent === 'Separability').click();
const panels = all('#panels > div').length, paths = all('#panels .c0').map(e => e.style.display);
curve.click();
document.title = JSON.stringify([first, still, begin, last, end, pointed, sorted, gone, panels, paths,
  chart.querySelector('.drawn').hidden, all('#panels .c0').map(e => e.style.display)]);"""
    found = told(text, tmp_path, 1280, script)
    first, still, begin, last, end, pointed, chosen, gone, panels, paths, hidden, back = found
    assert first.startswith(report.layers[0])
    assert last.startswith(report.layers[-1])
    assert still
    row = next(r for r in report.rows if (r.quantity, r.layer) == ("nc1", report.layers[0]))
    assert f"NC1: {row.split.replace('train', 'training')} {number(row.value)}" in first
    assert len(begin) == len(plots.overview(report))
    assert all(seen == "visible" for seen, _ in begin + end)
    assert all(b < e for (_, b), (_, e) in zip(begin, end))
    assert pointed
    assert chosen == report.layers[0]
    assert set(gone) == {"none"}
    shown = {(r.analyzer, r.quantity) for r in report.rows if r.analyzer in ("fisher", "separability") and r.layer}
    assert panels == len(paths) == len(shown)
    assert set(paths) == {"none"}
    assert hidden
    assert set(back) == {""}


@pytest.mark.slow
@browser
@pytest.mark.parametrize(
    ("width", "flags"), [(1280, ()), (390, ("--blink-settings=preferredColorScheme=0",))], ids=["light", "dark"]
)
def test_accessibility_checker_finds_nothing(text, tmp_path, width, flags):
    """axe-core, with every `details` open."""
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    script = f"""{axe}
document.querySelectorAll('details').forEach(d => d.open = true);
document.title = 'axe';
axe.run().then(r => document.title = JSON.stringify([r.passes.length, ...r.violations.map(v => v.id + ': ' +
  v.nodes[0].html.slice(0, 200).replace(/[<>&]/g, ' '))]));"""
    passes, *violations = told(text, tmp_path, width, script, *flags, "--virtual-time-budget=60000")
    assert violations == []
    assert passes > 20


@pytest.mark.slow
@browser
def test_the_policy_lets_the_own_script_run(text, tmp_path):
    """Under the policy controls appear and the browser has nothing to say; without script they stay hidden."""
    seen, said = opened(text, tmp_path, 1280)
    assert "CONSOLE" not in said, said
    assert re.search(r'<div class="tools js">', seen)
    assert re.search(r'<div class="tools js" hidden', text)


@pytest.mark.filterwarnings("error:constrained_layout")
@pytest.mark.parametrize("name", ["run", "epoch"])
def test_many_runs_fit_a_notebook_cell(name):
    """Forty runs: a depth profile would have no room beside its legend."""
    runs = [planted(["a", "b"], [1.0 + i, 2.0], run=f"a rather long name of a {name}{i}") for i in range(40)]
    text = fragment(repana.concat(runs))
    assert ("Trajectory of" if name == "epoch" else "Summary of runs of") in text
