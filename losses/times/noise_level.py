r"""Distributions of training times that are distributions of the noise level.

What a time means depends on the schedule; how noisy a latent is does not. With l_t the process's log-SNR let

    y(t) = mean over coefficients of -l_t / 2 = mean of log(sigma_t / alpha_t),

the logarithm of EDM's noise level. It never falls in t, so a distribution of y becomes one of t: F(t) = G(y(t)), where
G is y's distribution function, cut to the values from y(0) to y(1) that the process covers. Its density is g(y) dy/dt.

The times are continuous, whether the process has levels or not, as `UniformTimes` are; a process of few levels, asked
at no other times, wants `LevelTimes` or `LossAwareTimes`.

The mean weighs all coefficients alike. Where their log-SNRs lie far apart, as under blurs, few coefficients decide it:
heat's log alpha goes down to thousands at high frequencies. Constants made for white noise mean nothing there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.precision import schedule_dtype
from ...core.root_finding import invert_distribution
from ...degradations import LinearGaussianProcess
from .base import TimeDistribution, TimeSampler, checked_times, checked_uniforms, largest_below_one


class NoiseLevelTimes(TimeDistribution, ABC):
    """A distribution of y = mean of log(sigma / alpha), cut to a range. A subclass writes `share` and `slope`."""

    @abstractmethod
    def share(self, y: Float[Tensor, " n"], low: float, high: float) -> Float[Tensor, " n"]:
        """Return G(y), the probability of at most y, for y from `low` to `high`."""

    @abstractmethod
    def slope(self, y: Float[Tensor, " n"], low: float, high: float) -> Float[Tensor, " n"]:
        """Return g(y) = dG / dy."""

    @override
    def sampler(self, process: LinearGaussianProcess, levels: int | None) -> NoiseLevelSampler:
        return NoiseLevelSampler(process, self)


class NoiseLevelSampler(TimeSampler):
    """A distribution of the noise level as one of a process's times.

    Args:
        process: says which noise each time has.
        of: the distribution of y.

    Attributes:
        first: the first time with a finite y: 0, or 2^-53 (in double precision) where y(0) is infinite.
        last: the last such time: 1, or 1 - 2^-53.
        lowest: y(first).
        highest: y(last).

    Raises:
        ValueError: y is infinite at times between 0 and 1, or constant.
    """

    def __init__(self, process: LinearGaussianProcess, of: NoiseLevelTimes) -> None:
        self.process, self.of = process, of
        almost = largest_below_one(schedule_dtype(process.device))
        self.first, self.lowest = self._finite_end(0.0, 1 - almost)
        self.last, self.highest = self._finite_end(1.0, almost)
        # Rounding makes a constant log-SNR waver by a few units in the last place.
        if self.highest - self.lowest <= 1e-12 * (1 + abs(self.lowest)):
            msg = (
                f"the mean log-SNR of {process.called} is constant, {-2 * self.lowest:.6g}, so its value tells"
                " no time: use UniformTimes()"
            )
            raise ValueError(msg)

    def __repr__(self) -> str:
        """Show the distribution and what the process covers of it."""
        return f"{self.of}, mean log-SNR {-2 * self.lowest:.4g} to {-2 * self.highest:.4g}"

    def log_noise(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return y(t), the mean over coefficients of log(sigma_t / alpha_t), (n,), for times (n,)."""
        mean = self.process.log_snr(t).flatten(1).mean(1) / -2
        return mean.to(t.device).expand(len(t))

    @override
    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        # `invert_distribution` says how precisely the times are found.
        with torch.no_grad():
            return invert_distribution(self._cdf, checked_uniforms(u).flatten()).reshape(u.shape)

    @override
    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return self._cdf(checked_times(t).flatten()).reshape(t.shape)

    @override
    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        times = checked_times(t).flatten()
        rate = self.process.log_snr_rate(times).flatten(1).mean(1) / -2
        density = self.of.slope(self.log_noise(times), self.lowest, self.highest) * rate.to(times.device)
        outside = (times < self.first) | (times > self.last)
        return torch.where(outside, 0.0, density).reshape(t.shape)

    def _cdf(self, t: Tensor) -> Tensor:
        # y lies past its finite values at the ends where it is infinite there, or by rounding.
        return self.of.share(self.log_noise(t), self.lowest, self.highest).clamp(0.0, 1.0)

    def _finite_end(self, end: float, inside: float) -> tuple[float, float]:
        """Return the time next to `end` with a finite y, and that y."""
        for t in (end, inside):
            y = self.log_noise(torch.tensor([t], dtype=torch.float64)).item()
            if math.isfinite(y):
                return t, y
        msg = (
            f"the mean log-SNR of {self.process.called} is infinite not only at t = {end:g} but next to it too:"
            " where a coefficient has no noise, or no signal, it tells no times apart, and they would never be drawn;"
            " use UniformTimes()"
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class LogSNRTimes(NoiseLevelTimes):
    """Times at which the mean log-SNR is uniform between its values at t = 0 and t = 1.

    They give every noise level the same share of training whatever the schedule, which then only counts through its
    ends. Kingma & Gao (2023) write training losses by the distribution of the log-SNR that they draw.

    Raises:
        ValueError: when it is bound: the process's mean log-SNR is infinite at an end, or constant.
    """

    @override
    def sampler(self, process: LinearGaussianProcess, levels: int | None) -> NoiseLevelSampler:
        found = super().sampler(process, levels)
        if found.first > 0 or found.last < 1:
            where = "at t = 0, without noise" if found.first > 0 else "at t = 1, without signal"
            msg = (
                f"the mean log-SNR of {process.called} is infinite {where}, and no distribution is uniform over"
                " an infinite range: bound the schedule, as CosineSchedule(log_snr_min=-10.0, log_snr_max=10.0) does,"
                " or use LogNormalTimes()"
            )
            raise ValueError(msg)
        return found

    @override
    def share(self, y: Float[Tensor, " n"], low: float, high: float) -> Float[Tensor, " n"]:
        return (y - low) / (high - low)

    @override
    def slope(self, y: Float[Tensor, " n"], low: float, high: float) -> Float[Tensor, " n"]:
        return torch.full_like(y, 1 / (high - low))


@dataclass(frozen=True)
class LogNormalTimes(NoiseLevelTimes):
    """Times at which y = mean of log(sigma / alpha) is normal, *cut to the range that the process covers*.

    Source: Karras et al. (2022), table 1: the logarithm of the noise level is normal with mean -1.2 and standard
    deviation 1.2, for data in [-1, 1]. Nothing is clamped to the ends of the range: what the normal distribution has
    beyond them is left out and the rest scaled up, so that `cdf`, `quantile` and `density` are those of the truncated
    one. Where y is infinite at an end, the range goes to the time next to that end, 2^-53 from it in double precision.

    Attributes:
        mean: mean of y before it is cut.
        std: standard deviation of y before it is cut.

    Raises:
        ValueError: mean is not finite, or std not positive and finite. When it is bound: y is infinite between 0 and 1,
            or constant, or the normal distribution has nothing where y is.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        """Refuse what is not a normal distribution."""
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            msg = f"mean must be finite and std positive and finite, got {self.mean} and {self.std}"
            raise ValueError(msg)

    @override
    def sampler(self, process: LinearGaussianProcess, levels: int | None) -> NoiseLevelSampler:
        found = super().sampler(process, levels)
        if self.covered(found.lowest, found.highest) == 0:
            msg = (
                f"y = mean of log(sigma / alpha) of {process.called} goes from {found.lowest:.4g} to"
                f" {found.highest:.4g}, where a normal distribution of mean {self.mean} and standard deviation"
                f" {self.std} has nothing: choose a mean between these, or UniformTimes()"
            )
            raise ValueError(msg)
        return found

    def covered(self, low: float, high: float) -> float:
        """Return the probability that the uncut normal distribution gives to the range."""
        sign = self._sign(low)
        return sign * (_normal_cdf(sign * self._scaled(high)) - _normal_cdf(sign * self._scaled(low)))

    @override
    def share(self, y: Float[Tensor, " n"], low: float, high: float) -> Float[Tensor, " n"]:
        sign = self._sign(low)
        start, z = _normal_cdf(sign * self._scaled(low)), sign * (y - self.mean) / self.std
        return sign * (torch.special.erfc(-z / math.sqrt(2)) / 2 - start) / self.covered(low, high)

    @override
    def slope(self, y: Float[Tensor, " n"], low: float, high: float) -> Float[Tensor, " n"]:
        z = (y - self.mean) / self.std
        return (-z.square() / 2).exp() / (math.sqrt(2 * math.pi) * self.std * self.covered(low, high))

    def _sign(self, low: float) -> float:
        # The upper tail of Phi has no digits below 2^-53, the lower has all: a range above the mean is reflected.
        return -1.0 if low > self.mean else 1.0

    def _scaled(self, y: float) -> float:
        return (y - self.mean) / self.std


def _normal_cdf(z: float) -> float:
    # torch.special.ndtr has no digits in the lower tail either, and is 0 from -8.3 on.
    return math.erfc(-z / math.sqrt(2)) / 2
