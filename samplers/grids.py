r"""Grids of times from 1 down to 0 for samplers: values that give the times of the steps for a process.

Where the steps should lie depends on the process. With l_t the log-SNR per coefficient let

    y(t) = mean over coefficients of -clip(l_t) / 2,        clip to a band of log-SNRs, [-20, 20] by default,

the logarithm of the noise-to-signal ratio sigma / alpha on average. The clip keeps coefficients that have long been
destroyed (heat's log alpha goes down to thousands), and schedules without noise at t = 0 or signal at t = 1, from
deciding alone: at exp(+-20) the standard deviations of signal and noise differ by a factor of 22 000, and beyond, the
smaller one is far below a level of an 8-bit image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core.checks import check_count, check_number
from ..core.root_finding import invert_distribution
from ..degradations import LinearGaussianProcess

_BAND = (-20.0, 20.0)
_DEFAULT_STEPS = 50
# Where an adaptive solver ends, in a process without levels.
_FIRST = 1e-3


def noise_level(
    process: LinearGaussianProcess, t: Float[Tensor, " times"], *, band: tuple[float, float] = _BAND
) -> Float[Tensor, " times"]:
    """Return y(t), minus half the mean log-SNR with each coefficient's taken within `band`, (times,)."""
    log_snr = process.at(t).log_snr.clamp(*band)
    return -log_snr.expand(len(t), *process.shape).flatten(1).mean(1) / 2


class Grid(ABC):
    """Where the steps of a sampler lie. A subclass is a frozen dataclass and writes `times`."""

    @abstractmethod
    def times(
        self, process: LinearGaussianProcess, *, start: float = 1.0, stop: float = 0.0
    ) -> Float[Tensor, " times"]:
        """Return the times, (steps + 1,), float64 on the CPU, falling from `start` to `stop`.

        Args:
            process: the forward process.
            start: first time.
            stop: last time. Where there is no noise at t = 0 many grids have most of their steps near it.

        Raises:
            ValueError: `start` and `stop` do not satisfy 1 >= start > stop >= 0, or the process allows no such grid.
        """


@dataclass(frozen=True)
class UniformGrid(Grid):
    """Equal steps of time.

    Attributes:
        steps: number of steps; None takes the process's own levels, or 50 where it has none.

    Raises:
        ValueError: steps < 1.
    """

    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_count("steps", self.steps)

    @override
    def times(
        self, process: LinearGaussianProcess, *, start: float = 1.0, stop: float = 0.0
    ) -> Float[Tensor, " times"]:
        check_ends(start, stop)
        steps = self.steps or process.levels or _DEFAULT_STEPS
        grid = stop + (start - stop) * _shares(steps)
        # Ends as they were given, to the last bit.
        grid[0], grid[-1] = start, stop
        return grid


@dataclass(frozen=True)
class LogSNRGrid(Grid):
    """Steps in which y(t), minus half the mean log-SNR, falls by equal amounts.

    For isotropic noise it is the grid of DPM-Solver (Lu et al., 2022).

    Attributes:
        steps: number of steps.
        band: log-SNRs beyond are taken as at its ends.

    Raises:
        ValueError: steps < 1, or the band is empty. When asked for times: y does not change.
    """

    steps: int = _DEFAULT_STEPS
    band: tuple[float, float] = _BAND

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        _check_band(self.band)

    @override
    def times(
        self, process: LinearGaussianProcess, *, start: float = 1.0, stop: float = 0.0
    ) -> Float[Tensor, " times"]:
        return _times_of(process, self.steps, start, stop, lambda t: noise_level(process, t, band=self.band))


@dataclass(frozen=True)
class BalancedGrid(Grid):
    """Steps in which the mean over coefficients of tanh(l_t / scale) rises by equal amounts.

    In the middle, where signal and noise are of one size, these are equal steps of the log-SNR; towards both ends they
    become longer, and remain finite where there is no noise or no signal.

    Attributes:
        steps: number of steps.
        scale: log-SNR at which steps have become longer by a factor of cosh(1)^2 = 2.4.

    Raises:
        ValueError: steps < 1, or scale is not positive. When asked for times: the mean does not change.
    """

    steps: int = _DEFAULT_STEPS
    scale: float = 10.0

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_number("scale", self.scale, "(0, inf)", "a log-SNR such as 10")

    @override
    def times(
        self, process: LinearGaussianProcess, *, start: float = 1.0, stop: float = 0.0
    ) -> Float[Tensor, " times"]:
        def height(t: Tensor) -> Tensor:
            return -torch.tanh(process.at(t).log_snr / self.scale).expand(len(t), *process.shape).flatten(1).mean(1)

        return _times_of(process, self.steps, start, stop, height)


@dataclass(frozen=True)
class KarrasGrid(Grid):
    """Steps in which the rho-th root of exp(y(t)) falls by equal amounts (Karras et al., 2022).

    For EDM's process exp(y) is sigma, and the grid is theirs, but for its end: they go from the least sigma to 0 in one
    last step, this grid goes to t = 0 as it goes elsewhere.

    Attributes:
        steps: number of steps.
        rho: 1 takes equal steps in sigma / alpha, large values equal steps of its logarithm.
        band: log-SNRs beyond are taken as at its ends.

    Raises:
        ValueError: steps < 1, rho <= 0, or the band is empty. When asked for times: y does not change.
    """

    steps: int = _DEFAULT_STEPS
    rho: float = 7.0
    band: tuple[float, float] = _BAND

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_number("rho", self.rho, "(0, inf)", "7 is usual")
        _check_band(self.band)

    @override
    def times(
        self, process: LinearGaussianProcess, *, start: float = 1.0, stop: float = 0.0
    ) -> Float[Tensor, " times"]:
        def height(t: Tensor) -> Tensor:
            return (noise_level(process, t, band=self.band) / self.rho).exp()

        return _times_of(process, self.steps, start, stop, height)


