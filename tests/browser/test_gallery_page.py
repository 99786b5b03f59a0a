"""The page that `unmelt gallery` writes, in a real browser: what a visitor sees, drags, presses and reads."""

import base64
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from small_runs import small_run

from unmelt import load_run
from unmelt.core import later
from unmelt.core.pictures import to_pixels
from unmelt.degradations import HeatDissipation
from unmelt.evaluation.gallery import build_gallery
from unmelt.training import Trainer

pytestmark = [pytest.mark.browser, pytest.mark.full]

COUNT = 3
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SLIDERS = "#trajectories input[type=range]"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, of eight levels and of five."""
    root, found = tmp_path_factory.mktemp("runs"), []
    for name, levels in (("one", 8), ("other", 5)):
        heat = later(HeatDissipation, blur_sigma_min=0.3, blur_sigma_max=3.0, levels=levels, sigma=0.03)
        config = small_run(root, name, process=heat)
        found.append(load_run(Trainer(config, config.data.load()).train().path))
    return found


@pytest.fixture(scope="module")
def files(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, shown in (("one", runs[:1]), ("two", runs)):
        (folder / f"{name}.html").write_text(build_gallery(shown, count=COUNT), encoding="utf-8")
    return folder


@pytest.fixture
def opened(new_page, files):
    """Return a function that opens one of the pages."""

    def open_file(name="one", **settings):
        page = new_page(**settings)
        page.goto((files / f"{name}.html").as_uri())
        page.evaluate("unmelt.ready")
        settle(page)
        return page

    return open_file


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def until(page, expression):
    """Wait until an expression holds; the page itself forbids what the browser's own waiting needs."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def drag(page, value, selector=SLIDERS):
    """Move the first slider as a hand does."""
    page.eval_on_selector(
        selector, "(e, value) => { e.value = value; e.dispatchEvent(new Event('input')) }", str(value)
    )
    settle(page)


def pixels(page, selector):
    """Return what the canvases of a selector show, (count, height, width, 3)."""
    script = """(canvases) => canvases.map((canvas) => {
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return [canvas.height, canvas.width, btoa(String.fromCharCode(...data))];
    })"""
    found = page.eval_on_selector_all(selector, script)
    tiles = [np.frombuffer(base64.b64decode(text), np.uint8).reshape(h, w, 4)[..., :3] for h, w, text in found]
    return torch.from_numpy(np.stack(tiles))


def states(run, index):
    path = run.sampler().run(COUNT, generator=range(COUNT)).trajectory
    return to_pixels(path.states[index], (0.0, 1.0)), to_pixels(path.predictions[index], (0.0, 1.0))


class TestPlayer:
    def test_the_slider_moves_the_picture_to_the_sampler_s_states(self, opened, runs):
        page = opened()
        for frame in (0, 3, 7):
            drag(page, frame)
            expected, estimate = states(runs[0], frame)
            page.click("#trajectories .switch button:nth-child(1)")
            settle(page)
            assert torch.equal(pixels(page, "#trajectories canvas"), expected)
            page.click("#trajectories .switch button:nth-child(2)")
            settle(page)
            assert torch.equal(pixels(page, "#trajectories canvas"), estimate)
            assert f"step {frame} of 8" in page.inner_text("#trajectories output")

    def test_the_forward_process_melts(self, opened):
        page = opened()
        seen = []
        for frame in (0, 20, 40):
            drag(page, frame, "#forward input[type=range]")
            seen.append(pixels(page, "#forward canvas").int())
        assert (seen[0] - seen[1]).abs().float().mean() > 3
        assert (seen[1] - seen[2]).abs().float().mean() > 1

    def test_keys_move_what_was_used_last_and_space_plays_it(self, opened):
        page = opened()
        page.focus(SLIDERS)
        page.keyboard.press("ArrowRight")
        assert page.input_value(SLIDERS) == "1"
        # From anywhere on the page that has no use for the key.
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("ArrowRight")
        assert page.input_value(SLIDERS) == "2"
        page.keyboard.press("ArrowLeft")
        assert page.input_value(SLIDERS) == "1"
        page.keyboard.press("Space")
        assert page.get_attribute("#trajectories .play", "aria-label") == "Pause"
        until(page, "document.querySelector('#trajectories input').value === '8'")
        until(page, "document.querySelector('#trajectories .play').ariaLabel === 'Play'")
        page.focus(SLIDERS)
        page.keyboard.press("Space")
        until(page, "document.querySelector('#trajectories input').value === '2'")
        page.keyboard.press("Space")
        assert page.get_attribute("#trajectories .play", "aria-label") == "Play"

    def test_nothing_plays_by_itself_and_a_button_plays(self, opened):
        page = opened(reduced_motion="reduce")
        page.wait_for_timeout(300)
        assert page.input_value(SLIDERS) == "0"
        page.click("#trajectories .play")
        until(page, "document.querySelector('#trajectories input').value === '8'")

    def test_a_finger_taps_what_a_mouse_clicks(self, opened):
        page = opened(width=390, height=844, has_touch=True, is_mobile=True)
        page.tap("#trajectories .play")
        until(page, "document.querySelector('#trajectories input').value > 1")
        page.tap("#training .plot")
        assert re.search(r"^training step \d+: training [\d.]+", page.inner_text("#training .reading"))


