"""Makes the pictures that pages show of the demo: python docs/drawing/demo_pictures.py runs/demo (or `make pictures`).

Two are the run's own, one is drawn as start_here.md does; its gallery and the explorable page are photographed in
Chromium.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from unmelt import load_run
from unmelt.samplers import Multistep, save_trajectory

DOCS = Path(__file__).parents[1]
IMAGES = DOCS / "images"
# Those of a page that is looked at, and nothing for a graphics card or somebody's privileges.
_WIDTH, _HEIGHT, _ARGUMENTS = 1180, 830, ["--no-sandbox", "--disable-gpu"]
# How far players of the gallery are moved, so that something is under way, and which of its sections are shown.
_MOVED, _FIRST, _LAST = 0.7, "Samples on their way", "One initial state, one noise"


def main(run: Path) -> None:
    """Write the pictures."""
    shutil.copy(run / "samples.png", IMAGES / "samples.png")
    shutil.copy(run / "forward.png", IMAGES / "start_forward.png")
    draw_few_steps(run, IMAGES / "start_few.png")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        gallery = Path(folder) / "gallery.html"
        subprocess.run([sys.executable, "-m", "unmelt", "gallery", str(run), "--out", str(gallery)], check=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_ARGUMENTS)
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, color_scheme="light")
        page.goto((DOCS / "explore" / "index.html").as_uri())
        page.select_option("#family", "heat")
        _move(page, "#time", 0.35)
        _save(page.screenshot(), "explore")
        page.goto(gallery.as_uri())
        _move(page, "input[type=range]", _MOVED)
        top, bottom = (page.get_by_role("heading", name=name).bounding_box() for name in (_FIRST, _LAST))
        assert top is not None
        assert bottom is not None
        height = bottom["y"] - top["y"]
        clip = {"x": 0, "y": top["y"] - 16, "width": _WIDTH, "height": height}
        _save(page.screenshot(full_page=True, clip=clip), "gallery")  # pyright: ignore[reportArgumentType]
        browser.close()
    print(f"wrote samples.png, start_forward.png, start_few.png, explore.png and gallery.png to {IMAGES}")


def draw_few_steps(run: Path, file: Path) -> None:
    """Draw a digit of each class in ten steps, a row for each on its way, with the code of start_here.md."""
    loaded = load_run(run)
    sampler = loaded.sampler(Multistep(order=2), steps=10)
    path = sampler.run(10, condition=torch.arange(10), generator=range(10)).trajectory
    assert path is not None
    save_trajectory(file, path, loaded.manifest.data_range, columns=11)


def _move(page: Page, sliders: str, share: float) -> None:
    """Move sliders to a share of their way, as a hand would."""
    move = """(inputs, share) => inputs.forEach((input) => {
        const [low, high] = [Number(input.min), Number(input.max)];
        input.value = low + share * (high - low);
        input.dispatchEvent(new Event("input", { bubbles: true }));
    })"""
    page.eval_on_selector_all(sliders, move, share)
    page.wait_for_timeout(500)


def _save(content: bytes, name: str) -> None:
    """Write a picture with few colours."""
    picture = Image.open(io.BytesIO(content)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} RUN_FOLDER, such as runs/demo")
    main(Path(sys.argv[1]))
