"""The page docs/explore in a real browser: what a visitor sees, drags, presses and drops."""

import importlib.util
import io
import re

import pytest
import torch
from explore_page import CASES, EXPLORE, open_explorer, set_range, settle, shown
from PIL import Image

pytestmark = [pytest.mark.browser, pytest.mark.full]

FAMILIES = sorted({family for family, _ in CASES.values()})
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


@pytest.fixture
def explorer(page):
    return open_explorer(page)


def text(page, name):
    return page.inner_text(f"#{name}")


def script_of_the_photograph():
    spec = importlib.util.spec_from_file_location("photograph", EXPLORE / "photograph.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def png(width, height, left, right):
    """Return a picture of two halves."""
    picture = Image.new("RGB", (width, height), left)
    picture.paste(right, (width // 2, 0, width, height))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


class TestPicture:
    def test_the_photograph_is_the_one_of_the_script(self, explorer):
        module = script_of_the_photograph()
        expected = torch.frombuffer(bytearray(module.photograph().tobytes()), dtype=torch.uint8).reshape(128, 128, 3)
        assert torch.equal(shown(explorer, "original")[..., :3], expected)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_time_moves_the_picture_of_every_family(self, explorer, family):
        explorer.select_option("#family", family)
        seen = []
        for t in (0.0, 0.5, 1.0):
            set_range(explorer, "time", t)
            seen.append(shown(explorer).int())
            assert f"t = {t:.3f}" in text(explorer, "drowned")
        assert (seen[0] - seen[1]).abs().float().mean() > 1
        assert (seen[1] - seen[2]).abs().float().mean() > 1

    def test_a_chosen_file_is_cut_to_its_middle_square(self, explorer):
        file = {"name": "halves.png", "mimeType": "image/png", "buffer": png(900, 400, "red", "blue")}
        explorer.set_input_files("#file", file)
        explorer.wait_for_function("unmelt.page.chosen.picture[0] === 255 && unmelt.page.chosen.picture[1] === 0")
        settle(explorer)
        original = shown(explorer, "original")
        assert (original[:, :60, :3] == torch.tensor([255, 0, 0])).all()
        assert (original[:, 68:, :3] == torch.tensor([0, 0, 255])).all()
        set_range(explorer, "time", 0)
        assert (shown(explorer).int() - original.int()).abs().float().mean() < 3

    def test_a_dropped_file_is_taken(self, explorer):
        script = """async ([bytes]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
          const told = { dataTransfer: transfer, bubbles: true, cancelable: true };
          document.body.dispatchEvent(new DragEvent("drop", told));
        }"""
        explorer.evaluate(script, [list(png(64, 64, "lime", "lime"))])
        explorer.wait_for_function("unmelt.page.chosen.picture[1] === 255")
        for family in FAMILIES:
            # A picture without any detail has a spectrum of almost nothing.
            explorer.select_option("#family", family)
            set_range(explorer, "time", 0.5)

    def test_a_file_that_is_no_picture_is_told_and_changes_nothing(self, explorer):
        before = shown(explorer, "original")
        explorer.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
        explorer.wait_for_function("document.getElementById('trouble').textContent !== ''")
        assert "notes.txt" in text(explorer, "trouble")
        assert torch.equal(shown(explorer, "original"), before)

    def test_another_seed_is_another_noise(self, explorer):
        before = shown(explorer)
        explorer.fill("#seed", "1")
        settle(explorer)
        assert not torch.equal(shown(explorer), before)


class TestSpectrum:
    def test_white_noise_takes_high_frequencies_first_and_equal_snr_all_at_once(self, explorer):
        limits = []
        explorer.click("#white")
        for t in (0.2, 0.4, 0.6):
            set_range(explorer, "time", t)
            limits.append(float(re.search(r"above ([\d.]+) cycles", text(explorer, "drowned")).group(1)))
        assert limits == sorted(limits, reverse=True)
        assert len(set(limits)) == 3
        explorer.click("#equal")
        assert explorer.input_value("#family") == "equalSnr"
        assert explorer.get_attribute("#equal", "aria-pressed") == "true"
        found = set()
        for t in [i / 40 for i in range(41)]:
            set_range(explorer, "time", t)
            found.add(re.sub(r"^.*?, ", "", text(explorer, "drowned")))
        assert found == {"no frequency lies below the noise.", "all frequencies lie below the noise."}
        assert "together" in text(explorer, "mapped")

    def test_the_switch_keeps_time_and_schedule(self, explorer):
        explorer.select_option("#setting-schedule", "linear")
        set_range(explorer, "time", 0.25)
        explorer.click("#equal")
        settle(explorer)
        assert explorer.input_value("#setting-schedule") == "linear"
        assert explorer.input_value("#time") == "0.25"

    def test_the_map_is_of_the_picture_or_of_unit_variance(self, explorer):
        of_picture = text(explorer, "mapped")
        explorer.select_option("#unit", "unit")
        settle(explorer)
        # Where every coefficient counts as 1, isotropic noise covers all of them in the middle of the cosine schedule.
        assert text(explorer, "mapped") == "All frequencies drown together, at t = 0.50."
        assert of_picture != text(explorer, "mapped")


class TestStep:
    def test_couplings_say_what_they_are(self, explorer):
        explorer.select_option("#family", "heat")
        explorer.select_option("#coupling", "independent")
        settle(explorer)
        assert "z_t 0, x" in text(explorer, "stepped")
        explorer.select_option("#coupling", "deterministic")
        settle(explorer)
        assert "z_t 1, x" in text(explorer, "stepped")
        assert "standard deviation 0." in text(explorer, "stepped")

    def test_eta_has_its_slider_and_steps_their_length(self, explorer):
        assert not explorer.is_visible("#eta")
        explorer.select_option("#coupling", "eta")
        assert explorer.is_visible("#eta")
        set_range(explorer, "step", 0.3)
        assert "From t = 0.400 to s = 0.100" in text(explorer, "stepped")

    def test_a_step_and_a_time_that_change_at_once_are_both_drawn(self, explorer):
        script = """() => {
          for (const [name, value] of [["step", 0.1], ["time", 0.7], ["step", 0.2]]) {
            const slider = document.getElementById(name);
            slider.value = value;
            slider.dispatchEvent(new Event("input"));
          }
        }"""
        explorer.evaluate(script)
        settle(explorer)
        assert "From t = 0.700 to s = 0.500" in text(explorer, "stepped")
        assert "At t = 0.700" in text(explorer, "drowned")


class TestHands:
    def test_arrow_keys_move_time_and_space_plays(self, explorer):
        explorer.focus("#time")
        explorer.keyboard.press("ArrowRight")
        assert explorer.input_value("#time") == "0.405"
        explorer.keyboard.press("Home")
        assert explorer.input_value("#time") == "0"
        explorer.keyboard.press("Space")
        explorer.wait_for_function("document.getElementById('time').value > 0.02")
        assert explorer.get_attribute("#play", "aria-label") == "Pause"
        explorer.keyboard.press("Space")
        assert explorer.get_attribute("#play", "aria-label") == "Play"

    def test_a_played_process_ends_and_begins_again(self, explorer):
        set_range(explorer, "time", 0.99)
        explorer.click("#play")
        explorer.wait_for_function("document.getElementById('play').getAttribute('aria-label') === 'Play'")
        assert explorer.input_value("#time") == "1"
        explorer.click("#play")
        explorer.wait_for_function("document.getElementById('time').value < 0.5")
        explorer.click("#play")

    def test_every_control_is_reached_by_tab_and_shows_it(self, explorer):
        script = "[...document.querySelectorAll('button, select, input, a')].filter((e) => e.checkVisibility()).length"
        wanted, reached = explorer.evaluate(script), set()
        for _ in range(wanted + 2):
            explorer.keyboard.press("Tab")
            element = explorer.evaluate(
                """() => {
                  const e = document.activeElement;
                  const seen = e.closest(".file") ?? e;
                  return [e.id || e.href || "", getComputedStyle(seen).outlineStyle];
                }"""
            )
            if element[0]:
                reached.add(element[0])
                assert element[1] != "none", f"{element[0]} does not show that it has the focus"
        assert len(reached) == wanted

    def test_everything_has_a_name(self, explorer):
        nameless = """[...document.querySelectorAll('button, select, input, canvas')].filter((e) => {
          const said = e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent;
          return !said.trim();
        }).map((e) => e.id)"""
        assert explorer.evaluate(nameless) == []

    def test_where_time_rests_is_said(self, explorer):
        set_range(explorer, "time", 0.3)
        explorer.wait_for_function("document.getElementById('live').textContent.includes('t = 0.300')")


class TestLooks:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("size", SIZES)
    def test_it_fits_its_screen(self, new_page, size, scheme):
        width, height = SIZES[size]
        page = open_explorer(new_page(width, height, scheme))
        for family in FAMILIES:
            page.select_option("#family", family)
            settle(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            clipped = """[...document.querySelectorAll('select, button, input, canvas, p, li')]
              .filter((e) => e.checkVisibility() && !e.closest('.unseen'))
              .filter((e) => { const box = e.getBoundingClientRect(); return box.left < 0 || box.right > innerWidth; })
              .map((e) => e.id || e.textContent)"""
            assert page.evaluate(clipped) == []

    def test_a_finger_finds_every_control(self, new_page):
        page = open_explorer(new_page(*SIZES["phone"], has_touch=True, is_mobile=True))
        page.select_option("#coupling", "eta")
        for family in FAMILIES:
            page.select_option("#family", family)
            settle(page)
            # The input of the file lies inside its label, which is what is tapped.
            low = """[...document.querySelectorAll('button, select, input:not([type=file]), .file')]
              .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 40)
              .map((e) => e.id || e.className)"""
            assert page.evaluate(low) == []

    def test_axes_have_their_name_apart_from_their_numbers(self, new_page):
        # Columns of the canvas left of the axis in which anything is drawn, as runs: the name first, then numbers.
        runs = """([name, left]) => {
          const canvas = document.getElementById(name);
          const data = canvas.getContext("2d").getImageData(0, 0, left, canvas.height - 40).data;
          const drawn = (x) => data.some((alpha, i) => i % 4 === 3 && alpha > 0 && ((i - 3) / 4) % left === x);
          return Array.from({ length: left }, (_, x) => drawn(x));
        }"""
        for size in SIZES.values():
            page = open_explorer(new_page(*size))
            for family in FAMILIES:
                page.select_option("#family", family)
                settle(page)
                for name in ("spectrum", "map", "posterior"):
                    columns = page.evaluate(runs, [name, 44])
                    first = columns.index(True)
                    end = columns.index(False, first)
                    assert columns.index(True, end) - end >= 4, (family, name)

    def test_its_theme_follows_the_system_and_a_button(self, new_page):
        page = open_explorer(new_page(scheme="dark"))
        background = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(background)
        page.click("#theme")
        assert page.evaluate(background) != dark
        page.click("#theme")
        assert page.evaluate(background) == dark
        page.emulate_media(color_scheme="light")
        settle(page)
        assert page.evaluate(background) != dark

    def test_words_stand_out_from_their_ground(self, new_page):
        for scheme in ("light", "dark"):
            page = open_explorer(new_page(scheme=scheme))
            names = ["ink", "muted", "signal", "panel", "paper"]
            script = "(n) => n.map((x) => getComputedStyle(document.documentElement).getPropertyValue('--' + x).trim())"
            found = dict(zip(names, page.evaluate(script, names), strict=True))
            for word in ("ink", "muted", "signal"):
                for ground in ("panel", "paper"):
                    # WCAG's ratio for small letters.
                    assert contrast(found[word], found[ground]) >= 4.5, (scheme, word, ground)


def contrast(first, second):
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
