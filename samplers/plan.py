"""The steps of a grid with their coefficients: made before the first of them, and kept from batch to batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import Level
from .stepper import PlannedStep, Problem, Stepper

# Numbers in one table of coefficients: 32 MiB in float64, and on a CPU what its caches hold.
_TABLE_NUMBERS = 2**22
_CACHED_NUMBERS = 2**16
# A plan is kept if none of its tables has more numbers.
_KEPT_NUMBERS = 2**21


class _Kept(NamedTuple):
    """Steps, the grid's levels that they were made of, and their dtype."""

    levels: Level
    dtype: torch.dtype
    steps: list[PlannedStep]


class Plan:
    """Makes the steps of a grid.

    They do not depend on the samples: those of the last grid are kept, if they are not too large, for as long as the
    process has the same coefficients at the grid's times.

    Args:
        stepper: makes the coefficients.
        problem: what is stepped through.
    """

    def __init__(self, stepper: Stepper, problem: Problem) -> None:
        self.stepper, self.problem = stepper, problem
        self._kept: _Kept | None = None

    def steps(self, grid: Float[Tensor, " times"], dtype: torch.dtype) -> Iterable[PlannedStep]:
        """Return the steps of a grid with their coefficients, in the dtype of the latents.

        Args:
            grid: falling times in the schedule dtype, (steps + 1,); all of the problem's or a part.
            dtype: dtype of the latents.
        """
        process = self.problem.process
        if len(grid) * _numbers(process.at(grid[:1])) > _KEPT_NUMBERS:
            return planned(self.stepper, self.problem, grid, dtype)
        levels, kept = process.at(grid), self._kept
        if kept is not None and kept.dtype == dtype and _same(kept.levels, levels):
            return kept.steps
        self._kept = None
        return self._made(levels, dtype)

    def _made(self, levels: Level, dtype: torch.dtype) -> Iterator[PlannedStep]:
        """Yield steps as they are made, and keep them once all are."""
        steps: list[PlannedStep] = []
        for step in planned(self.stepper, self.problem, levels.t, dtype):
            steps.append(step)
            yield step
        self._kept = _Kept(levels, dtype, steps)


def planned(
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
    table = _CACHED_NUMBERS if grid.device.type == "cpu" else _TABLE_NUMBERS
    chunk = max(1, table // _numbers(problem.process.at(grid[:1])))
    # The first steps one by one, as each has more to look back at than the one before; then all others alike.
    blocks = [(k, k + 1) for k in range(full)]
    blocks += [(k, min(k + chunk, steps)) for k in range(full, steps, chunk)]
    for start, end in blocks:
        back = min(max(start - first, 0), stepper.history)
        run = problem.process.at(grid[start - back : end + 1])
        # Columns of the grid: at s, at t, and the times before t.
        at_s, at_t, *older = (run[back + 1 - j : back + 1 - j + end - start] for j in range(back + 2))
        # Reading values whether a step is one number for all coefficients: once per table, before its steps.
        tables = mapped(lambda table: _collapsed(table.to(dtype)), stepper.coefficients(problem, at_t, at_s, *older))
        yield from map(PlannedStep, at_t.t, at_s.t, rows_of(tables, end - start))


def _numbers(at: Level) -> int:
    """Return how many numbers the coefficients of one time are."""
    return math.prod(torch.broadcast_shapes(at.log_alpha.shape, at.log_sigma.shape))


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
    if table[0].numel() == 1:
        return table
    flat = table.flatten(1)
    # Few tables get past their last number.
    if bool((flat[:, -1] != flat[:, 0]).any()) or bool((flat != flat[:, :1]).any()):
        return table
    return flat[:, :1].reshape(-1, *(1,) * (table.ndim - 1))


def _same(ours: Level, theirs: Level) -> bool:
    """Tell whether two levels are those of the same times and coefficients, on one device."""
    pairs = ((ours.t, theirs.t), (ours.log_alpha, theirs.log_alpha), (ours.log_sigma, theirs.log_sigma))
    return all(a.device == b.device and torch.equal(a, b) for a, b in pairs)
