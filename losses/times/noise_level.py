r"""Laws of training times that are laws of the noise level.

What a time means depends on the schedule; how noisy a latent is does not. With l_t the process's log-SNR let

    y(t) = mean over coefficients of -l_t / 2 = mean of log(sigma_t / alpha_t),

the logarithm of EDM's noise level. It never falls in t, so a law of y becomes a law of t: F(t) = G(y(t)), where G is
y's distribution function, cut to the values from y(0) to y(1) that the process covers. Its density is g(y) dy/dt.

The mean weighs all coefficients alike. Where their log-SNRs lie far apart, as under blurs, few coefficients decide it:
heat's log alpha goes down to thousands at high frequencies. Constants made for white noise mean nothing there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...core.checks import check_instance
from ...core.precision import schedule_dtype
from ...core.root_finding import invert_distribution
from ...degradations import LinearGaussianProcess
from .base import (
    TimeDistribution,
    checked_times,
    checked_uniforms,
    largest_below_one,
)


class NoiseLevelTimes(nn.Module, TimeDistribution, ABC):
    """A law of y = mean of log(sigma / alpha), turned into one of time. A subclass writes `_share` and `_slope`.

    A module, so that its process moves with the loss that holds it.

    Args:
        process: the forward process that says which noise each time has.

    Attributes:
        first: the first time with a finite y: 0, or 2^-53 (in double precision) where y(0) is infinite.
        last: the last such time: 1, or 1 - 2^-53.
        lowest: y(first).
        highest: y(last).

    Raises:
        TypeError: `process` is none.
        ValueError: y is infinite at times between 0 and 1, or constant.
    """

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__()
        check_instance("process", process, LinearGaussianProcess, "IsotropicDiffusion((3, 32, 32)) for example")
        self.process = process
        almost = largest_below_one(schedule_dtype(process.device))
        self.first, self.lowest = self._finite_end(0.0, 1 - almost)
        self.last, self.highest = self._finite_end(1.0, almost)
        # Rounding makes a constant log-SNR waver by a few units in the last place.
        if self.highest - self.lowest <= 1e-12 * (1 + abs(self.lowest)):
            msg = (
                f"the mean log-SNR of {type(process).__name__} is constant, {-2 * self.lowest:.6g}, so its value tells"
                " no time: use UniformTimes()"
            )
            raise ValueError(msg)

    def log_noise(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return y(t), the mean over coefficients of log(sigma_t / alpha_t), (n,), for times (n,)."""
        mean = self.process.log_snr(t).flatten(1).mean(1) / -2
        return mean.to(t.device).expand(len(t))

    def quantile(self, u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.quantile`; `invert_distribution` says how precisely the times are found."""
        with torch.no_grad():
            return invert_distribution(self._cdf, checked_uniforms(u).flatten()).reshape(u.shape)

    def cdf(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.cdf`."""
        return self._cdf(checked_times(t).flatten()).reshape(t.shape)

    def density(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """See `TimeDistribution.density`."""
        times = checked_times(t).flatten()
        rate = self.process.log_snr_rate(times).flatten(1).mean(1) / -2
        density = self._slope(self.log_noise(times)) * rate.to(times.device)
        outside = (times < self.first) | (times > self.last)
        return torch.where(outside, 0.0, density).reshape(t.shape)

    def extra_repr(self) -> str:
        """Show what the process covers."""
        return f"mean log-SNR {-2 * self.lowest:.4g} to {-2 * self.highest:.4g}"

    @abstractmethod
    def _share(self, y: Tensor) -> Tensor:
        """Return G(y), the probability of at most y, for y from `lowest` to `highest`."""

    @abstractmethod
    def _slope(self, y: Tensor) -> Tensor:
        """Return g(y) = dG / dy."""

    def _cdf(self, t: Tensor) -> Tensor:
        # y lies past its finite values at the ends where it is infinite there, or by rounding.
        return self._share(self.log_noise(t)).clamp(0.0, 1.0)

    def _finite_end(self, end: float, inside: float) -> tuple[float, float]:
        """Return the time next to `end` with a finite y, and that y."""
        for t in (end, inside):
            y = self.log_noise(torch.tensor([t], dtype=torch.float64)).item()
            if math.isfinite(y):
                return t, y
        msg = (
            f"the mean log-SNR of {type(self.process).__name__} is infinite not only at t = {end:g} but next to it too:"
            " where a coefficient has no noise, or no signal, it tells no times apart, and they would never be drawn;"
            " use UniformTimes()"
        )
        raise ValueError(msg)


class LogSNRTimes(NoiseLevelTimes):
    """Times at which the mean log-SNR is uniform between its values at t = 0 and t = 1.

    They give every noise level the same share of training whatever the schedule, which then only counts through its
    ends. Kingma & Gao (2023) write training losses by the law of the log-SNR that they draw.

    Args:
        process: a process whose mean log-SNR is finite at both ends.

    Raises:
        TypeError: `process` is none.
        ValueError: the mean log-SNR is infinite at an end, or constant.
    """

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__(process)
        if self.first > 0 or self.last < 1:
            where = "at t = 0, without noise" if self.first > 0 else "at t = 1, without signal"
            msg = (
                f"the mean log-SNR of {type(process).__name__} is infinite {where}, and no law is uniform over an"
                " infinite range: bound the schedule, as CosineSchedule(log_snr_min=-10.0, log_snr_max=10.0) does, or"
                " use LogNormalTimes(process)"
            )
            raise ValueError(msg)

    def _share(self, y: Tensor) -> Tensor:
        return (y - self.lowest) / (self.highest - self.lowest)

    def _slope(self, y: Tensor) -> Tensor:
        return torch.full_like(y, 1 / (self.highest - self.lowest))


class LogNormalTimes(NoiseLevelTimes):
    """Times at which y = mean of log(sigma / alpha) is normal, *cut to the range that the process covers*.

    Source: Karras et al. (2022), table 1: the logarithm of the noise level is normal with mean -1.2 and standard
    deviation 1.2, for data in [-1, 1]. Nothing is clamped to the ends of the range: what the normal law has beyond them
    is left out and the rest scaled up, so that `cdf`, `quantile` and `density` are those of the truncated law. Where y
    is infinite at an end, the range goes to the time next to that end, 2^-53 from it in double precision.

    Args:
        process: the forward process that says which noise each time has.
        mean: mean of y before it is cut.
        std: standard deviation of y before it is cut.

    Attributes:
        covered: the probability that the uncut normal law gives to the range.

    Raises:
        TypeError: `process` is none.
        ValueError: std is not positive; y is infinite between 0 and 1, or constant; or the law has nothing where y is.
    """

    def __init__(self, process: LinearGaussianProcess, mean: float = -1.2, std: float = 1.2) -> None:
        if not (math.isfinite(mean) and 0 < std < math.inf):
            msg = f"mean must be finite and std positive and finite, got {mean} and {std}"
            raise ValueError(msg)
        super().__init__(process)
        self.mean, self.std = mean, std
        # The normal law's upper tail has no digits below 2^-53, its lower tail has all of them: a range above the mean
        # is turned around.
        self._sign = -1.0 if self.lowest > mean else 1.0
        ends = torch.tensor([self.lowest, self.highest], dtype=torch.float64)
        self._start, end = self._normal(ends).tolist()
        self.covered = abs(end - self._start)
        if self.covered == 0:
            msg = (
                f"y = mean of log(sigma / alpha) of {type(process).__name__} goes from {self.lowest:.4g} to"
                f" {self.highest:.4g}, where a normal law of mean {mean} and standard deviation {std} has nothing:"
                " choose a mean between these, or UniformTimes()"
            )
            raise ValueError(msg)

    def extra_repr(self) -> str:
        """Show the law and what is left of it."""
        return f"mean={self.mean}, std={self.std}, {super().extra_repr()}, {self.covered:.4g} of the law"

    def _normal(self, y: Tensor) -> Tensor:
        # torch.special.ndtr has no digits in the lower tail either, and is 0 from -8.3 on.
        return torch.special.erfc(-self._sign * (y - self.mean) / (self.std * math.sqrt(2))) / 2

    def _share(self, y: Tensor) -> Tensor:
        return self._sign * (self._normal(y) - self._start) / self.covered

    def _slope(self, y: Tensor) -> Tensor:
        z = (y - self.mean) / self.std
        return (-z.square() / 2).exp() / (math.sqrt(2 * math.pi) * self.std * self.covered)
