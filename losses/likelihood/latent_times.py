"""The times between which the bound is taken: a discrete grid of any size, or continuous time."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...degradations import LinearGaussianProcess


def discrete_grid(process: LinearGaussianProcess, steps: int, first: float | None) -> Float[Tensor, " times"]:
    """Return the rising grid from the first latent to t = 1 in float64, on the CPU.

    With `first` it is cut into `steps` equal steps from there. Without, levels are k / steps, and the first latent is
    level 1 where the process has levels (level 0 being the data, as in inverse heat dissipation and DDPM), or where
    it has no noise at t = 0; else level 0 is a latent too, a little noise away from the data (Kingma et al.,
    2021).

    Raises:
        ValueError: the grid has no step, or `first` lies outside [0, 1).
    """
    levels = torch.arange(steps + 1, dtype=torch.float64) / steps if steps >= 1 else torch.zeros(0)
    if first is not None:
        grid = _checked(first) + (1 - first) * levels
    else:
        grid = levels if process.levels is None and has_noise(process, 0.0) else levels[1:]
    if len(grid) < 2:
        least = steps + 2 - len(grid)
        msg = f"the bound needs at least two latents, got steps={steps}: take steps={least} or more, or math.inf"
        raise ValueError(msg)
    return grid


def checked_grid(times: Float[Tensor, " times"]) -> Float[Tensor, " times"]:
    """Return a user's grid, from the first latent to t = 1, in float64 on the CPU.

    Raises:
        ValueError: it does not rise strictly to 1 within [0, 1], or has fewer than two times.
    """
    grid = times.detach().to("cpu", torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or grid[0] < 0 or grid[-1] != 1 or not bool((grid.diff() > 0).all()):
        msg = f"times must rise strictly from the first latent's time to 1, at least two of them, got {times.tolist()}"
        raise ValueError(msg)
    return grid


def start_of_continuum(process: LinearGaussianProcess, first: float | None) -> float:
    """Return the time at which continuous time starts: `first`, else level 1's, else 0.

    Raises:
        ValueError: `first` lies outside [0, 1).
    """
    if first is not None:
        return _checked(first)
    return 0.0 if process.levels is None else 1 / process.levels


def has_noise(process: LinearGaussianProcess, t: float) -> bool:
    """Tell whether every coefficient has noise at time t."""
    return bool((process.batched_log_sigma(t) > -math.inf).all())


def _checked(first: float) -> float:
    if not 0 <= first < 1:
        msg = f"first must be a time in [0, 1), got {first}"
        raise ValueError(msg)
    return float(first)
