r"""What a distribution of training times is.

A training loss is an average over times, L = E_{t ~ U} w(t) L_t, where U is uniform on (0, 1] or on levels. Drawing t
from another distribution of density p with respect to U trains on another weighting, w(t) p(t): that is how log-normal
times are meant (Karras et al., 2022). An *importance sampler* keeps the weighting and only lowers the variance: it
multiplies each loss by its `correction` 1 / p(t), and E_{t ~ p} w(t) L_t / p(t) = L whatever p is, as long as it is
positive.

What a person chooses is a value, a `TimeDistribution`. Bound to a process it becomes a `TimeSampler`: its distribution
function F (`cdf`) and the inverse of that (`quantile`), which turns uniform numbers into times. Numbers that are each
uniform but not independent give times that each have the distribution but are spread better over a batch: see
`unmelt.losses.times.joint`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_times, values_are_readable
from ...core.precision import schedule_dtype
from ...core.randomness import uniform_noise
from ...degradations import LinearGaussianProcess


class TimeDistribution(ABC):
    """A distribution of the times at which a denoiser is trained: a value. A subclass writes `sampler`."""

    def bind(self, process: LinearGaussianProcess) -> TimeSampler:
        """Return what draws the times of one process.

        Raises:
            ValueError: the distribution is not defined for `process`.
        """
        return self.sampler(process, process.levels)

    @abstractmethod
    def sampler(self, process: LinearGaussianProcess, levels: int | None) -> TimeSampler:
        """Return what draws times for a process of which `levels` levels are used; None in continuous time.

        Raises:
            ValueError: the distribution is not defined there.
        """


class TimeSampler(ABC):
    """A distribution of times that can be drawn from.

    A subclass writes `quantile`, `cdf` and `density`; an importance sampler `correction` too, and one that learns
    `update`. Results are in the precision that schedules are computed in, float64 where the device has it: a level is
    met exactly.
    """

    @abstractmethod
    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return the times at which the distribution function passes `u`, inf {t : F(t) > u}, in (0, 1].

        Args:
            u: numbers in [0, 1), of any shape; uniform ones become times of this distribution.

        Raises:
            ValueError: a number lies outside [0, 1) (where values are readable; elsewhere its time is NaN).
        """

    @abstractmethod
    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return F(t), the probability of a time of at most t.

        Args:
            t: times in [0, 1], of any shape.

        Raises:
            TypeError: `t` is not floating-point.
            ValueError: a time lies outside [0, 1] (where values are readable; elsewhere the result is NaN).
        """

    @abstractmethod
    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return the density with respect to the uniform distribution on the same support; 0 outside the support.

        That is dF/dt in continuous time, and K times the probability of the level on K levels, so that it is 1 for
        uniform distributions of either kind. Arguments and errors as in `cdf`.
        """

    def number_of_levels(self) -> int | None:
        """Return K where only the levels k / K are drawn, so that `density` is none over time; else None."""
        return None

    def correction(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return the factor that a training loss at time t is multiplied by: 1, except for importance samplers.

        Theirs is 1 / density(t), of the distribution that t was drawn from: take it before `update`. Arguments as in
        `cdf`.
        """
        return torch.ones_like(checked_times(t))

    def sample(
        self, batch: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """Draw times, each of this distribution and independent of the others unless a subclass spreads them.

        Args:
            batch: how many.
            device: where the result lives; a generator of another device is used where it lives.
            generator: source of randomness; torch's default if None.

        Returns:
            Times in (0, 1], (batch,), in the precision that schedules are computed in.
        """
        return self.quantile(uniform_numbers(batch, device=device, generator=generator))

    def update(self, t: Float[Tensor, " batch"], losses: Float[Tensor, " batch"]) -> None:  # noqa: B027
        """Take note of losses met in training; does nothing unless the distribution learns.

        Args:
            t: times drawn from this distribution, (batch,).
            losses: the examples' losses at these times, without the `correction`, (batch,).
        """


def uniform_numbers(
    count: int, *, device: torch.device, generator: torch.Generator | None = None
) -> Float[Tensor, " count"]:
    """Draw independent numbers uniform in [0, 1), (count,), in the schedule dtype on `device`."""
    source = generator.device if generator is not None else device
    # On a device without float64 a number just below 1 would be rounded to 1, so it is drawn as coarse as it ends.
    dtype = min(schedule_dtype(source), schedule_dtype(device), key=lambda dtype: dtype.itemsize)
    drawn = uniform_noise((count,), device=device, dtype=dtype, generator=generator)
    return drawn.to(schedule_dtype(device))


def largest_below_one(dtype: torch.dtype) -> float:
    """Return the largest number below 1, which is also the largest that torch.rand gives: 1 - 2^-53 in float64."""
    return 1 - torch.finfo(dtype).eps / 2


def above_zero(t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return continuous times with those at 0, where there is nothing to learn, moved into (0, 1].

    torch.rand gives multiples of 2^-53: its 0 stands for all that is below the next one, and becomes the middle, 2^-54.
    """
    return t.clamp(min=torch.finfo(t.dtype).eps / 4)


def checked_uniforms(u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return `u` in the schedule dtype, checked to lie in [0, 1).

    Raises:
        ValueError: it does not (where values are readable; elsewhere such a number becomes NaN).
    """
    inside = (u >= 0) & (u < 1)
    wide = u.to(schedule_dtype(u.device))
    if not values_are_readable(u):
        return torch.where(inside, wide, torch.nan)
    if not bool(inside.all()):
        msg = f"u must lie in [0, 1), got {u[~inside].flatten()[0].item()}: torch.rand draws such numbers"
        raise ValueError(msg)
    return wide


def checked_times(t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return `t` in the schedule dtype, checked to lie in [0, 1]; raises what `TimeSampler.cdf` raises."""
    return check_times("t", t.flatten()).reshape(t.shape).to(schedule_dtype(t.device))
