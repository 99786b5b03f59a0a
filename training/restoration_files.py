"""What a restoration leaves in a folder: pictures, one of them an overview, and the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..core.pictures import to_pixels
from ..samplers.guidance import Restoration

# Of the overview: panels in a row, samples shown, a panel's side in inches.
_COLUMNS, _MOST_SHOWN, _SIDE = 4, 16, 1.7
_NUMBERS = "result.npz"
_PICTURES = {"overview.png", "observed.png", "mean.png", "std.png", "original.png"}


def files_of_restoration(folder: Path, count: int) -> list[str]:
    """Return the names of the files that an earlier restoration may have left in a folder, which a new one replaces.

    Args:
        folder: the folder, which need not be there.
        count: number of samples of the new one.

    Raises:
        FileExistsError: the folder holds other files than those of a restoration, of names that the new one writes.
    """
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
    ours = set[str]()
    if _NUMBERS in there:
        with np.load(folder / _NUMBERS, allow_pickle=False) as numbers:
            ours = _PICTURES | {_NUMBERS} | {_sample(index) for index in range(len(numbers["samples"]))}
    taken = _PICTURES | {_sample(index) for index in range(count)}
    if foreign := sorted((there - ours) & taken):
        msg = f"{folder} holds {', '.join(foreign[:5])}, which no restoration has left there: choose another --out"
        raise FileExistsError(msg)
    return sorted(ours)


def write_restoration(
    folder: Path,
    found: Restoration,
    data_range: tuple[float, float],
    *,
    original: Tensor | None = None,
) -> float | None:
    """Write the pictures of a restored image and its numbers, `result.npz`, into a folder that is there.

    What was not observed is grey in `observed.png`.

    Args:
        folder: the folder.
        found: samples of images of 1 or 3 channels.
        data_range: numbers that black and white stand for.
        original: the image that was observed, if it is known.

    Returns:
        The standard deviation that is white in `std.png`, as a share of the way from black to white; None for one
        sample, which has no `std.png`.
    """
    low, high = data_range
    y = found.observed[None]
    shown = found.observation.filled(y, torch.full_like(found.samples[:1], (low + high) / 2).to(y))[0]
    pictures = {} if original is None else {"original": original}
    pictures |= {"observed": shown, "mean": found.mean}
    numbers = {} if original is None else {"original": original}
    numbers |= {"observed": found.observed, "samples": found.samples, "mean": found.mean}
    panels = {name: to_pixels(each[None], data_range)[0] for name, each in pictures.items()}
    white = None
    if len(found.samples) > 1:
        numbers["std"] = found.std
        spread = found.std.square().mean(0, keepdim=True).sqrt() / (high - low)
        white = spread.max().item()
        panels["std"] = to_pixels(spread[None], (0.0, white or 1.0))[0]
    samples = to_pixels(found.samples, data_range)
    for name, panel in panels.items():
        _save(folder / f"{name}.png", panel)
    for index, sample in enumerate(samples):
        _save(folder / _sample(index), sample)
    titles = {"mean": f"mean of {len(samples)}", "std": f"std, white is {white:.2g}" if white else "std"}
    _overview([(titles.get(name, name), panel) for name, panel in panels.items()], samples, folder / "overview.png")
    arrays: dict[str, Any] = {name: each.cpu().numpy() for name, each in numbers.items()}
    np.savez_compressed(folder / _NUMBERS, **arrays, range=np.array(data_range))
    return white


def _sample(index: int) -> str:
    return f"sample_{index:03d}.png"


def _save(path: Path, picture: Tensor) -> None:
    """Write a picture, (height, width, 3), as grey where it is grey."""
    grey = bool((picture == picture[..., :1]).all())
    Image.fromarray((picture[..., 0] if grey else picture).numpy()).save(path)


def _overview(panels: list[tuple[str, Tensor]], samples: Tensor, path: Path) -> None:
    """Draw panels in a first row, by their titles, and samples in the rows below."""
    # Imported here: it takes a third of a second.
    from matplotlib.figure import Figure  # noqa: PLC0415

    count = min(len(samples), _MOST_SHOWN)
    rows = 1 + -(-count // _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * _SIDE, rows * (_SIDE + 0.22)), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    below = [(f"sample {index}", sample) for index, sample in enumerate(samples[:count])]
    for row, content in zip((axes[:1], axes[1:]), (panels, below), strict=True):
        for axis, (title, picture) in zip(row.flat, content, strict=False):
            axis.imshow(picture.numpy(), interpolation="nearest")
            axis.set_title(title, fontsize=9, pad=3)
    figure.savefig(path, dpi=120)
