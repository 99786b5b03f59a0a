r"""Importance sampling of times by the losses met there.

Times at which losses are large are drawn more often, and their losses weighted down by as much, so that the training
loss keeps its expectation and its gradient less noise. The variance of L_k / p_k is least for

    p_k  proportional to  sqrt(E L_k^2),

which Nichol & Dhariwal (2021, section 3.3) estimate from the last ten losses at each level. Here, as in their released
code, a small share of the uniform law is mixed in, so that no level is forgotten, and until every level has a full
history the law is uniform. The correction is 1 / density = 1 / (K p_k).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...core.constants import ConstantModule
from ...core.precision import schedule_dtype
from .base import (
    TimeDistribution,
    above_zero,
    checked_times,
    checked_uniforms,
)
from .levels import as_level, check_count


class LossHistory(ConstantModule, TimeDistribution, ABC):
    """A law over K cells of time that learns from losses. Use `LossHistoryTimes` or `LossHistoryBins`.

    Its history is part of the `state_dict`, follows the module from device to device and is never rounded with it. With
    several processes each learns from its own losses: that is unbiased, and nothing needs to be sent around.

    Losses that are not finite are ignored, as one NaN would stay in the law for ever; so are losses at times that the
    law does not draw.

    Args:
        cells: number K of cells.
        history: how many of the last losses of each cell count.
        uniform: share of the uniform law that is mixed in, in (0, 1].

    Raises:
        ValueError: a number is out of its range.
    """

    losses: Tensor
    seen: Tensor

    def __init__(self, cells: int, *, history: int = 10, uniform: float = 0.001) -> None:
        super().__init__()
        check_count("history", history)
        if not 0 < uniform <= 1:
            msg = (
                f"uniform must be a share in (0, 1], got {uniform}: without any of the uniform law a cell whose losses"
                " were 0 is never met again"
            )
            raise ValueError(msg)
        self.cells, self.history, self.uniform = cells, history, uniform
        # The last losses of each cell, the n-th in column n mod history, and how many there were.
        self.register_buffer("losses", torch.zeros(cells, history))
        self.register_buffer("seen", torch.zeros(cells, dtype=torch.long))

    def probabilities(self) -> Float[Tensor, " cells"]:
        """Return the probability of each cell, in the order of time, (cells,)."""
        weight = self.losses.to(schedule_dtype(self.losses.device)).square().mean(1).sqrt()
        total = weight.sum()
        # Losses that are all 0 tell no cell from another.
        known = (self.seen >= self.history).all() & (total > 0)
        share = torch.where(known, weight / total, 1 / self.cells)
        return (1 - self.uniform) * share + self.uniform / self.cells

    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.density`."""
        t = checked_times(t)
        cell, drawn = self._cell(t)
        density = self.cells * self.probabilities().to(t.device)[cell]
        return torch.where(t.isnan(), t, torch.where(drawn, density, 0.0))

    def correction(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return 1 / density(t), infinite at times that the law does not draw; see `TimeDistribution.correction`."""
        return 1 / self.density(t)

    def update(self, t: Float[Tensor, " batch"], losses: Float[Tensor, " batch"]) -> None:
        """Take the losses of one batch into the history, in its order; nothing waits for the device.

        Args:
            t: times drawn from this law, (batch,).
            losses: the examples' losses at these times, without the `correction`, (batch,).

        Raises:
            TypeError: `t` is not floating-point.
            ValueError: shapes differ, or a time lies outside [0, 1] (where values are free to read).
        """
        if t.ndim != 1 or t.shape != losses.shape:
            msg = (
                f"t and losses must both have shape (batch,), got {tuple(t.shape)} and {tuple(losses.shape)}: one time"
                " and one loss for each example"
            )
            raise ValueError(msg)
        cell, drawn = self._cell(checked_times(t).to(self.losses.device))
        values = losses.detach().to(self.losses.device, self.losses.dtype)
        counts = drawn & values.isfinite()
        # [i, j]: examples i and j are of one cell, and j counts.
        alike = (cell[:, None] == cell) & counts
        earlier, later = alike.tril(-1).sum(1), alike.triu(1).sum(1)
        column = (self.seen[cell] + earlier) % self.history
        # Of more than a full history only the last ones stay; what does not goes to a place behind the table.
        stays = counts & (later < self.history)
        place = torch.where(stays, cell * self.history + column, self.losses.numel())
        table = torch.cat((self.losses.flatten(), self.losses.new_zeros(1)))
        self.losses.copy_(table.scatter(0, place, values)[:-1].view_as(self.losses))
        self.seen.scatter_add_(0, cell, counts.to(self.seen.dtype))

    def extra_repr(self) -> str:
        """Show the constructor's arguments."""
        return f"{self.cells}, history={self.history}, uniform={self.uniform}"

    @abstractmethod
    def _cell(self, t: Tensor) -> tuple[Int[Tensor, "*n"], Bool[Tensor, "*n"]]:
        """Return the cell of each time, and whether the law draws it."""

    def _cumulative(self, device: torch.device) -> Tensor:
        """Return the probability of all cells before each of the K + 1 borders, the last exactly 1."""
        total = self.probabilities().to(device).cumsum(0)
        return torch.cat((total.new_zeros(1), total / total[-1]))


class LossHistoryTimes(LossHistory):
    """Levels t = k / K drawn by the losses met there (Nichol & Dhariwal, 2021, section 3.3).

    Args:
        levels: number K of levels; all of 1..K are drawn.
        history: how many of the last losses of each level count.
        uniform: share of the uniform law that is mixed in, in (0, 1].

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, levels: int, *, history: int = 10, uniform: float = 0.001) -> None:
        check_count("levels", levels)
        super().__init__(levels, history=history, uniform=uniform)

    @property
    def levels(self) -> int:
        """Number K of levels."""
        return self.cells

    def number_of_levels(self) -> int | None:
        """See `TimeDistribution.number_of_levels`."""
        return self.levels

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.quantile`."""
        u = checked_uniforms(u)
        borders = self._cumulative(u.device)
        level = torch.searchsorted(borders, u, right=True).clamp(max=self.cells)
        return torch.where(u.isnan(), u, level.to(u.dtype) / self.cells)

    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.cdf`."""
        t = checked_times(t)
        level = as_level(t.nan_to_num(), self.cells)[0]
        return torch.where(t.isnan(), t, self._cumulative(t.device)[level])

    def _cell(self, t: Tensor) -> tuple[Int[Tensor, "*n"], Bool[Tensor, "*n"]]:
        level, at_level = as_level(t.nan_to_num(), self.cells)
        return (level - 1).clamp(min=0), at_level & (level > 0) & ~t.isnan()


class LossHistoryBins(LossHistory):
    """Continuous time in K bins ((k-1) / K, k / K], drawn by the losses met there; t is uniform within its bin.

    The same law as `LossHistoryTimes`, for processes without levels.

    Args:
        bins: number K of bins.
        history: how many of the last losses of each bin count.
        uniform: share of the uniform law that is mixed in, in (0, 1].

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, bins: int = 100, *, history: int = 10, uniform: float = 0.001) -> None:
        check_count("bins", bins)
        super().__init__(bins, history=history, uniform=uniform)

    @property
    def bins(self) -> int:
        """Number K of bins."""
        return self.cells

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.quantile`."""
        u = checked_uniforms(u)
        borders = self._cumulative(u.device)
        cell = (torch.searchsorted(borders, u, right=True) - 1).clamp(0, self.cells - 1)
        start, end = borders[cell], borders[cell + 1]
        return above_zero((cell + (u - start) / (end - start)) / self.cells)

    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.cdf`."""
        t = checked_times(t)
        borders = self._cumulative(t.device)
        cell, _ = self._cell(t)
        return torch.lerp(borders[cell], borders[cell + 1], t * self.cells - cell)

    def _cell(self, t: Tensor) -> tuple[Int[Tensor, "*n"], Bool[Tensor, "*n"]]:
        cell = ((t.nan_to_num() * self.cells).ceil() - 1).clamp(min=0).long()
        return cell, (t > 0) & ~t.isnan()
