"""The site of the documentation, opened from its files: whole, without a network, searchable, on any screen."""

import re
import subprocess
import sys

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


@pytest.fixture(scope="session")
def site():
    """Build what is not built yet, as strictly as `make docs`."""
    with FileLock(ROOT / "build" / "site.lock"):
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
    page.wait_for_selector("#search-results .search-summary", timeout=20_000)
    page.wait_for_function("document.querySelector('#search-progress')?.textContent !== undefined || true")
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
        found = screen.evaluate("document.documentElement.scrollWidth")
        if found > width:
            wide[page.relative_to(site).as_posix()] = found
    assert wide == {}


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
    # A type that stands for another one has no page.
    assert {name for package in packages for name in package.__all__} - there <= set()


def test_names_in_the_text_lead_to_the_reference(site, page):
    page.goto((site / "concepts" / "couplings.html").as_uri())
    page.locator("article a:has(code:text-is('Markov()')), article a:has(code:text-is('Markov'))").first.click()
    page.wait_for_selector("h1")
    assert page.locator("h1").inner_text().startswith("Markov")


def test_the_explorable_page_opens_from_it(site, page):
    page.goto((site / "index.html").as_uri())
    page.locator("a[href='explore/index.html']").first.click()
    page.wait_for_selector("canvas")