class TestTwoRuns:
    def test_sliders_of_a_section_move_together(self, opened, runs):
        page = opened("two")
        drag(page, 8)
        values = page.eval_on_selector_all(SLIDERS, "(all) => all.map((e) => e.value)")
        assert values == ["8", "5"]
        shown = pixels(page, "#trajectories article:nth-child(2) canvas")
        expected = to_pixels(runs[1].sample(COUNT, generator=range(COUNT)), (0.0, 1.0))
        assert torch.equal(shown, expected)
        assert page.input_value("#forward input[type=range]") == "0"

    def test_they_are_named_and_compared(self, opened):
        page = opened("two")
        assert page.locator("#key thead th").all_inner_texts() == ["one", "other"]
        assert page.locator("#samples h3").all_inner_texts() == ["one", "other"]
        boxes = [page.locator("#samples article").nth(i).bounding_box() for i in (0, 1)]
        assert boxes[0]["y"] == boxes[1]["y"]
        assert boxes[0]["x"] < boxes[1]["x"]

    def test_on_a_phone_they_stand_one_below_the_other(self, opened):
        page = opened("two", width=390, height=844)
        boxes = [page.locator("#samples article").nth(i).bounding_box() for i in (0, 1)]
        assert boxes[0]["x"] == boxes[1]["x"]
        assert boxes[0]["y"] < boxes[1]["y"]

    def test_plots_of_the_same_thing_have_the_same_axes(self, opened):
        page = opened("two")
        script = """(plots) => plots.map((plot) => [
          plot.closest('figure').querySelector('h4').textContent,
          [...plot.querySelectorAll('text')].map((e) => e.textContent).join(),
        ])"""
        for section in ("spectra", "training"):
            found = page.eval_on_selector_all(f"#{section} .plot", script)
            for title in {title for title, _ in found}:
                first, second = [axes for name, axes in found if name == title]
                assert first == second, title


class TestPlots:
    def test_a_pointer_and_keys_read_values(self, opened, runs):
        page = opened()
        plot = "#training .plot"
        page.focus(plot)
        page.keyboard.press("ArrowRight")
        told = page.inner_text("#training .reading")
        assert told.startswith("training step 1: training ")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#training .reading").startswith("training step 2: ")
        page.locator(plot).first.scroll_into_view_if_needed()
        box = page.locator(plot).first.bounding_box()
        page.mouse.move(box["x"] + box["width"] - 15, box["y"] + 60)
        assert page.inner_text("#training .reading").startswith("training step 6: ")

    def test_lines_lie_inside_their_plots(self, opened):
        for size in SIZES.values():
            page = opened(width=size[0], height=size[1])
            outside = """[...document.querySelectorAll('.plot')].filter((plot) => {
              const box = plot.getBoundingClientRect();
              return [...plot.querySelectorAll('.line, .dot, text')].some((part) => {
                const inner = part.getBoundingClientRect();
                return inner.left < box.left - 1 || inner.right > box.right + 1
                  || inner.top < box.top - 1 || inner.bottom > box.bottom + 1;
              });
            }).map((plot) => plot.ariaLabel)"""
            assert page.evaluate(outside) == []
            assert page.evaluate("document.querySelectorAll('.plot .line').length") >= 6


