"""The steps of a grid with their coefficients: made before the first of them, and kept from batch to batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import Level
from .first_step import first_stepper
from .stepper import PlannedStep, Problem, Stepper

# Numbers in one table of coefficients: 32 MiB in float64, and on a CPU what its caches hold.
_TABLE_NUMBERS = 2**22
_CACHED_NUMBERS = 2**16
# A plan is kept if none of its tables has more numbers.
_KEPT_NUMBERS = 2**21


class Plan:
    """Makes the steps of a run's grid, once for all of its batches if they are not too large to keep.

    Not for longer: what coefficients are made of, a process or fitted widths, may be another by the next run.

    Args:
        stepper: makes the coefficients.
        problem: what is stepped through.
        grid: falling times in the schedule dtype, (steps + 1,); all of the problem's or a part.
    """

    def __init__(self, stepper: Stepper, problem: Problem, grid: Float[Tensor, " times"]) -> None:
        self.stepper, self.problem, self.grid = stepper, problem, grid
        self._keeps = len(grid) * _numbers(problem.process.at(grid[:1])) <= _KEPT_NUMBERS
        self._kept: tuple[torch.dtype, list[PlannedStep]] | None = None

    def steps(self, dtype: torch.dtype) -> Iterable[PlannedStep]:
        """Return the steps with their coefficients, in the dtype of the latents."""
        if self._kept is not None and self._kept[0] == dtype:
            return self._kept[1]
        return self._made(dtype)

    def _made(self, dtype: torch.dtype) -> Iterator[PlannedStep]:
        """Yield steps as they are made, and keep them once all are."""
        steps: list[PlannedStep] = []
        for step in planned(self.stepper, self.problem, self.grid, dtype):
            if self._keeps:
                steps.append(step)
            yield step
        if self._keeps:
            self._kept = (dtype, steps)


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
    leaves = first_stepper(stepper, problem.process.at(grid[:1]))
    if leaves is not stepper:
        # The run begins anew after it: what the network says of a known end is no estimate from a latent.
        for step in _planned(leaves, problem, grid[:2], dtype):
            yield step._replace(stepper=leaves)
        grid = grid[1:]
    if len(grid) > 1:
        yield from _planned(stepper, problem, grid, dtype)


def _planned(stepper: Stepper, problem: Problem, grid: Tensor, dtype: torch.dtype) -> Iterator[PlannedStep]:
    """Yield the steps of a grid that one stepper takes."""
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
