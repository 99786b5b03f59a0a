"""Uniform distributions: in continuous time, and on levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count
from ...core.precision import schedule_dtype
from ...core.randomness import random_integers, uniform_noise
from ...degradations import LinearGaussianProcess
from .base import TimeDistribution, TimeSampler, above_zero, checked_times, checked_uniforms
from .levels import as_level


@dataclass(frozen=True)
class UniformTimes(TimeDistribution, TimeSampler):
    """t uniform in (0, 1], whether the process has levels or not: F(t) = t."""

    @override
    def sampler(self, process: LinearGaussianProcess, levels: int | None) -> UniformTimes:
        return self

    @override
    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return above_zero(checked_uniforms(u))

    @override
    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return checked_times(t)

    @override
    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.ones_like(checked_times(t))

    @override
    def sample(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        # Drawn from [0, 1): reversed it never gives t = 0, where there is nothing to learn.
        return (1 - uniform_noise((batch,), device=device, generator=generator)).to(schedule_dtype(device))


@dataclass(frozen=True)
class LevelTimes(TimeDistribution, TimeSampler):
    """t = k / K with k uniform over *all* of 1..K, the last one included: sampling starts from it.

    Attributes:
        levels: number K of levels; None takes the process's.

    Raises:
        ValueError: levels < 1. When it is bound: neither it nor the process says how many levels there are.
    """

    levels: int | None = None

    def __post_init__(self) -> None:
        """Refuse a grid without levels."""
        if self.levels is not None:
            check_count("levels", self.levels)

    @override
    def sampler(self, process: LinearGaussianProcess, levels: int | None) -> LevelTimes:
        if self.levels is None and levels is None:
            msg = (
                f"LevelTimes() takes its levels from the process, and {process.called} has none: give a number,"
                " such as LevelTimes(100), or use UniformTimes()"
            )
            raise ValueError(msg)
        return LevelTimes(self.levels or levels)

    @override
    def number_of_levels(self) -> int:
        if self.levels is None:
            msg = "LevelTimes() takes its number of levels from a process: LevelTimes().bind(process), or give a number"
            raise ValueError(msg)
        return self.levels

    @override
    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        levels = self.number_of_levels()
        # u K may be rounded up to K.
        return ((checked_uniforms(u) * levels).floor() + 1).clamp(max=levels) / levels

    @override
    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        t, levels = checked_times(t), self.number_of_levels()
        return torch.where(t.isnan(), t, as_level(t.nan_to_num(), levels)[0].to(t.dtype) / levels)

    @override
    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        t = checked_times(t)
        level, at_level = as_level(t.nan_to_num(), self.number_of_levels())
        return torch.where(t.isnan(), t, ((level > 0) & at_level).to(t.dtype))

    @override
    def sample(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        levels = self.number_of_levels()
        drawn = random_integers(1, levels + 1, (batch,), device=device, generator=generator)
        return drawn.to(schedule_dtype(device)) / levels


def default_times(levels: int | None) -> TimeDistribution:
    """Return the uniform distribution over levels 1..K where there are levels, else over (0, 1]."""
    return LevelTimes(levels) if levels else UniformTimes()