@dataclass(frozen=True)
class EndGrid(Grid):
    """1, a time next to 0, and 0: for a solver that chooses its own steps in between.

    Where a process is pinned to a known end at t = 1, a time next to that too: the flow begins after it.

    Attributes:
        first: the time next to 0; None takes the process's first level, or 0.001 where it has none.

    Raises:
        ValueError: first lies outside (0, 1).
    """

    first: float | None = None

    def __post_init__(self) -> None:
        if self.first is not None:
            check_number("first", self.first, "(0, 1)", "a time such as 0.001")

    @override
    def times(
        self, process: LinearGaussianProcess, *, start: float = 1.0, stop: float = 0.0
    ) -> Float[Tensor, " times"]:
        check_ends(start, stop)
        first = self.first or (1 / process.levels if process.levels else _FIRST)
        leaves = [start - _FIRST] if process.at(start).pinned else []
        inner = [t for t in (*leaves, first) if stop < t < start]
        return torch.tensor([start, *inner, stop], dtype=torch.float64)


@dataclass(frozen=True)
class FixedGrid(Grid):
    """Times of the user's.

    Attributes:
        given: times that fall strictly from 1 to 0, as a tensor or a sequence; kept as a tuple.

    Raises:
        ValueError: they do not.
    """

    given: Sequence[float]

    def __init__(self, given: Sequence[float] | Float[Tensor, " times"]) -> None:
        grid = torch.as_tensor(given, dtype=torch.float64, device="cpu").detach()
        if grid.ndim != 1 or len(grid) < 2 or grid[0] != 1 or grid[-1] != 0 or not bool((grid.diff() < 0).all()):
            rises = grid.ndim == 1 and len(grid) > 1 and bool((grid.diff() > 0).all())
            msg = (
                f"times must fall strictly from 1 to 0, at least two of them, got {_shown(grid)}"
                f"{': sampling goes from noise to data, so give times.flip(0)' if rises else ''}"
            )
            raise ValueError(msg)
        object.__setattr__(self, "given", tuple(grid.tolist()))

    @override
    def times(
        self, process: LinearGaussianProcess, *, start: float = 1.0, stop: float = 0.0
    ) -> Float[Tensor, " times"]:
        check_ends(start, stop)
        inner = [t for t in self.given if stop < t < start]
        return torch.tensor([start, *inner, stop], dtype=torch.float64)


# Where steps lie is a choice, through which nothing is learned.
@torch.no_grad()
def _times_of(
    process: LinearGaussianProcess, steps: int, start: float, stop: float, height: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the times at which a height, which never falls in t, has gone equal parts of its way down to `stop`."""
    check_ends(start, stop)

    def at(t: Tensor) -> Tensor:
        return height(stop + (start - stop) * t).cpu().double()

    ends = at(torch.tensor([0.0, 1.0], dtype=torch.float64))
    span = (ends[1] - ends[0]).item()
    if not span > 1e-12 * (1 + ends.abs().max().item()):
        msg = (
            f"the log-SNR of {process.called}, within the band that the grid looks at, does not change between"
            f" t = {stop} and {start}: take UniformGrid(steps)"
        )
        raise ValueError(msg)
    shares = _shares(steps)
    grid = torch.empty(steps + 1, dtype=torch.float64)
    inner = invert_distribution(lambda t: (at(t) - ends[0]) / span, shares[1:-1])
    grid[1:-1] = stop + (start - stop) * inner
    grid[0], grid[-1] = start, stop
    if not bool((grid.diff() < 0).all()):
        msg = (
            f"{steps} such steps cannot be distinguished between t = {stop} and {start}, where the log-SNR of"
            f" {process.called} stands still or jumps: take fewer, or UniformGrid(steps)"
        )
        raise ValueError(msg)
    return grid


def _shares(steps: int) -> Tensor:
    return torch.arange(steps, -1, -1, dtype=torch.float64) / steps


def _check_band(band: tuple[float, float]) -> None:
    if not band[0] < band[1]:
        msg = f"band must be two log-SNRs, the lower one first, such as (-20.0, 20.0), got {band}"
        raise ValueError(msg)


def check_ends(start: float, stop: float) -> None:
    """Check that 1 >= start > stop >= 0, for a grid and for a run along a part of one."""
    if not 0 <= stop < start <= 1:
        msg = f"times go from start down to stop, 1 >= start > stop >= 0, got start={start} and stop={stop}"
        raise ValueError(msg)


def _shown(grid: Tensor) -> str:
    """Return a grid in words, its middle left out if it is long."""
    if grid.ndim != 1 or len(grid) <= 8:
        return str(grid.tolist())
    return f"{grid[:4].tolist()} ... {grid[-2:].tolist()} ({len(grid)} times)"