class TestHands:
    def test_every_control_is_reached_by_tab_and_shows_it(self, opened):
        page = opened()
        script = """(() => {
          const all = 'button, input, a, summary, [tabindex="0"]';
          return [...document.querySelectorAll(all)].filter((e) => e.checkVisibility()).length;
        })()"""
        wanted, reached = page.evaluate(script), 0
        page.evaluate("window.reached = new Set()")
        for _ in range(wanted + 2):
            page.keyboard.press("Tab")
            outline = page.evaluate(
                """() => {
                  if (document.activeElement !== document.body) window.reached.add(document.activeElement);
                  return getComputedStyle(document.activeElement).outlineStyle;
                }"""
            )
            assert outline != "none" or page.evaluate("document.activeElement === document.body")
        reached = page.evaluate("window.reached.size")
        assert reached == wanted

    def test_everything_has_a_name(self, opened):
        nameless = """[...document.querySelectorAll('button, input, canvas, svg:not([aria-hidden]), [role=region]')]
          .filter((e) => !(e.getAttribute('aria-label') || e.textContent).trim()).map((e) => e.outerHTML)"""
        for name in ("one", "two"):
            assert opened(name).evaluate(nameless) == []

    def test_headings_go_down_one_by_one(self, opened):
        for name in ("one", "two"):
            found = opened(name).eval_on_selector_all("h1, h2, h3, h4", "(all) => all.map((e) => Number(e.tagName[1]))")
            assert found[0] == 1
            assert found.count(1) == 1
            assert all(below - above <= 1 for above, below in pairwise(found))

    def test_the_skip_link_and_the_contents_lead_there(self, opened):
        page = opened()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        links = page.eval_on_selector_all("nav a", "(all) => all.map((e) => e.getAttribute('href'))")
        assert links == [f"#{name}" for name in page.eval_on_selector_all("section", "(all) => all.map((e) => e.id)")]


class TestLooks:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("name", ["one", "two"])
    def test_it_fits_its_screen(self, opened, name, size, scheme):
        width, height = SIZES[size]
        page = opened(name, width=width, height=height, scheme=scheme)
        page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        clipped = """[...document.querySelectorAll('button, input, canvas, p, li, dd, figcaption')]
          .filter((e) => e.checkVisibility() && !e.closest('.scroll'))
          .filter((e) => { const box = e.getBoundingClientRect(); return box.left < 0 || box.right > innerWidth; })
          .map((e) => e.outerHTML)"""
        assert page.evaluate(clipped) == []
        # Trees and tables of small pictures need no scrolling of their own.
        wider = "(all) => all.filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.ariaLabel)"
        assert page.eval_on_selector_all("figure .scroll", wider) == []

    def test_a_finger_finds_every_control(self, opened):
        page = opened(width=390, height=844, has_touch=True, is_mobile=True)
        low = """[...document.querySelectorAll('a, button, input, summary')]
          .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 40).map((e) => e.outerHTML)"""
        assert page.evaluate(low) == []

    @pytest.mark.parametrize("size", SIZES)
    def test_words_of_rows_and_columns_stand_by_their_tiles_and_apart(self, opened, size):
        page = opened("two", width=SIZES[size][0], height=SIZES[size][1])
        script = """(tables) => tables.map((table) => {
          const words = (head) => {
            const range = document.createRange();
            range.selectNodeContents(head);
            return range.getBoundingClientRect();
          };
          const middle = (box) => (box.left + box.right) / 2;
          const heads = [...table.querySelectorAll('thead th')].map((head) => middle(words(head)));
          const tiles = [...table.querySelectorAll('tbody tr:first-child canvas')]
            .map((tile) => middle(tile.getBoundingClientRect()));
          const rows = [...table.querySelectorAll('tbody th')].map(words);
          return {
            aside: heads.map((at, i) => Math.abs(at - tiles[i])),
            gaps: rows.slice(1).map((row, i) => row.top - rows[i].bottom),
          };
        })"""
        for found in page.eval_on_selector_all(".pictures", script):
            assert max(found["aside"]) < 2
            assert min(found["gaps"]) >= 4

    def test_its_theme_follows_the_system_and_a_button(self, opened):
        page = opened(scheme="dark")
        background = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(background)
        page.click("#theme")
        assert page.evaluate(background) != dark
        assert page.get_attribute("#theme", "aria-pressed") == "false"
        page.click("#theme")
        assert page.evaluate(background) == dark
        page.emulate_media(color_scheme="light")
        settle(page)
        assert page.evaluate(background) != dark
