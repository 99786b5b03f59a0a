"""Draws the pictures that README shows: python docs/pictures.py runs/digits_heat (or `make pictures`).

forward.png: one photograph (scikit-image's cat) under three processes, from data at t = 0 to t = 1.
samples.png, unmelting.gif: copied from a run of the demo.
"""

import io
import shutil
import sys
from pathlib import Path

import skimage.data
import torch
from matplotlib.figure import Figure
from PIL import Image

from unmelt.degradations import BlurringDiffusion, HeatDissipation, IsotropicDiffusion

IMAGES = Path(__file__).parent / "images"
SIZE, COLUMNS = 96, 9


def photograph() -> torch.Tensor:
    """Return the cat's face in [0, 1], (1, 3, 96, 96)."""
    pixels = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None].float() / 255
    face = pixels[:, :, 10:298, 80:368]
    return torch.nn.functional.interpolate(face, (SIZE, SIZE), mode="area")


def forward_picture() -> Figure:
    """Return rows of the photograph at evenly spaced times, one row for each process."""
    x = photograph()
    shape = tuple(x.shape[1:])
    # Each in the range of its paper: heat on [0, 1], the others on [-1, 1].
    rows = [
        ("heat dissipation", HeatDissipation(shape, blur_sigma_max=24.0), 0.0),
        ("blurring diffusion", BlurringDiffusion(shape), -1.0),
        ("isotropic diffusion", IsotropicDiffusion(shape), -1.0),
    ]
    figure = Figure(figsize=(COLUMNS * 1.02, len(rows) * 1.18), layout="constrained")
    axes = figure.subplots(len(rows), COLUMNS)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    for row, (name, process, low) in zip(axes, rows, strict=True):
        for axis, t in zip(row, torch.linspace(0, 1, COLUMNS).tolist(), strict=True):
            z = process.corrupt(x * (1 - low) + low, noise, t) if t else x * (1 - low) + low
            axis.imshow(((z - low) / (1 - low)).clamp(0, 1)[0].permute(1, 2, 0).numpy())
            axis.set_axis_off()
        row[0].set_title(name, loc="left", fontsize=9)
    for axis, t in zip(axes[0], torch.linspace(0, 1, COLUMNS).tolist(), strict=True):
        axis.set_title(f"t = {t:.3g}", loc="right", fontsize=7, color="0.4") if t else None
    return figure


def main(run: Path) -> None:
    """Write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    forward_picture().savefig(buffer, dpi=110)
    # Noise does not compress: a palette of 256 colours makes the file a third as large and looks the same.
    small = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(IMAGES / "forward.png", optimize=True)
    shutil.copy(run / "samples.png", IMAGES / "samples.png")
    shutil.copy(run / "trajectory.gif", IMAGES / "unmelting.gif")
    print(f"wrote {', '.join(sorted(path.name for path in IMAGES.iterdir()))} to {IMAGES}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} RUN_FOLDER, such as runs/digits_heat")
    main(Path(sys.argv[1]))
