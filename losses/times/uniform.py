"""Uniform laws: in continuous time, and on levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.precision import schedule_dtype
from ...degradations import LinearGaussianProcess
from .base import (
    TimeDistribution,
    above_zero,
    checked_times,
    checked_uniforms,
)
from .levels import as_level, check_count


@dataclass(frozen=True)
class UniformTimes(TimeDistribution):
    """t uniform in (0, 1], for processes in continuous time: F(t) = t."""

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.quantile`."""
        return above_zero(checked_uniforms(u))

    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.cdf`."""
        return checked_times(t)

    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.density`."""
        return torch.ones_like(checked_times(t))

    def sample(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """See `TimeDistribution.sample`."""
        source = generator.device if generator is not None else device
        # torch.rand draws from [0, 1): turned around it never gives t = 0, where there is nothing to learn.
        return (1 - torch.rand(batch, generator=generator, device=source)).to(device, schedule_dtype(device))


@dataclass(frozen=True)
class LevelTimes(TimeDistribution):
    """t = k / K with k uniform over *all* of 1..K, the last one included: sampling starts from it.

    Attributes:
        levels: number K of levels.

    Raises:
        ValueError: levels < 1.
    """

    levels: int

    def __post_init__(self) -> None:
        """Refuse a grid without levels."""
        check_count("levels", self.levels)

    def number_of_levels(self) -> int | None:
        """See `TimeDistribution.number_of_levels`."""
        return self.levels

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.quantile`."""
        # u K may be rounded up to K.
        return ((checked_uniforms(u) * self.levels).floor() + 1).clamp(max=self.levels) / self.levels

    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.cdf`."""
        t = checked_times(t)
        return as_level(t, self.levels)[0].to(t.dtype) / self.levels

    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.density`."""
        t = checked_times(t)
        level, at_level = as_level(t, self.levels)
        return ((level > 0) & at_level).to(t.dtype)

    def sample(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """See `TimeDistribution.sample`."""
        source = generator.device if generator is not None else device
        levels = torch.randint(1, self.levels + 1, (batch,), generator=generator, device=source)
        return levels.to(device, schedule_dtype(device)) / self.levels


def default_times(process: LinearGaussianProcess) -> TimeDistribution:
    """Return the uniform distribution over levels 1..K where the process has them, else over (0, 1]."""
    return LevelTimes(process.levels) if process.levels else UniformTimes()
