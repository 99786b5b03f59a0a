r"""How wide a blur is at each time: sigma_B(t), the standard deviation of a Gaussian blur in pixels.

A blur of width sigma_B fades the cosine of eigenvalue lambda (pixel^-2) by exp(-lambda sigma_B^2 / 2): it is the heat
equation run for the time sigma_B^2 / 2. All widths are in pixels; `blur_pixels` converts a share of the image's width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count, check_number, check_rising
from ...core.constants import ConstantModule

# A blur four times as wide as the image has long left nothing but the mean.
MOST_WIDTHS = 4.0


class BlurSchedule(ABC):
    """The width of a blur over time, rising from t = 0 to t = 1.

    Attributes:
        levels: number K of levels the schedule is defined on (level k is time k / K), or None where it is continuous.
    """

    levels: int | None = None

    @abstractmethod
    def width(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return sigma_B(t) >= 0 in pixels, of t's shape, never falling in t."""


def blur_pixels(share: float, size: int) -> float:
    """Return in pixels a blur's width that is given as a share of the image's width.

    Args:
        share: standard deviation of the blur in units of the image's width; 0.75 is IHDM's strongest for CIFAR-10.
        size: the image's width, in pixels.

    Raises:
        ValueError: share is not in (0, 4], or size is below 1.
    """
    check_number("share", share, f"(0, {MOST_WIDTHS:g}]", "of the image's width; a width in pixels needs no conversion")
    check_count("size", size, hint="the image's width in pixels")
    return share * size


@dataclass(frozen=True)
class LogSpacedBlur(BlurSchedule):
    """K levels spaced evenly in the logarithm of their width, as in inverse heat dissipation's released settings.

    Level 0 is not blurred. Between levels sigma_B(t) follows the same curve; below level 1 it grows linearly from 0.

    Source: Rissanen, Heinonen & Solin (2023), appendix.

    Attributes:
        minimum: width of level 1, in pixels.
        maximum: width of level K, in pixels.
        levels: K, at least 2.

    Raises:
        ValueError: not 0 < minimum < maximum, or levels < 2.
    """

    minimum: float = 0.5
    maximum: float = 24.0
    # Frozen, so that the narrower type is safe.
    levels: int = 200  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        check_rising("pixels", blur_sigma_min=self.minimum, blur_sigma_max=self.maximum)
        check_count("levels", self.levels, 2, "the weakest and the strongest blur")

    @override
    def width(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        growth = math.log(self.maximum / self.minimum) / (self.levels - 1)
        level = t * self.levels
        return self.minimum * torch.where(level < 1, level, (growth * (level - 1)).exp())


@dataclass(frozen=True)
class SineBlur(BlurSchedule):
    """sigma_B(t) = maximum sin(pi t / 2)^power: blurring diffusion's, with sin^2 as its default.

    Source: Hoogeboom & Salimans (2023), section 4.

    Attributes:
        maximum: width at t = 1, in pixels; 0 does not blur.
        power: 2 starts and ends gently, 1 starts at full speed.

    Raises:
        ValueError: maximum is negative, or power is not positive.
    """

    maximum: float = 20.0
    power: float = 2.0

    def __post_init__(self) -> None:
        check_number("blur_sigma_max", self.maximum, "[0, inf)", "pixels")
        check_number("blur_power", self.power, "(0, inf)", "2 is the paper's sin^2, 1 its sin")

    @override
    def width(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.maximum * torch.sin(math.pi / 2 * t) ** self.power


@dataclass(frozen=True)
class PowerBlur(BlurSchedule):
    """sigma_B(t) = maximum t^power. With power 1/2 every stretch of time blurs alike: repeated equal blurs.

    Attributes:
        maximum: width at t = 1, in pixels; 0 does not blur.
        power: 1/2 is heat flowing at a constant rate, 1 a width that grows at a constant rate.

    Raises:
        ValueError: maximum is negative, or power is below 1/2, where the fade would start infinitely fast.
    """

    maximum: float
    power: float = 0.5

    def __post_init__(self) -> None:
        check_number("blur_sigma_max", self.maximum, "[0, inf)", "pixels")
        check_number("power", self.power, "[0.5, inf)", "0.5 is heat at a constant rate")

    @override
    def width(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.maximum * t**self.power


class TabulatedBlur(ConstantModule, BlurSchedule):
    """Widths of levels 1 to K given one by one; between levels the width's logarithm is linear in t.

    Level 0 is not blurred; below level 1 the width grows linearly from 0.

    Args:
        widths: widths in pixels, positive and rising, at least 2.

    Raises:
        ValueError: there are fewer than 2 widths, or they are not positive, finite and rising.
    """

    log_widths: Tensor

    def __init__(self, widths: Sequence[float] | Float[Tensor, " levels"]) -> None:
        super().__init__()
        table = torch.as_tensor(widths, dtype=torch.float64)
        if table.ndim != 1 or len(table) < 2:
            msg = f"widths must be at least 2 numbers in a row, the blurs of levels 1 to K, got {tuple(table.shape)}"
            raise ValueError(msg)
        if not (bool((table > 0).all()) and bool((table.diff() > 0).all()) and bool(table.isfinite().all())):
            msg = f"widths must be positive, finite and rising (pixels), got {table.tolist()}"
            raise ValueError(msg)
        self.levels = len(table)
        self._range = f"{table[0]:.3g} to {table[-1]:.3g} pixels"
        self.register_constant("log_widths", table.log())

    @override
    def extra_repr(self) -> str:
        return f"{self.levels} levels, {self._range}"

    @override
    def width(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        logs = self.log_widths
        level = t * len(logs)
        # The last level belongs to the interval before it.
        # Clamped as an integer: a NaN, which a wrong time has become on an accelerator, is none, and must not index.
        below = level.detach().floor().long().clamp(1, len(logs) - 1) - 1
        low, high = logs.take(below), logs.take(below + 1)
        return torch.where(level < 1, level * logs[0].exp(), (low + (level - 1 - below) * (high - low)).exp())


def repeated_blur(widths: Sequence[float] | Float[Tensor, " levels"]) -> TabulatedBlur:
    """Return the blur whose level k has been convolved with Gaussians of the first k of `widths`, one after the other.

    Variances of blurs add up: sigma_B at level k is sqrt(widths[0]^2 + ... + widths[k-1]^2).

    Args:
        widths: width of each single blur in pixels, positive, at least 2.

    Raises:
        ValueError: there are fewer than 2 widths, or one is not positive and finite.
    """
    single = torch.as_tensor(widths, dtype=torch.float64)
    if not bool(((single > 0) & single.isfinite()).all()):
        msg = f"widths must be positive and finite (pixels), got {single.tolist()}"
        raise ValueError(msg)
    return TabulatedBlur(single.square().cumsum(0).sqrt())
