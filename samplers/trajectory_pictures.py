"""Pictures of samples on their way from the prior: frames, a strip to print, and files of them."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from ..core.checks import check_count
from ..core.pictures import grid, save_gif, save_mp4, save_png
from .results import Trajectory

_MOST_FRAMES, _COLUMNS = 60, 10


def trajectory_frames(
    path: Trajectory, data_range: tuple[float, float], *, columns: int | None = None
) -> list[UInt8[Tensor, "rows columns 3"]]:
    """Return at most 60 frames of a trajectory, evenly spaced, the first and the last among them.

    Args:
        path: the trajectory.
        data_range: numbers shown black and white.
        columns: samples in a row of a frame; as many as make it square if None.
    """
    return [grid(path.states[i], data_range, columns=columns) for i in _spread(len(path.states), _MOST_FRAMES)]


def trajectory_strip(
    path: Trajectory, data_range: tuple[float, float], *, columns: int = _COLUMNS
) -> UInt8[Tensor, "rows columns 3"]:
    """Return a picture with a row for each sample, from the prior on the left to the sample on the right.

    Args:
        path: the trajectory.
        data_range: numbers shown black and white.
        columns: states in a row, evenly spaced in steps.

    Raises:
        ValueError: columns < 2.
    """
    check_count("columns", columns, 2, "the first state and the last")
    chosen = _spread(len(path.states), columns)
    return grid(path.states[chosen].transpose(0, 1).flatten(0, 1), data_range, columns=len(chosen))


def save_trajectory(
    file: Path | str, path: Trajectory, data_range: tuple[float, float], *, columns: int | None = None
) -> None:
    """Write a trajectory as an animation, .gif or .mp4, or as a strip, .png.

    Args:
        file: the file, whose name ends in the kind; one that is there is overwritten.
        path: the trajectory, of images, signals or volumes.
        data_range: numbers shown black and white.
        columns: of an animation samples in a row, of a strip states in a row; as the functions above if None.

    Raises:
        ModuleNotFoundError: imageio-ffmpeg is not installed, for .mp4.
        OSError: it cannot be written.
        ValueError: the name ends in none of these.
    """
    file = Path(file)
    match file.suffix.lower():
        case ".png":
            save_png(file, trajectory_strip(path, data_range, columns=columns or _COLUMNS))
        case ".gif":
            save_gif(file, trajectory_frames(path, data_range, columns=columns))
        case ".mp4":
            save_mp4(file, trajectory_frames(path, data_range, columns=columns))
        case _:
            msg = f"{file}: its name must end in .gif or .mp4 for an animation, or .png for a strip"
            raise ValueError(msg)


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of the numbers 0 .. count - 1, evenly spaced, the first and the last among them."""
    return torch.linspace(0, count - 1, min(most, count)).round().long().tolist()
