"""Draws any process on any image.

On the command line, `python -m unmelt.degradations 'HeatDissipation(blur_sigma_max=12)' --image photo.jpg`, or
`python -m unmelt.degradations fog.Fog` for a user's class.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..core.checks import Shape, check_count
from ..core.configuration import Reader, resolve
from .process import LinearGaussianProcess

_MAKES_PROCESS = Callable[[Shape], LinearGaussianProcess]

# Families whose papers scale data to [0, 1], and so do their default noises; the others take [-1, 1].
_FROM_ZERO = 0.1
_SAMPLE_SIZE = 96
# The longer side of an image, in pixels: its panels are printed at 130.
_LARGEST = 256


def main(arguments: list[str] | None = None) -> None:
    """Draw what the command line asks for and say where it is; print an error and exit with status 2 otherwise."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        image = _image(options.image, options.size)
        process = _process(options.process, tuple(image.shape))
        low = options.black if options.black is not None else _black(process)
        out = options.out or Path(f"{re.sub(r'[^A-Za-z0-9]+', '_', options.process.rpartition(':')[2]).strip('_')}.png")
        if out.exists() and not options.force:
            msg = f"{out} is there already: choose another --out, or add --force to overwrite it"
            raise FileExistsError(msg)
        from .drawing import draw_process  # noqa: PLC0415

        draw_process(process, image, low=low, title=options.process).savefig(out, dpi=110)
    except ModuleNotFoundError as error:
        parser.exit(2, f"error: drawing needs {error.name}: pip install 'unmelt[recipes]'\n")
    except (OSError, TypeError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"wrote {out}")  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unmelt.degradations",
        description="Draw a forward process: an image degraded step by step, and the log-SNR of every frequency.",
        epilog=f"families: {', '.join(Reader().choices(_MAKES_PROCESS))}",
    )
    parser.add_argument(
        "process",
        help="a family, with settings in parentheses if you like, 'HeatDissipation(blur_sigma_max=12)'; or your own"
        " class as module.Class or path/to/file.py:Class",
    )
    parser.add_argument("--image", type=Path, help="an image file; a built-in pattern if not given")
    parser.add_argument(
        "--size", type=int, help=f"crop to a square of this many pixels (images over {_LARGEST} are shrunk to that)"
    )
    parser.add_argument("--out", type=Path, help="the PNG to write (NAME.png)")
    parser.add_argument("--force", action="store_true", help="overwrite it")
    parser.add_argument(
        "--black", type=float, choices=(0.0, -1.0), help="what black is to the process, white being 1 (from the noise)"
    )
    return parser


def _process(text: str, shape: Shape) -> LinearGaussianProcess:
    """Return the process that a text names, for signals of a shape."""
    # What is typed is trusted.
    process, _ = resolve(Reader(trust_code=True).read(text, _MAKES_PROCESS), shape)
    return process(shape)


def _black(process: LinearGaussianProcess) -> float:
    """Return -1 for processes that end in about as much noise as data has, else 0."""
    return 0.0 if process.sigma(1.0).max().item() <= _FROM_ZERO else -1.0


def _image(path: Path | None, size: int | None) -> Tensor:
    """Return an image in [0, 1], (channels, height, width), square if a size is asked for."""
    if size is not None:
        check_count("--size", size, 2, "pixels")
    if path is None:
        return _pattern(size or _SAMPLE_SIZE)
    import numpy as np  # noqa: PLC0415
    from PIL import Image, ImageOps  # noqa: PLC0415

    with Image.open(path) as file:
        upright = ImageOps.exif_transpose(file)
        picture = upright.convert("L" if upright.mode in {"1", "L", "I;16"} else "RGB")
    if size is not None:
        picture = ImageOps.fit(picture, (size, size))
    elif max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST))
    pixels = torch.from_numpy(np.array(picture)).float() / 255
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def _pattern(size: int) -> Tensor:
    """Return rings and stripes of all widths on a coloured ground, (3, size, size): every frequency is in it."""
    grid = (torch.arange(size) + 0.5) / size
    y, x = grid[:, None], grid[None]
    radius = ((x - 0.35) ** 2 + (y - 0.4) ** 2).sqrt()
    rings = torch.where(radius < 0.3, 0.5 + 0.5 * torch.cos(220 * radius**2), 0.15 + 0.6 * x.expand(size, size))
    stripes = torch.where((y > 0.76) & (y < 0.94), (torch.sin(60 * x**2) > 0).float(), rings)
    tint = torch.stack([1 - 0.3 * y.expand(size, size), 0.75 + 0.2 * x.expand(size, size), 0.6 + 0.4 * y * x])
    return (stripes * tint).clamp(0, 1)


if __name__ == "__main__":
    main(sys.argv[1:])
