"""Variance-preserving schedules, alpha^2 + sigma^2 = 1, in forms without cancellation at either end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count, check_number
from .base import Schedule
from .log_snr import VariancePreserving


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Variance preserving, log-SNR(t) = -2 log tan(a t + b) + shift, between two given ends.

    The cosine schedule of Nichol & Dhariwal (2021) with its log-SNR bounded as in Hoogeboom & Salimans (2023,
    appendix A): b = atan(exp(-max/2)), a = atan(exp(-min/2)) - b.

    Attributes:
        log_snr_min: log-SNR at t = 1, before the shift.
        log_snr_max: log-SNR at t = 0, before the shift.
        shift: added to the log-SNR at all times; see `shifted_cosine`.

    Raises:
        ValueError: log_snr_min is not below log_snr_max, or the shift is not finite.
    """

    log_snr_min: float = -10.0
    log_snr_max: float = 10.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not self.log_snr_min < self.log_snr_max:
            msg = f"log_snr_min must be below log_snr_max, got {self.log_snr_min} and {self.log_snr_max}: swap them"
            raise ValueError(msg)
        check_number("shift", self.shift, "(-inf, inf)")

    def log_snr(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the log-SNR at t, of t's shape."""
        # tan(y) = sin(y) / sin(pi/2 - y), each angle from its own end: near pi/2 the tangent has no digits left.
        b = math.atan(math.exp(-self.log_snr_max / 2))
        c = math.atan(math.exp(self.log_snr_min / 2))
        a = math.pi / 2 - b - c
        return self.shift + 2 * torch.log(torch.sin(a * (1 - t) + c) / torch.sin(a * t + b))

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return VariancePreserving().log_alpha(self.log_snr(t))

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return VariancePreserving().log_sigma(self.log_snr(t))


def shifted_cosine(
    resolution: int, *, reference: int = 64, log_snr_min: float = -10.0, log_snr_max: float = 10.0
) -> CosineSchedule:
    """Return the cosine schedule moved to a resolution: its log-SNR is lower by 2 log(resolution / reference).

    Averaging a block of pixels averages noise away and leaves smooth content, so a larger image needs more noise for
    the same difficulty (Hoogeboom, Heek & Salimans, 2023, section 3.1). The bounds shift with the rest: a larger image
    ends in more noise. Public copies of the paper's schedule have bounds of 15 where the default here is 10.

    Args:
        resolution: height or width of the images, in pixels.
        reference: resolution at which the schedule is the unshifted one, in pixels.
        log_snr_min: log-SNR at t = 1 before the shift.
        log_snr_max: log-SNR at t = 0 before the shift.

    Raises:
        ValueError: a resolution is below 1, or the log-SNR does not fall.
    """
    check_count("resolution", resolution, hint="pixels")
    check_count("reference", reference, hint="pixels")
    return CosineSchedule(log_snr_min, log_snr_max, shift=2 * math.log(reference / resolution))


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """Variance preserving, beta(t) linear from beta_min to beta_max: the limit of DDPM's thousand steps.

    log alpha(t) = -(beta_max - beta_min) t^2 / 4 - beta_min t / 2 (Ho et al., 2020; Song et al., 2021).

    Attributes:
        beta_min: noise rate at t = 0, per unit of time; DDPM's 1e-4 a step, 1000 steps.
        beta_max: noise rate at t = 1; DDPM's 0.02 a step, 1000 steps.

    Raises:
        ValueError: a rate is negative or infinite, or both are 0.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        rates = (self.beta_min, self.beta_max)
        if not all(0 <= rate < math.inf for rate in rates) or not any(rates):
            msg = f"beta_min and beta_max must be finite, at least 0 and not both 0, got {rates[0]} and {rates[1]}"
            raise ValueError(msg)

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return -(self.beta_max - self.beta_min) / 4 * t**2 - self.beta_min / 2 * t

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        # sigma^2 = 1 - alpha^2, without the subtraction.
        return torch.log(-torch.expm1(2 * self.log_alpha(t))) / 2


@dataclass(frozen=True)
class SigmoidSchedule(Schedule):
    """Variance preserving, alpha^2(t) a stretch of a sigmoid from 1 to 0 (Jabri, Fleet & Chen, 2023).

    alpha^2(t) = (S(end) - S(start + t (end - start))) / (S(end) - S(start)), S(y) = 1 / (1 + exp(-y / temperature)).

    Attributes:
        start: where the stretch begins, at t = 0.
        end: where it ends, at t = 1.
        temperature: width of the sigmoid.

    Raises:
        ValueError: start is not below end, or one is infinite, or the temperature is not positive and finite.
    """

    start: float = -3.0
    end: float = 3.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not -math.inf < self.start < self.end < math.inf:
            msg = f"start must be below end, both finite, got {self.start} and {self.end}: swap them"
            raise ValueError(msg)
        check_number("temperature", self.temperature, "(0, inf)")

    def _log_rise(self, t: Tensor, part: Tensor) -> Tensor:
        """Return log of the sigmoid's rise between time t and an end, up to a constant of that end.

        S(b) - S(a) = sinh(b - a) / (2 cosh(a) cosh(b)) in half temperatures, without cancellation; b - a is `part` of
        the whole stretch. The end's cosh is the constant. In logarithms sinh does not overflow where the sigmoid is
        steep.
        """
        unit = 2 * self.temperature
        here, rise = (self.start + t * (self.end - self.start)) / unit, part * ((self.end - self.start) / unit)
        return rise + torch.log(-torch.expm1(-2 * rise)) - torch.logaddexp(here, -here)

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return (self._log_rise(t, 1 - t) - self._log_rise(torch.zeros_like(t), torch.ones_like(t))) / 2

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return (self._log_rise(t, t) - self._log_rise(torch.ones_like(t), torch.ones_like(t))) / 2
