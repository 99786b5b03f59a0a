r"""What a stepper is: a frozen value that says how one step from t to s is taken. The run around it is the sampler's.

A stepper makes tables of coefficients, for many steps at once and before the network is called, and adds up latents,
network outputs and noise per coefficient with them:

    u_s = sum of coefficients times (u_t, network outputs, noise).

The step that ends at t = 0 is special. What is wanted there is data, not a latent that still has the process's noise;
so, unless the latent is asked for, this step returns the estimate of the data itself, the mean of the decoder p(x | z).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..degradations import Level, LinearGaussianProcess, Prediction
from .grids import Grid, UniformGrid
from .state import SamplerState

# Numbers in one table of coefficients: 16 MiB in float32.
_TABLE_NUMBERS = 2**22


@dataclass(frozen=True, eq=False)
class Problem:
    """What a stepper steps through.

    Attributes:
        process: the forward process.
        prediction: what the network's output stands for.
        times: the grid, falling from 1 to 0, (steps + 1,), float64 on the CPU.
        denoise_last: whether the step to t = 0 returns the estimate of the data instead of the latent z_0.
    """

    process: LinearGaussianProcess
    prediction: Prediction
    times: Float[Tensor, " times"]
    denoise_last: bool

    def ends(self, at_s: Level) -> Bool[Tensor, "..."]:
        """Tell which steps to `at_s` return an estimate of the data, broadcastable to (n, *shape)."""
        return (self.process.expand_times(at_s.t) == 0) & self.denoise_last

    @cached_property
    def has_noise(self) -> bool:
        """Whether the process has noise at some time of the grid, in some coefficient."""
        return bool((self.process.at(self.times[:-1]).log_sigma > -torch.inf).any())

    def require_noise(self, what: str) -> None:
        """Check that the process has noise at some time of the grid, in some coefficient.

        Raises:
            ValueError: it has none, as cold diffusion has; the message names `what` needs it.
        """
        if not self.has_noise:
            msg = (
                f"{what} needs noise, but {type(self.process).__name__} is deterministic, sigma = 0: take Multistep(),"
                " or Posterior(coupling=Deterministic()), or give the process noise"
            )
            raise ValueError(msg)


class PlannedStep(NamedTuple):
    """A step from `t` to `s`, with a stepper's own coefficients.

    Attributes:
        t: time of the latents, () or (batch,), in the schedule dtype.
        s: the time to go to, likewise.
        coefficients: tables of the stepper's, each broadcastable to (batch, *shape), in the latents' dtype.
        to_zero: whether s is known to be 0 for the whole batch.
        denoises: whether it is, and the estimate is to be returned there, so that what an ordinary step needs may be
            left out.
    """

    t: Float[Tensor, "*batch"]
    s: Float[Tensor, "*batch"]
    coefficients: Any
    to_zero: bool = False
    denoises: bool = False


class Stepper(ABC):
    """How one step from t to s is taken. A subclass is a frozen dataclass and writes `coefficients` and `advance`.

    One that looks back at the estimates of earlier steps says in `history` at how many.
    """

    @property
    def history(self) -> int:
        """How many earlier times the coefficients of a step depend on, once there are as many."""
        return 0

    @abstractmethod
    def coefficients(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> Any:
        """Return what steps are made of: a NamedTuple of tables that broadcast to (steps, *shape).

        Args:
            problem: what is stepped through.
            at_t: level of the latents, at times () or (steps,).
            at_s: the level to go to, likewise.
            older: levels of the steps before, the latest first, `history` of them at most.
        """

    @abstractmethod
    def advance(self, state: SamplerState, step: PlannedStep) -> None:
        """Take a step: call the denoiser through `state`, and set its `latent`."""

    def check(self, problem: Problem) -> None:  # noqa: B027  # most steppers take every problem
        """Check that this stepper can step through `problem`.

        Raises:
            ValueError: it cannot; the message says why and what to take instead.
        """

    def draws_noise(self, problem: Problem) -> bool:
        """Tell whether steps add noise; where they do not, a sample is a function of its initial latent."""
        del problem
        return False

    def default_grid(self) -> Grid:
        """Return the default grid of a sampler."""
        return UniformGrid()

    def first_remembered(self, problem: Problem, grid: Float[Tensor, " times"]) -> int:
        """Return the index of the first time of a grid whose estimates later steps may look back at."""
        del problem, grid
        return 0


def plan(
    stepper: Stepper, problem: Problem, grid: Float[Tensor, " times"], dtype: torch.dtype
) -> Iterator[PlannedStep]:
    """Yield the steps of a grid with their coefficients, in the dtype of the latents.

    Args:
        stepper: makes the coefficients.
        problem: what is stepped through.
        grid: falling times in the schedule dtype, (steps + 1,); all of the problem's or a part.
        dtype: dtype of the latents.
    """
    steps, first = len(grid) - 1, stepper.first_remembered(problem, grid)
    full = min(first + stepper.history, steps)
    # The first steps one by one, as each has more to look back at than the one before; then all others alike.
    blocks = [(k, k + 1) for k in range(full)]
    if full < steps:
        blocks.append((full, steps))
    for start, end in blocks:
        back = min(max(start - first, 0), stepper.history)
        older = [grid[start - j : end - j] for j in range(1, back + 1)]
        yield from _tabulated(stepper, problem, grid[start:end], grid[start + 1 : end + 1], older, dtype)


def _tabulated(
    stepper: Stepper, problem: Problem, t: Tensor, s: Tensor, older: list[Tensor], dtype: torch.dtype
) -> Iterator[PlannedStep]:
    """Yield steps from `t` to `s`, (n,) each, their coefficients made for as many as fit a bounded table."""
    chunk = max(1, _TABLE_NUMBERS // math.prod(problem.process.shape))
    for times in zip(*(column.split(chunk) for column in (t, s, *older)), strict=True):
        levels = [problem.process.at(column) for column in times]
        # Reading values whether a step is one number for all coefficients: once per table, before its steps.
        tables = mapped(lambda table: _collapsed(table.to(dtype)), stepper.coefficients(problem, *levels))
        yield from map(PlannedStep, times[0], times[1], rows_of(tables, len(times[0])))


def mapped(function: Callable[[Tensor], Tensor], coefficients: Any) -> Any:
    """Return the tuple of tables, which may hold further tuples, with `function` applied to each of them."""
    if isinstance(coefficients, Tensor):
        return function(coefficients)
    parts = [mapped(function, part) for part in coefficients]
    return type(coefficients)(*parts) if hasattr(coefficients, "_fields") else tuple(parts)


def rows_of(coefficients: Any, steps: int) -> list[Any]:
    """Return the coefficients of each of so many steps, from a tuple of tables that may hold further tuples."""
    if isinstance(coefficients, Tensor):
        return [coefficients] * steps if len(coefficients) == 1 else list(coefficients.split(1))
    parts = [rows_of(part, steps) for part in coefficients]
    kind: Any = type(coefficients)
    named = hasattr(coefficients, "_fields")
    return [kind(*row) if named else row for row in zip(*parts, strict=True)] if parts else [()] * steps


def _collapsed(table: Tensor) -> Tensor:
    """Return a table of (steps, ...) with one number per step where all of a step's numbers are equal.

    Such a step commutes with the basis and needs no transform.
    """
    first = table.flatten(1)[:, :1].reshape(-1, *(1,) * (table.ndim - 1))
    return first if bool((table == first).all()) else table
