"""The schedule of residual shifting."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count, check_number, check_rising
from .base import Schedule


@dataclass(frozen=True)
class ResidualShiftSchedule(Schedule):
    """alpha(t) = 1 - eta(t), sigma(t) = kappa sqrt(eta(t)), eta growing from level 1 to level K.

    sqrt(eta) of level k is geometric in ((k - 1) / (K - 1))^power, from noise of `noise_min` to eta = `eta_max`; level
    0 is the data, and below level 1 sqrt(eta) grows linearly. Source: Yue, Wang & Loy (2023), ResShift, section 2.2,
    and the released settings for real images, whose largest sqrt(eta) is 0.99.

    Attributes:
        kappa: noise over the shift, in the data's units.
        noise_min: standard deviation of level 1's noise, in the data's units.
        eta_max: share of the residual at level K; 1 would leave nothing of the data.
        power: below 1 the first levels are spaced widely.
        levels: K, at least 2.

    Raises:
        ValueError: kappa or power is not positive, the shares do not rise within (0, 1), or levels < 2.
    """

    kappa: float = 2.0
    noise_min: float = 0.04
    eta_max: float = 0.99**2
    power: float = 0.3
    # Frozen, so that the narrower type is safe.
    levels: int = 15  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        check_number("kappa", self.kappa, "(0, inf)", "a standard deviation in the data's units")
        check_number("power", self.power, "(0, inf)", "0.3 in the paper")
        check_number("eta_max", self.eta_max, "(0, 1)", "a share of the residual")
        check_count("levels", self.levels, 2, "the least and the largest shift")
        check_rising("shares", first_share=self._first**2, eta_max=self.eta_max)

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.log1p(-(2 * self._log_root(t)).exp())

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return math.log(self.kappa) + self._log_root(t)

    @property
    def _first(self) -> float:
        """sqrt(eta) of level 1."""
        return min(self.noise_min / self.kappa, self.noise_min)

    def _log_root(self, t: Tensor) -> Tensor:
        """Return log sqrt(eta(t))."""
        level = t * self.levels
        # Not below level 1, where a power of a negative number is none.
        beyond = torch.where(level > 1, level - 1, 1.0) / (self.levels - 1)
        growth = beyond**self.power * math.log(math.sqrt(self.eta_max) / self._first)
        return math.log(self._first) + torch.where(level > 1, growth, level.log())
