r"""Importance sampling of times by the losses met there.

Times at which losses are large are drawn more often, and their losses weighted down by as much, so that the training
loss keeps its expectation and its gradient less noise. The variance of L_k / p_k is least for

    p_k  proportional to  sqrt(E L_k^2),

which Nichol & Dhariwal (2021, section 3.3) estimate from the last ten losses at each level. Here, as in their released
code, a small share of the uniform distribution is mixed in, so that no level is forgotten, and until every level has a
full history the distribution is uniform. The correction is 1 / density = 1 / (K p_k).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count
from ...core.constants import ConstantModule
from ...core.precision import schedule_dtype
from ...degradations import LinearGaussianProcess
from .base import TimeDistribution, TimeSampler, above_zero, checked_times, checked_uniforms
from .levels import as_level


@dataclass(frozen=True)
class LossAwareTimes(TimeDistribution):
    """Times drawn by the losses met there: of levels where there are any, else of equal bins, uniform within each.

    Attributes:
        bins: number of bins ((k-1) / K, k / K] of continuous time.
        history: how many of the last losses of each level or bin count.
        uniform: share of the uniform distribution that is mixed in, in (0, 1].

    Raises:
        ValueError: a number is out of its range.
    """

    bins: int = 100
    history: int = 10
    uniform: float = 0.001

    def __post_init__(self) -> None:
        """Refuse what cannot learn."""
        check_count("bins", self.bins)
        check_count("history", self.history)
        if not 0 < self.uniform <= 1:
            msg = (
                f"uniform must be a share in (0, 1], got {self.uniform}: without any of the uniform distribution a"
                " level whose losses were 0 is never met again"
            )
            raise ValueError(msg)

    @override
    def sampler(self, process: LinearGaussianProcess, levels: int | None) -> LossHistory:
        made = BinHistory(self, self.bins) if levels is None else LevelHistory(self, levels)
        return made.to(process.device)


class LossHistory(ConstantModule, TimeSampler, ABC):
    """A distribution over K cells of time that learns from losses; `LossAwareTimes` makes it.

    Its history is part of the `state_dict`, follows the module from device to device and is never rounded with it. With
    several processes each learns from its own losses: that is unbiased, and nothing needs to be sent around.

    Losses that are not finite are ignored, as one NaN would stay for ever; so are losses at times that are not drawn.

    Args:
        of: settings.
        cells: number K of cells.
    """

    losses: Tensor
    seen: Tensor

    def __init__(self, of: LossAwareTimes, cells: int) -> None:
        super().__init__()
        self.of, self.cells = of, cells
        # The last losses of each cell, the n-th in column n mod history, and how many there were.
        self.register_buffer("losses", torch.zeros(cells, of.history))
        self.register_buffer("seen", torch.zeros(cells, dtype=torch.long))

    def probabilities(self) -> Float[Tensor, " cells"]:
        """Return the probability of each cell, in the order of time, (cells,)."""
        weight = self.losses.to(schedule_dtype(self.losses.device)).square().mean(1).sqrt()
        total = weight.sum()
        # Losses that are all 0 tell no cell from another.
        known = (self.seen >= self.of.history).all() & (total > 0)
        share = torch.where(known, weight / total, 1 / self.cells)
        return (1 - self.of.uniform) * share + self.of.uniform / self.cells

    @override
    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        t = checked_times(t)
        cell, drawn = self._cell(t)
        density = self.cells * self.probabilities().to(t.device)[cell]
        return torch.where(t.isnan(), t, torch.where(drawn, density, 0.0))

    @override
    def correction(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        # Infinite at times that are not drawn.
        return 1 / self.density(t)

    @override
    def update(self, t: Float[Tensor, " batch"], losses: Float[Tensor, " batch"]) -> None:
        """Take the losses of one batch into the history, in its order; nothing waits for the device.

        Args:
            t: times drawn from this distribution, (batch,).
            losses: the examples' losses at these times, without the `correction`, (batch,).

        Raises:
            TypeError: `t` is not floating-point.
            ValueError: shapes differ, or a time lies outside [0, 1] (where values are readable).
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
        history = self.of.history
        column = (self.seen[cell] + earlier) % history
        # Of more than a full history only the last ones stay; what does not goes to a place behind the table.
        stays = counts & (later < history)
        place = torch.where(stays, cell * history + column, self.losses.numel())
        table = torch.cat((self.losses.flatten(), self.losses.new_zeros(1)))
        self.losses.copy_(table.scatter(0, place, values)[:-1].view_as(self.losses))
        self.seen.scatter_add_(0, cell, counts.to(self.seen.dtype))

    @override
    def extra_repr(self) -> str:
        return f"cells={self.cells}, history={self.of.history}, uniform={self.of.uniform}"

    @abstractmethod
    def _cell(self, t: Tensor) -> tuple[Int[Tensor, "*n"], Bool[Tensor, "*n"]]:
        """Return the cell of each time, and whether it is drawn."""

    def _cumulative(self, device: torch.device) -> Tensor:
        """Return the probability of all cells before each of the K + 1 borders, the last exactly 1."""
        total = self.probabilities().to(device).cumsum(0)
        return torch.cat((total.new_zeros(1), total / total[-1]))


class LevelHistory(LossHistory):
    """Levels t = k / K, all of 1..K, drawn by the losses met there (Nichol & Dhariwal, 2021, section 3.3)."""

    @override
    def number_of_levels(self) -> int:
        return self.cells

    @override
    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        u = checked_uniforms(u)
        borders = self._cumulative(u.device)
        level = torch.searchsorted(borders, u, right=True).clamp(max=self.cells)
        return torch.where(u.isnan(), u, level.to(u.dtype) / self.cells)

    @override
    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        t = checked_times(t)
        level = as_level(t.nan_to_num(), self.cells)[0]
        return torch.where(t.isnan(), t, self._cumulative(t.device)[level])

    @override
    def _cell(self, t: Tensor) -> tuple[Int[Tensor, "*n"], Bool[Tensor, "*n"]]:
        level, at_level = as_level(t.nan_to_num(), self.cells)
        return (level - 1).clamp(min=0), at_level & (level > 0) & ~t.isnan()


class BinHistory(LossHistory):
    """Continuous time in K bins ((k-1) / K, k / K], drawn by the losses met there; t is uniform within its bin."""

    @override
    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        u = checked_uniforms(u)
        borders = self._cumulative(u.device)
        cell = (torch.searchsorted(borders, u, right=True) - 1).clamp(0, self.cells - 1)
        start, end = borders[cell], borders[cell + 1]
        return above_zero((cell + (u - start) / (end - start)) / self.cells)

    @override
    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        t = checked_times(t)
        borders = self._cumulative(t.device)
        cell, _ = self._cell(t)
        return torch.lerp(borders[cell], borders[cell + 1], t * self.cells - cell)

    @override
    def _cell(self, t: Tensor) -> tuple[Int[Tensor, "*n"], Bool[Tensor, "*n"]]:
        cell = ((t.nan_to_num() * self.cells).ceil() - 1).clamp(min=0).long()
        return cell, (t > 0) & ~t.isnan()
