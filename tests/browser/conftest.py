"""A real browser without a window, and pages in it that may print no error."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Nothing of a browser's own talk to the world, and no need of a graphics card or of privileges.
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def without(reason):
    """Skip for people who have no browser, and fail where all checks are meant to run."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser():
    program = shutil.which("chromium")
    if program is None:
        without("no program chromium: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        without("no package playwright: pip install playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser):
    """Return a function that opens a page of a given size; what a page complains of fails the test in the end."""
    contexts, complaints = [], []

    def open_page(width=1280, height=800, scheme="light", **settings):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        # A page of files: whatever it asks a network for is a mistake.
        page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(new_page):
    return new_page()
