"""Schedules that leave the signal alone, alpha = 1, and only add noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_number, check_rising
from .base import Schedule


@dataclass(frozen=True)
class ConstantNoise(Schedule):
    """alpha = 1 and constant sigma: the noise of heat dissipation; 0 is no noise at all, as in cold diffusion.

    Attributes:
        sigma: standard deviation at all times, in the data's units.

    Raises:
        ValueError: sigma is negative or infinite.
    """

    sigma: float = 0.01

    def __post_init__(self) -> None:
        check_number("sigma", self.sigma, "[0, inf)", "a standard deviation in the data's units")

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.zeros_like(t)

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.full_like(t, math.log(self.sigma) if self.sigma else -math.inf)


@dataclass(frozen=True)
class WienerNoise(Schedule):
    """alpha = 1, sigma(t) = sigma sqrt(t): Brownian motion, whose bridges are the best known ones.

    Attributes:
        sigma: standard deviation at t = 1, in the data's units.

    Raises:
        ValueError: sigma is not positive and finite.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        check_number("sigma", self.sigma, "(0, inf)", "a standard deviation in the data's units")

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.zeros_like(t)

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return math.log(self.sigma) + t.log() / 2


@dataclass(frozen=True)
class SymmetricNoise(Schedule):
    """alpha = 1 and noise that grows slowly at both ends: d sigma^2 / dt is b(t) up to t = 1/2, and b(1 - t) after it.

    sqrt b(t) is linear in t, from sqrt(rate_min) towards sqrt(rate_max), half of which way it goes. The schedule of
    image-to-image Schroedinger bridges (Liu et al., 2023) as released, in the limit of many steps.

    Attributes:
        rate_min: b(0), in squared units of the data per unit of time (data in [-1, 1] there).
        rate_max: b(1), which is never reached; 0.3 for deblurring and 1.0 for some other tasks there.

    Raises:
        ValueError: not 0 < rate_min < rate_max.
    """

    rate_min: float = 0.1
    rate_max: float = 0.3

    def __post_init__(self) -> None:
        check_rising("squared units of the data", rate_min=self.rate_min, rate_max=self.rate_max)

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.zeros_like(t)

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        near = torch.where(t > 0.5, 1 - t, t)
        start, slope = math.sqrt(self.rate_min), math.sqrt(self.rate_max) - math.sqrt(self.rate_min)

        def grown(t: Tensor) -> Tensor:
            return t * (start**2 + start * slope * t + slope**2 * t.square() / 3)

        whole = 2 * grown(torch.full_like(t, 0.5))
        return torch.log(torch.where(t > 0.5, whole - grown(near), grown(near))) / 2


@dataclass(frozen=True)
class GeometricNoise(Schedule):
    """Variance exploding: alpha = 1, sigma(t) = sigma_min (sigma_max / sigma_min)^(t / until), sigma_max afterwards.

    Source: Song et al. (2021), with until = 1.

    Attributes:
        sigma_min: standard deviation at t = 0, in the data's units; 0.01 for data in [0, 1].
        sigma_max: standard deviation at t = 1; the paper's value for CIFAR-10 is 50.
        until: the time from which on the noise is constant, in (0, 1].

    Raises:
        ValueError: not 0 < sigma_min < sigma_max, or until outside (0, 1].
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    until: float = 1.0

    def __post_init__(self) -> None:
        check_rising("the data's units", sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        check_number("until", self.until, "(0, 1]", "a time")

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.zeros_like(t)

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return math.log(self.sigma_min) + (t / self.until).clamp(max=1) * math.log(self.sigma_max / self.sigma_min)


@dataclass(frozen=True)
class EDMSchedule(Schedule):
    """alpha = 1, sigma(t) = (sigma_min^(1/rho) + t (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho.

    The time steps of Karras et al. (2022), so that a uniform grid of t is their grid of noise levels.

    Attributes:
        sigma_min: standard deviation at t = 0, in the data's units (data in [-1, 1] there).
        sigma_max: standard deviation at t = 1.
        rho: how much more densely small noise levels are spaced; 1 is linear.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max, or rho is not positive and finite.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        check_rising("the data's units", sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        check_number("rho", self.rho, "(0, inf)", "GeometricNoise is its limit")

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.zeros_like(t)

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return self.rho * torch.log(low + t * (high - low))
