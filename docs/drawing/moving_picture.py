"""Makes the moving picture of README: python docs/drawing/moving_picture.py runs/fashion_heat (or `make unmelting`).

On the left a photograph melts under heat dissipation (scikit-image's cat, `chelsea`, CC0 by Stefan van der Walt); on
the right garments unmelt, drawn by a run of `recipes/fashion_heat.py`, from the seeds 0 to 31, none of them chosen.
docs/recipes.md tells how to train it without a network; the picture that is kept is of a shorter run, of 1500 steps.
Times of the two add up to 1.
"""

import sys
from pathlib import Path

import skimage.data
import torch
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unmelt import load_run
from unmelt.core.pictures import to_pixels
from unmelt.degradations import HeatDissipation
from unmelt.samplers import Multistep

PICTURE = Path(__file__).parents[1] / "images" / "unmelting.gif"
_ROWS, _COLUMNS, _SCALE, _GAP = 4, 8, 2, 2
_BETWEEN, _CAPTION, _FONT_SIZE = 20, 24, 14
# Garments that are nothing but grey yet are shown in every fourth step.
_STEPS, _GREY_UNTIL, _GREY_STRIDE = 40, 0.7, 4
_FRAME_MS, _LAST_FRAME_MS = 80, 2500
# Fewer shades than there are: noise does not compress, and looks the same with these.
_COLOURS, _GREY_STEP = 80, 17


def main(run: Path) -> None:
    """Write the moving picture."""
    times, states = unmelting_garments(run)
    # Of as many pixels as make it as high as the garments.
    size = (_ROWS * (28 * _SCALE + _GAP) - _GAP) // _SCALE
    photographs = melting_photograph(size, [1 - t for t in times])
    frames = [frame(p, s, t) for p, s, t in zip(photographs, states, times, strict=True)]
    images = [picture.quantize(_COLOURS, dither=Image.Dither.NONE) for picture in frames]
    durations = [_FRAME_MS] * (len(images) - 1) + [_LAST_FRAME_MS]
    images[0].save(PICTURE, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
    print(f"wrote {len(images)} frames, {PICTURE.stat().st_size / 1e6:.2f} MB, to {PICTURE}")


def unmelting_garments(run: Path) -> tuple[list[float], list[Tensor]]:
    """Return falling times, and the samples at each as pixels, (32, 28, 28, 3)."""
    loaded = load_run(run)
    count = _ROWS * _COLUMNS
    path = loaded.sampler(Multistep(order=2), steps=_STEPS).run(count, generator=range(count)).trajectory
    assert path is not None
    times = path.times.tolist()
    shown = [i for i, t in enumerate(times) if t < _GREY_UNTIL or i % _GREY_STRIDE == 0]
    pixels = [to_pixels(path.states[i], loaded.manifest.data_range) for i in shown]
    return [times[i] for i in shown], [_with_fewer_shades(p) for p in pixels]


def melting_photograph(size: int, times: list[float]) -> list[Tensor]:
    """Return the cat's face at each of the times, each as pixels (size, size, 3)."""
    face = Image.fromarray(skimage.data.chelsea()[10:298, 80:368]).resize((size, size), Image.Resampling.LANCZOS)
    x = torch.tensor(list(face.tobytes())).reshape(1, size, size, 3).permute(0, 3, 1, 2) / 255
    process = HeatDissipation((3, size, size), blur_sigma_max=size / 4)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return [to_pixels(process.corrupt(x, noise, t), (0.0, 1.0))[0] for t in times]


def frame(photograph: Tensor, garments: Tensor, t: float) -> Image.Image:
    """Return a frame: the photograph at time 1 - t, garments at t, and what they are above them."""
    step = 28 * _SCALE + _GAP
    side, width, height = len(photograph) * _SCALE, _COLUMNS * step - _GAP, _ROWS * step - _GAP
    picture = Image.new("RGB", (side + _BETWEEN + width, _CAPTION + height), "white")
    picture.paste(_enlarged(photograph), (0, _CAPTION))
    for i, garment in enumerate(garments):
        row, column = divmod(i, _COLUMNS)
        picture.paste(_enlarged(garment), (side + _BETWEEN + column * step, _CAPTION + row * step))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), _FONT_SIZE)
    draw.text((0, 2), f"a photograph melts: t = {1 - t:.2f}", "#444444", font)
    draw.text((side + _BETWEEN, 2), f"garments unmelt: t = {t:.2f}", "#444444", font)
    return picture


def _with_fewer_shades(pixels: Tensor) -> Tensor:
    return ((pixels.float() / _GREY_STEP).round() * _GREY_STEP).to(torch.uint8)


def _enlarged(pixels: Tensor) -> Image.Image:
    small = Image.fromarray(pixels.numpy())
    return small.resize((small.width * _SCALE, small.height * _SCALE), Image.Resampling.NEAREST)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} RUN_FOLDER, such as runs/fashion_heat")
    main(Path(sys.argv[1]))
