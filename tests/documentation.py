"""The documentation as `make docs` built it: no broken link, nothing from a network, a search that works offline."""

import functools
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOADED = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}
NOT_LOADED = {"canonical", "author", "index", "search", "next", "prev", "up"}


class Page(HTMLParser):
    """Links, what is loaded, and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        kept = LOADED.get(tag)
        if kept and given.get(kept) and given.get("rel") not in NOT_LOADED:
            self.loaded.append(given[kept])


@functools.cache
def page(path: Path) -> Page:
    return Page(path)


@pytest.fixture(scope="module")
def pages() -> list[Path]:
    found = sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)
    assert len(found) > 200, "build the documentation first: make docs"
    return found


def test_every_link_leads_somewhere(pages):
    broken = []
    for path in pages:
        for link in page(path).links + page(path).loaded:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                broken.append(f"{path.relative_to(SITE)} -> {link}")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target).anchors:
                broken.append(f"{path.relative_to(SITE)} -> {link} (no such anchor)")
    assert not broken, "\n".join(sorted(set(broken))[:40])


def test_nothing_is_loaded_from_a_network(pages):
    far = {f"{p.name}: {link}" for p in pages for link in page(p).loaded if re.match(r"(https?:)?//", link)}
    assert not far


def test_every_public_name_has_a_page_with_its_parameters(pages):
    sys.path.insert(0, str(ROOT / "docs"))
    from generated_pages import registry

    names = {path.stem for path in pages}
    for name, package in registry().items():
        assert f"{package}.{name}" in names
    assert "Parameters" in (SITE / "generated/api/repana.dimension.two_nn.html").read_text(encoding="utf-8")


def test_concept_pages_have_a_figure_and_formulas(pages):
    for path in (SITE / "concepts").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        if path.stem != "catalogue":
            assert "<math" in text, path.stem
            assert not [m for m in re.findall(r"<math.*?</math>", text, re.S) if "\\" in m], path.stem  # unknown LaTeX
            assert "sphx_glr_plot_" in text, path.stem


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda p: p.name
)
def test_links_of_the_repository_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert link.startswith("http") or (ROOT / link).exists(), link


def opened(address: str, *options: str) -> str:
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900",
               "--virtual-time-budget=8000", *options, "--dump-dom", address]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_search_works_without_a_server():
    found = opened((SITE / "search.html").as_uri() + "?q=two_nn")
    assert "repana.dimension.two_nn" in found[found.index('id="search-results"') :]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_header_is_one_row(tmp_path):
    """Four doors and the gallery, at 1280 pixels."""
    text = (SITE / "index.html").read_text(encoding="utf-8")
    script = """<script>addEventListener('load', () => {
const shown = [...document.querySelectorAll('.bd-header .nav-item')].filter(e => e.getBoundingClientRect().height > 0);
const height = document.querySelector('.bd-header').offsetHeight;
document.title = JSON.stringify([shown.map(e => e.textContent.trim()), height]);
});</script>"""
    made = SITE / "header-test.html"
    made.write_text(text.replace("</body>", script + "</body>"), encoding="utf-8")
    try:
        title = re.search(r"<title>(.*?)</title>", opened(made.as_uri()))[1]
    finally:
        made.unlink()
    for door in ("Tutorials", "How-to", "Explanation", "Reference", "Gallery"):
        assert door in title
    assert int(title.rpartition(",")[2].rstrip("]")) <= 90
