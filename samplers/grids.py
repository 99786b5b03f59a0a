r"""Grids of times from 1 down to 0 for samplers.

Where the steps should lie depends on the process. With l_t the log-SNR per coefficient let

    y(t) = mean over coefficients of -clip(l_t) / 2,        clip to a band of log-SNRs, [-20, 20] unless told otherwise,

the logarithm of the noise-to-signal ratio sigma / alpha on average. The clip keeps coefficients that have long been
destroyed (heat's log alpha goes down to thousands), and schedules without noise at t = 0 or signal at t = 1, from
deciding alone: at exp(+-20) the standard deviations of signal and noise differ by a factor of 22 000, and beyond, the
smaller one is far below a level of an 8-bit image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_instance, check_whole
from ..core.root_finding import invert_distribution
from ..degradations import LinearGaussianProcess
from ..degradations.level import log_ratio

_BAND = (-20.0, 20.0)


def noise_level(
    process: LinearGaussianProcess, t: Float[Tensor, " times"], *, band: tuple[float, float] = _BAND
) -> Float[Tensor, " times"]:
    """Return y(t), minus half the mean log-SNR with each coefficient's taken within `band`, (times,)."""
    at = process.log_coefficients(process.to_schedule_dtype(t))
    log_snr = (2 * log_ratio(at.log_alpha, at.log_sigma)).clamp(*band)
    return -log_snr.expand(len(t), *process.shape).flatten(1).mean(1) / 2


def uniform_times(steps: int, *, start: float = 1.0, stop: float = 0.0) -> Float[Tensor, " times"]:
    """Return a uniform grid, (steps + 1,), float64, falling from `start` to `stop`.

    Raises:
        ValueError: steps < 1, or `start` and `stop` do not satisfy 1 >= start > stop >= 0.
    """
    _check(steps, start, stop)
    shares = torch.arange(steps, -1, -1, dtype=torch.float64) / steps
    grid = stop + (start - stop) * shares
    # Ends as they were given, to the last bit.
    grid[0], grid[-1] = start, stop
    return grid


def level_times(process: LinearGaussianProcess) -> Float[Tensor, " times"]:
    """Return the levels that a process is trained on, (levels + 1,), float64, falling from 1 to 0.

    Raises:
        ValueError: the process has none.
    """
    if process.levels is None:
        msg = f"{type(process).__name__} is continuous and has no levels: take uniform_times(steps)"
        raise ValueError(msg)
    return uniform_times(process.levels)


def log_snr_times(
    process: LinearGaussianProcess,
    steps: int,
    *,
    start: float = 1.0,
    stop: float = 0.0,
    band: tuple[float, float] = _BAND,
) -> Float[Tensor, " times"]:
    """Return times at which y(t), minus half the mean log-SNR, falls by equal amounts.

    For isotropic noise it is the grid of DPM-Solver (Lu et al., 2022).

    Args:
        process: the forward process.
        steps: number of steps.
        start: first time.
        stop: last time. Where there is no noise at t = 0 most steps lie near it: a later `stop` spares them.
        band: log-SNRs beyond are taken as at its ends.

    Returns:
        The grid, (steps + 1,), float64 on the CPU, falling from `start` to `stop`.

    Raises:
        ValueError: as `uniform_times`, the band is empty, or y does not change between `stop` and `start`.
    """
    _check_band(band)
    return _times_of(process, steps, start, stop, lambda t: noise_level(process, t, band=band))


def balanced_times(
    process: LinearGaussianProcess, steps: int, *, scale: float = 10.0, start: float = 1.0, stop: float = 0.0
) -> Float[Tensor, " times"]:
    """Return times at which the mean over coefficients of tanh(l_t / scale) rises by equal amounts.

    In the middle, where signal and noise are of one size, these are equal steps of the log-SNR; towards both ends they
    become longer, and remain finite where there is no noise or no signal.

    Args:
        process: the forward process.
        steps: number of steps.
        scale: log-SNR at which steps have become longer by a factor of cosh(1)^2 = 2.4.
        start: first time.
        stop: last time.

    Returns:
        The grid, (steps + 1,), float64 on the CPU, falling from `start` to `stop`.

    Raises:
        ValueError: as `uniform_times`, scale is not positive, or the mean does not change between `stop` and `start`.
    """
    if not 0 < scale < float("inf"):
        msg = f"scale must be a positive log-SNR, such as 10, got {scale}"
        raise ValueError(msg)

    def height(t: Tensor) -> Tensor:
        at = process.log_coefficients(process.to_schedule_dtype(t))
        log_snr = 2 * log_ratio(at.log_alpha, at.log_sigma)
        return -torch.tanh(log_snr / scale).expand(len(t), *process.shape).flatten(1).mean(1)

    return _times_of(process, steps, start, stop, height)


