"""The site of the documentation, opened from its files: whole, without a network, searchable, on any screen."""

import re
import subprocess
import sys
import types

import pytest
from conftest import ROOT
from filelock import FileLock

from unmelt import degradations, evaluation, losses, models, samplers, testing, training
from unmelt.samplers import guidance
from unmelt.training import data

pytestmark = [pytest.mark.browser, pytest.mark.full]

SITE = ROOT / "build" / "site"
# What a reader of papers types, and a page that should be found by it.
WORDS = {
    "DDIM": "concepts/couplings",
    "ancestral sampling": "concepts/words",
    "eta": "concepts/couplings",
    "noise schedule": "concepts/words",
    "v-prediction": "concepts/predictions",
    "signal-to-noise": "concepts/equation",
    "score": "concepts/predictions",
    "probability flow": "concepts/sampling",
    "NFE": "concepts/words",
    "classifier-free guidance": "concepts/sampling",
    "inpainting": "how_to/restoration",
    "super-resolution": "how_to/restoration",
    "FID": "how_to/evaluate",
    "bits per dimension": "concepts/likelihood",
    "EMA": "concepts/words",
    "deblurring": "how_to/restoration",
    "torchrun": "how_to/scale_out",
    "out of memory": "how_to/when_something_goes_wrong",
}


# What sticks out of the screen and of all that scrolls by itself. The theme scrolls a page that is too wide as a whole.
STICK_OUT = """() => [...document.querySelectorAll("article *")].filter(e => {
    if (e.getBoundingClientRect().right <= innerWidth + 1) return false
    for (let up = e.parentElement; up.tagName !== "ARTICLE"; up = up.parentElement)
        if (["auto", "scroll"].includes(getComputedStyle(up).overflowX)) return false
    return !["auto", "scroll"].includes(getComputedStyle(e).overflowX)
}).map(e => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="session")
def site():
    """Build what is not built yet, as strictly as `make docs`."""
    SITE.parent.mkdir(exist_ok=True)
    with FileLock(SITE.with_suffix(".lock")):
        build = (
            sys.executable,
            "-m",
            "sphinx",
            "--quiet",
            "--fail-on-warning",
            "-c",
            "docs/site",
            "docs",
            "build/site",
        )
        finished = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return SITE


def pages(site):
    """Return those that people write, by their names without the ending."""
    written = [page for page in sorted(site.rglob("*.html")) if "reference/names" not in page.as_posix()]
    return [page for page in written if page.name not in ("genindex.html", "py-modindex.html", "search.html")]


@pytest.mark.parametrize("words", WORDS)
def test_its_search_finds_the_words_of_the_field(words, site, page):
    page.goto((site / "search.html").as_uri() + f"?q={words.replace(' ', '+')}")
    page.get_by_text("Search finished").wait_for(timeout=20_000)
    page.wait_for_selector("#search-results ul.search li a", timeout=20_000)
    page.wait_for_timeout(500)
    found = page.eval_on_selector_all("#search-results ul.search li > a", "all => all.map(a => a.getAttribute('href'))")
    assert any(link.startswith(f"{WORDS[words]}.html") for link in found), found[:20]


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen(width, site, new_page):
    screen = new_page(width=width, height=844)
    wide = {}
    for page in pages(site):
        screen.goto(page.as_uri())
        found = screen.evaluate(STICK_OUT)
        if found or screen.evaluate("document.documentElement.scrollWidth") > width:
            wide[page.relative_to(site).as_posix()] = found
    assert wide == {}


def test_every_picture_has_words_and_opens_at_its_full_size(site, page):
    looked_at, wrong = 0, []
    for path in pages(site):
        page.goto(path.as_uri())
        pictures = page.eval_on_selector_all(
            "article img", "all => all.map(i => [i.getAttribute('src'), i.alt, i.parentElement.getAttribute('href')])"
        )
        looked_at += len(pictures)
        for source, words, target in pictures:
            if not words or words.endswith(".png") or target != (None if source.startswith("data:") else source):
                wrong.append((path.name, source[:60], words, target))
    assert looked_at > 50
    assert wrong == []


def test_a_number_and_its_error_stay_in_one_line(site, new_page):
    page = new_page(width=390, height=844)
    page.goto((site / "concepts" / "likelihood.html").as_uri())
    cell = page.locator("td", has_text=re.compile(r"^\S+ \+- \S+$")).first
    assert cell.bounding_box()["height"] < 50
    assert cell.evaluate("e => getComputedStyle(e).whiteSpace") == "nowrap"


def test_what_a_program_prints_is_not_coloured_as_python(site, page):
    page.goto((site / "start_here.html").as_uri())
    printed = page.locator("pre", has_text="MNIST's digits")
    assert printed.count() == 1
    assert printed.locator("span.s1, span.mi, span.k").count() == 0


def test_titles_in_the_list_of_pages_take_two_lines_at_most(site, page):
    page.goto((site / "index.html").as_uri())
    heights = page.eval_on_selector_all(
        ".sidebar-tree li > a.reference", "all => all.map(a => [a.textContent, a.offsetHeight])"
    )
    assert len(heights) > 30
    assert [title for title, height in heights if height > 52] == []


def test_no_page_is_offered_as_a_download(site):
    """As one that Markdown links to and Sphinx did not make, which would arrive without its scripts."""
    assert not [page for page in pages(site) if 'class="reference download' in page.read_text(encoding="utf-8")]


def test_nothing_of_it_comes_from_elsewhere(site):
    loaded = r'<(?:script|img|link|iframe|source|video)\b[^>]*?\b(?:src|href)="(https?:)?//[^"]*"'
    assert not [page for page in site.rglob("*.html") if re.search(loaded, page.read_text(encoding="utf-8"))]


def test_mathematics_is_drawn_by_the_browser_itself(site, page):
    page.goto((site / "concepts" / "equation.html").as_uri())
    assert page.locator("math").count() > 10
    height = page.locator("math mfrac").first.bounding_box()["height"]
    line = page.locator("article p").first.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
    assert height > 1.2 * line


def test_every_public_name_has_a_page(site):
    packages = (degradations, models, losses, samplers, guidance, training, data, evaluation, testing)
    there = {page.stem.rpartition(".")[2] for page in (site / "reference" / "names").glob("*.html")}
    # A name of a union of types has no page.
    names = {
        name
        for package in packages
        for name in package.__all__
        if not isinstance(getattr(package, name), types.UnionType)
    }
    assert len(names) > 200
    assert names - there == set()


def test_names_in_the_text_lead_to_the_reference(site, page):
    page.goto((site / "concepts" / "couplings.html").as_uri())
    page.locator("article a.reference", has_text=re.compile(r"^Markov(\(\))?$")).first.click()
    page.wait_for_selector("h1")
    assert page.locator("h1").inner_text().startswith("Markov")


def test_the_explorable_page_opens_from_it(site, page):
    for start in ("index", "start_here"):
        page.goto((site / f"{start}.html").as_uri())
        page.locator("article a[href='explore/index.html']").click()
        page.wait_for_selector("canvas")
