"""Schedules of processes that revert to a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance, check_number, check_rising
from .base import Schedule


@dataclass(frozen=True)
class OUVESchedule(Schedule):
    """alpha(t) = exp(-gamma t), under noise that enters at a rate growing geometrically.

    With r = log(sigma_max / sigma_min), sigma(t)^2 = sigma_min^2 r (e^(2 r t) - e^(-2 gamma t)) / (gamma + r): the
    Ornstein-Uhlenbeck process of SGMSE and SGMSE+ (Welker, Richter & Gerkmann, 2022; Richter et al., 2023), whose
    released default is this one's.

    Attributes:
        stiffness: gamma, per unit of time.
        sigma_min: scale of the noise that enters at t = 0, in the data's units.
        sigma_max: at t = 1.

    Raises:
        ValueError: the stiffness is not positive, or not 0 < sigma_min < sigma_max.
    """

    stiffness: float = 1.5
    sigma_min: float = 0.05
    sigma_max: float = 0.5

    def __post_init__(self) -> None:
        check_number("stiffness", self.stiffness, "(0, inf)", "per unit of time")
        check_rising("the data's units", sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return -self.stiffness * t

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        rate = math.log(self.sigma_max / self.sigma_min)
        grown = torch.log(torch.expm1(2 * (self.stiffness + rate) * t))
        return math.log(self.sigma_min) - self.stiffness * t + (grown + math.log(rate / (self.stiffness + rate))) / 2


@dataclass(frozen=True)
class ScaledNoise(Schedule):
    """Another schedule with all of its noise multiplied by one number.

    Of a variance-preserving schedule with alpha = exp(-theta) it has sigma^2 = factor^2 (1 - exp(-2 theta)): a process
    that reverts to a mean and keeps noise of that standard deviation (Luo et al., 2023, IR-SDE, where it is
    10 / 255 for data in [0, 1]).

    Attributes:
        schedule: the other schedule.
        factor: by which sigma is multiplied.

    Raises:
        ValueError: the factor is not positive.
    """

    schedule: Schedule
    factor: float

    def __post_init__(self) -> None:
        check_instance("schedule", self.schedule, Schedule, "LinearSchedule() for example")
        check_number("factor", self.factor, "(0, inf)", "the standard deviation that noise ends in")

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.schedule.log_alpha(t)

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.schedule.log_sigma(t) + math.log(self.factor)