def karras_times(  # each is a setting of the grid
    process: LinearGaussianProcess,
    steps: int,
    *,
    rho: float = 7.0,
    start: float = 1.0,
    stop: float = 0.0,
    band: tuple[float, float] = _BAND,
) -> Float[Tensor, " times"]:
    """Return times at which the rho-th root of exp(y(t)) falls by equal amounts (Karras et al., 2022, eq. 5).

    For EDM's process exp(y) is sigma, and the grid is theirs, but for its end: they go from the least sigma to 0 in one
    last step, this grid goes to `stop` as it goes elsewhere.

    Args:
        process: the forward process.
        steps: number of steps.
        rho: 1 takes equal steps in sigma / alpha, large values equal steps of its logarithm.
        start: first time.
        stop: last time.
        band: log-SNRs beyond are taken as at its ends.

    Returns:
        The grid, (steps + 1,), float64 on the CPU, falling from `start` to `stop`.

    Raises:
        ValueError: as `log_snr_times`, or rho <= 0.
    """
    if not 0 < rho < float("inf"):
        msg = f"rho must be a positive number, such as 7, got {rho}"
        raise ValueError(msg)
    _check_band(band)
    return _times_of(process, steps, start, stop, lambda t: (noise_level(process, t, band=band) / rho).exp())


def _times_of(
    process: LinearGaussianProcess, steps: int, start: float, stop: float, height: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the times at which a height, which never falls in t, has gone equal parts of its way down to `stop`."""
    _check(steps, start, stop)

    def at(t: Tensor) -> Tensor:
        return height(stop + (start - stop) * t).cpu().double()

    ends = at(torch.tensor([0.0, 1.0], dtype=torch.float64))
    span = (ends[1] - ends[0]).item()
    if not span > 1e-12 * (1 + ends.abs().max().item()):
        msg = (
            f"the log-SNR of {type(process).__name__}, within the band that the grid looks at, does not change between"
            f" t = {stop} and {start}: take uniform_times(steps)"
        )
        raise ValueError(msg)
    shares = torch.arange(steps, -1, -1, dtype=torch.float64) / steps
    grid = torch.empty(steps + 1, dtype=torch.float64)
    inner = invert_distribution(lambda t: (at(t) - ends[0]) / span, shares[1:-1])
    grid[1:-1] = stop + (start - stop) * inner
    grid[0], grid[-1] = start, stop
    if not bool((grid.diff() < 0).all()):
        msg = (
            f"{steps} such steps cannot be told apart between t = {stop} and {start}, where the log-SNR of"
            f" {type(process).__name__} stands still or jumps: take fewer, or uniform_times(steps)"
        )
        raise ValueError(msg)
    return grid


def _check_band(band: tuple[float, float]) -> None:
    if not band[0] < band[1]:
        msg = f"band must be two log-SNRs, the lower one first, such as (-20.0, 20.0), got {band}"
        raise ValueError(msg)


def _check(steps: int, start: float, stop: float) -> None:
    check_whole("steps", steps)
    if steps < 1:
        msg = f"steps must be at least 1, got {steps}"
        raise ValueError(msg)
    if not 0 <= stop < start <= 1:
        msg = f"a grid falls within [0, 1], from start to stop, got start={start} and stop={stop}"
        raise ValueError(msg)


def checked_grid(times: Float[Tensor, " times"]) -> Float[Tensor, " times"]:
    """Return a user's grid in float64 on the CPU, checked.

    Raises:
        ValueError: it does not fall strictly from 1 to 0.
    """
    check_instance("times", times, Tensor, "torch.tensor([1.0, 0.5, 0.0]) for example")
    grid = times.detach().to("cpu", torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or grid[0] != 1 or grid[-1] != 0 or not bool((grid.diff() < 0).all()):
        rises = grid.ndim == 1 and len(grid) > 1 and bool((grid.diff() > 0).all())
        msg = (
            f"times must fall strictly from 1 to 0, at least two of them, got {_shown(grid)}"
            f"{': sampling goes from noise to data, so give times.flip(0)' if rises else ''}"
        )
        raise ValueError(msg)
    return grid


def _shown(grid: Tensor) -> str:
    """Return a grid in words, its middle left out if it is long."""
    if grid.ndim != 1 or len(grid) <= 8:
        return str(grid.tolist())
    return f"{grid[:4].tolist()} ... {grid[-2:].tolist()} ({len(grid)} times)"
