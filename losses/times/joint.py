r"""Times of one batch that are spread better than independent ones.

Each time is the distribution's quantile of a number u_i that is uniform in [0, 1) by itself, so each time alone has the
distribution, and the average of losses over a batch keeps its expectation. Only its variance changes: numbers that
avoid each other cover the distribution more evenly. They do not help where the losses of one time differ more between
examples than between times.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import NoneType

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...core.checks import check_instance
from ...degradations import LinearGaussianProcess
from .base import TimeDistribution, TimeSampler, largest_below_one, uniform_numbers
from .uniform import default_times


@dataclass(frozen=True)
class JointTimes(TimeDistribution, ABC):
    """A distribution whose times are drawn together, a batch at a time. A subclass writes `uniforms`.

    Attributes:
        of: the distribution of each time; its own way of drawing is not used, its correction and update are. None is
            the uniform one, on levels where there are any.

    Raises:
        TypeError: `of` is something else.
    """

    of: TimeDistribution | None = None

    def __post_init__(self) -> None:
        """Refuse to spread what cannot be drawn."""
        check_instance("of", self.of, (TimeDistribution, NoneType), "UniformTimes() for example")

    @abstractmethod
    def uniforms(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """Draw `batch` numbers in [0, 1), each uniform by itself; arguments as in `TimeSampler.sample`."""

    @override
    def sampler(self, process: LinearGaussianProcess, levels: int | None) -> JointSampler:
        return JointSampler(self, (self.of or default_times(levels)).sampler(process, levels))


class JointSampler(nn.Module, TimeSampler):
    """A sampler whose uniform numbers are drawn together.

    A module, so that a distribution that learns moves and is saved with the loss that holds this one.

    Args:
        spread: draws the uniform numbers.
        of: makes times of them.
    """

    def __init__(self, spread: JointTimes, of: TimeSampler) -> None:
        super().__init__()
        self.spread, self.of = spread, of

    @override
    def sample(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        return self.of.quantile(self.spread.uniforms(batch, device=device, generator=generator))

    @override
    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.of.quantile(u)

    @override
    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.of.cdf(t)

    @override
    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.of.density(t)

    @override
    def number_of_levels(self) -> int | None:
        return self.of.number_of_levels()

    @override
    def correction(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self.of.correction(t)

    @override
    def update(self, t: Float[Tensor, " batch"], losses: Float[Tensor, " batch"]) -> None:
        self.of.update(t, losses)

    @override
    def extra_repr(self) -> str:
        return f"{self.spread}"


@dataclass(frozen=True)
class Stratified(JointTimes):
    """One number in each of the n equal parts of [0, 1), for a batch of n: u_i = (j_i + v_i) / n.

    The v_i are independent and uniform in [0, 1), and j_i = (i + r) mod n with one r uniform over 0..n-1, so that no
    example of a batch keeps to a part. The variance of a mean over the batch is that of the function *within* the
    parts: for smooth functions it falls as n^-3, where independent times give n^-1 (Haber, 1966).
    """

    @override
    def uniforms(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        within = uniform_numbers(batch, device=device, generator=generator)
        turn = (uniform_numbers(1, device=device, generator=generator) * batch).floor()
        part = (torch.arange(batch, device=device, dtype=within.dtype) + turn).remainder(batch)
        # The last part's numbers just below 1 may be rounded up to it.
        return ((part + within) / batch).clamp(max=largest_below_one(within.dtype))


@dataclass(frozen=True)
class LowDiscrepancy(JointTimes):
    """One uniform number for the whole batch, turned by equal steps: u_i = (u + i / n) mod 1.

    Source: Kingma et al. (2021), appendix I.1. The batch is a grid that moves as a whole. The variance of a mean of f
    over it falls as (f(1) - f(0))^2 / (12 n^2) for smooth f, f being a function of u: slower than under `Stratified`
    unless both ends agree. A function whose period is 1 / n gets the variance of a single draw.
    """

    @override
    def uniforms(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        start = uniform_numbers(1, device=device, generator=generator)
        return (start + torch.arange(batch, device=device, dtype=start.dtype) / batch).remainder(1)


@dataclass(frozen=True)
class Antithetic(JointTimes):
    """Pairs of u and its mirror image 1 - u: example i and example i + ceil(n / 2); of an odd batch one has no pair.

    The mean of a monotone function has less variance than under independent times, and none left of what is odd about
    the median (Hammersley & Morton, 1956); of a function that is even about the median it has twice as much.
    """

    @override
    def uniforms(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        pairs = batch // 2
        first = uniform_numbers(batch - pairs, device=device, generator=generator)
        # The mirror of [0, 1) is (0, 1]. torch.rand draws multiples j of 2^-53; they are mirrored among themselves,
        # j to 2^53 - 1 - j, so that the image of a uniform number is exactly uniform too.
        return torch.cat((first, largest_below_one(first.dtype) - first[:pairs]))
