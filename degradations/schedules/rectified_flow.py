"""Straight lines from data to noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_number
from .base import Schedule


@dataclass(frozen=True)
class RectifiedFlowSchedule(Schedule):
    """alpha = 1 - t, sigma = t: straight lines from data to noise (Liu, Gong & Liu, 2023; Lipman et al., 2023).

    Time runs from data to noise here, as everywhere in unmelt; flow matching papers mostly count the other way.

    Attributes:
        shift: with s the shift, sigma = s t / (1 + (s - 1) t): more time is spent in noise, for larger images
            (Esser et al., 2024: the square root of the ratio of pixels); 1 is the plain schedule.

    Raises:
        ValueError: shift is not positive.
    """

    shift: float = 1.0

    def __post_init__(self) -> None:
        check_number("shift", self.shift, "(0, inf)", "1 is the plain schedule")

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.log1p(-t) - torch.log1p((self.shift - 1) * t)

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch.log(self.shift * t) - torch.log1p((self.shift - 1) * t)
