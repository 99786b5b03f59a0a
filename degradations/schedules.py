r"""Noise schedules: scalar alpha(t) and sigma(t), for isotropic diffusion and wherever noise is white.

A variance-preserving schedule is its log-SNR l(t) alone: alpha^2 = sigmoid(l), sigma^2 = sigmoid(-l).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


class Schedule(ABC):
    """A scalar schedule. Times and results have one shape."""

    @abstractmethod
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return log alpha(t), of t's shape; minus infinity where no signal is left."""

    @abstractmethod
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return log sigma(t), of t's shape; minus infinity where there is no noise."""


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Variance preserving, log-SNR(t) = -2 log tan(a t + b), between two given ends.

    The cosine schedule of Nichol & Dhariwal (2021) with its log-SNR bounded as in Hoogeboom & Salimans (2023,
    appendix A): b = atan(exp(-max/2)), a = atan(exp(-min/2)) - b.

    Attributes:
        log_snr_min: log-SNR at t = 1.
        log_snr_max: log-SNR at t = 0.

    Raises:
        ValueError: log_snr_min is not below log_snr_max.
    """

    log_snr_min: float = -10.0
    log_snr_max: float = 10.0

    def __post_init__(self) -> None:
        """Refuse a schedule that does not fall."""
        if not self.log_snr_min < self.log_snr_max:
            msg = f"log_snr_min must be below log_snr_max, got {self.log_snr_min} and {self.log_snr_max}: swap them"
            raise ValueError(msg)

    def _log_snr(self, t: Tensor) -> Tensor:
        b = math.atan(math.exp(-self.log_snr_max / 2))
        a = math.atan(math.exp(-self.log_snr_min / 2)) - b
        return -2 * torch.log(torch.tan(a * t + b))

    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Schedule.log_alpha`."""
        return functional.logsigmoid(self._log_snr(t)) / 2

    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Schedule.log_sigma`."""
        return functional.logsigmoid(-self._log_snr(t)) / 2


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """Variance preserving, beta(t) linear from beta_min to beta_max: the limit of DDPM's thousand steps.

    log alpha(t) = -(beta_max - beta_min) t^2 / 4 - beta_min t / 2 (Ho et al., 2020; Song et al., 2021, eq. 33).

    Attributes:
        beta_min: noise rate at t = 0, per unit of time; DDPM's 1e-4 a step, 1000 steps.
        beta_max: noise rate at t = 1; DDPM's 0.02 a step, 1000 steps.

    Raises:
        ValueError: a rate is negative, or both are 0.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        """Refuse rates under which the log-SNR would rise or stand still."""
        if min(self.beta_min, self.beta_max) < 0 or self.beta_min + self.beta_max <= 0:
            msg = f"beta_min and beta_max must be at least 0 and not both 0, got {self.beta_min} and {self.beta_max}"
            raise ValueError(msg)

    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Schedule.log_alpha`."""
        return -(self.beta_max - self.beta_min) / 4 * t**2 - self.beta_min / 2 * t

    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Schedule.log_sigma`."""
        # sigma^2 = 1 - alpha^2, without the subtraction.
        return torch.log(-torch.expm1(2 * self.log_alpha(t))) / 2
