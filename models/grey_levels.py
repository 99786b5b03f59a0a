r"""Quantised data: integers 0..L-1, the values that they stand for, and uniform noise that fills the gaps.

Level k stands for the value low + k w, and w = (high - low) / (L - 1) is the width of a level. A density p on all of
R^n says something about such data through the bins of width w around the levels: with U uniform in [0, 1)^n,

    P(x) = int p(x + w (U - 1/2)) w^n dU,    so    -log P(x) <= E[ -log p(x + w (U - 1/2)) ] - n log w,

by Jensen's inequality: a density of dequantised data bounds the probability of the integers (Uria et al., 2013; Theis
et al., 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Integer, Shaped
from torch import Tensor

from ..core.checks import check_instance
from ..core.precision import schedule_dtype
from ..core.randomness import uniform_noise

# low + (high - low) (k / (L - 1)), and the other ways to write it, are off by at most five roundings, each of half an
# eps of the largest of the numbers in it, which is at most twice the larger of |low| and |high|.
_ROUNDINGS = 4.0


@dataclass(frozen=True)
class GreyLevels:
    """The levels of quantised data. Nothing is assumed: 8-bit images scaled to [0, 1] are (256, 0.0, 1.0).

    Values of data are read wherever they are, on an accelerator too: likelihoods are evaluated and not trained. In a
    compiled graph they are not; there, what is not allowed becomes level -1, whose value is NaN.

    Attributes:
        count: number L of levels, at least 2.
        low: value of level 0.
        high: value of level L - 1.

    Raises:
        TypeError: count is not an integer.
        ValueError: count < 2, or low and high are not finite numbers with low < high.
    """

    count: int
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse what has no width."""
        check_instance("count", self.count, int, "256 for 8-bit data")
        if self.count < 2:
            msg = f"count must be at least 2, got {self.count}: 256 for 8-bit data"
            raise ValueError(msg)
        low, high = self.low, self.high
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            msg = f"low and high must be finite numbers with low < high, got low = {low} and high = {high}"
            raise ValueError(msg)

    @classmethod
    def bin_centres(cls, count: int, low: float, high: float) -> GreyLevels:
        """Return levels in the middle of equal bins that fill [low, high], as normalising flows place them.

        8-bit data dequantised to (k + U) / 256 is `GreyLevels.bin_centres(256, 0.0, 1.0)`: its levels have the values
        (k + 1/2) / 256.

        Raises:
            TypeError, ValueError: as the class does.
        """
        ends = cls(count, low, high)
        half = (high - low) / count / 2
        return replace(ends, low=low + half, high=high - half)

    @property
    def width(self) -> float:
        """Distance between neighbouring levels, in the data's units."""
        return (self.high - self.low) / (self.count - 1)

    @property
    def range(self) -> tuple[float, float]:
        """Values of the lowest and the highest level."""
        return self.low, self.high

    def indices(self, x: Shaped[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Return the levels 0..L-1 of data.

        Args:
            x: levels as integers of any dtype, or floating-point values that lie on the levels up to the rounding of
                their dtype (of float32 where they are float64: they may have been computed in that).

        Returns:
            Levels as int64, of the shape of `x`.

        Raises:
            TypeError: `x` is complex, or of a dtype too coarse to tell its levels apart.
            ValueError: a level lies outside 0..L-1, or a value outside [low, high], off the levels, or is NaN.
        """
        check_instance("x", x, Tensor, "torch.as_tensor(...) makes one")
        if x.dtype.is_complex:
            msg = f"x must hold levels as integers or their values as real numbers, got {x.dtype}"
            raise TypeError(msg)
        if not x.dtype.is_floating_point:
            level = x.long()
            allowed = (level >= 0) & (level < self.count)
        else:
            wide = x.to(schedule_dtype(x.device))
            tolerance = self._tolerance(x.dtype)
            level = ((wide - self.low) / self.width).round()
            # NaN is not allowed by any comparison.
            allowed = (level >= 0) & (level < self.count) & ((wide - self._value(level)).abs() <= tolerance)
        if not torch.compiler.is_compiling() and not bool(allowed.all()):
            raise ValueError(self._complaint(x))
        return torch.where(allowed, level, -1).long()

    def values(self, indices: Integer[Tensor, "*shape"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "*shape"]:
        """Return the values of levels, in the data's units.

        Args:
            indices: levels 0..L-1.
            dtype: floating-point dtype of the result, computed in float64 where the device has it.

        Raises:
            TypeError: `indices` are not integers.
            ValueError: a level lies outside 0..L-1 (in a compiled graph its value is NaN).
        """
        if indices.dtype.is_floating_point:
            msg = f"levels are integers, got {indices.dtype}: grey_levels.indices(x) tells the levels of values"
            raise TypeError(msg)
        level = self.indices(indices)
        value = self._value(level.to(schedule_dtype(level.device)))
        return torch.where(level >= 0, value, torch.nan).to(dtype)

    def on_levels(self, x: Shaped[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the values of the checked levels of `x`: float32, or float64 where `x` is.

        Args:
            x: as for `indices`, whose errors it raises.
        """
        return self.values(self.indices(x), torch.float64 if x.dtype == torch.float64 else torch.float32)

    def dequantise(
        self, x: Shaped[Tensor, "*shape"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        """Return data with uniform noise as wide as a level, x + w (U - 1/2).

        Args:
            x: as for `indices`, whose errors it raises.
            generator: source of the noise; torch's default if None. One of another device is used where it lives.

        Returns:
            Float32, or float64 where `x` is.
        """
        values = self.on_levels(x)
        noise = uniform_noise(values.shape, device=values.device, dtype=values.dtype, generator=generator)
        return values + self.width * (noise - 0.5)

    def _value(self, level: Tensor) -> Tensor:
        """Return low + k w in the dtype of `level`, exact to a rounding at both ends."""
        return self.low + (self.high - self.low) * (level / (self.count - 1))

    def _tolerance(self, dtype: torch.dtype) -> float:
        """Return how far rounding may have moved a value of this dtype away from its level.

        Raises:
            TypeError: so far that dequantised data could pass for data on the levels.
        """
        own, tolerance = torch.finfo(dtype).eps, 0.0
        # Float64 data was often computed in float32; to take it for that is safe unless the levels are too close.
        for eps in (max(own, torch.finfo(torch.float32).eps), own):
            tolerance = _ROUNDINGS * eps * max(abs(self.low), abs(self.high))
            if tolerance <= self.width / 4:
                return tolerance
        msg = (
            f"{dtype} is too coarse for {self._described()}: its rounding may reach {tolerance / self.width:.2g} of a"
            " level's width, so that nothing tells whether data lies on them; pass the levels as integers, or values"
            " computed in a finer dtype"
        )
        raise TypeError(msg)

    def _complaint(self, x: Tensor) -> str:
        """Say what is wrong with data of which something is."""
        if not x.dtype.is_floating_point:
            least, most = x.long().min().item(), x.long().max().item()
            return (
                f"integer data must be levels 0 to {self.count - 1}, got {least if least < 0 else most}: declare as"
                " many levels as the data has, or pass the values that they stand for as floating-point numbers"
            )
        if bool(x.isnan().any()):
            return f"x holds NaN in {int(x.isnan().sum())} of {x.numel()} places: repair or drop these examples first"
        wide = x.to(schedule_dtype(x.device))
        least, most = wide.min().item(), wide.max().item()
        tolerance = self._tolerance(x.dtype)
        if least < self.low - tolerance or most > self.high + tolerance:
            half = self.width / 2 + tolerance
            noisy = least >= self.low - half and most <= self.high + half
            remedy = (
                "dequantised already? give the decoder no grey levels"
                if noisy
                else "scale the data to that range, or declare the range that it has"
            )
            return (
                f"data outside the declared range: found {least:.6g} to {most:.6g}, but this is {self._described()};"
                f" {remedy}"
            )
        nearest = self._value(((wide - self.low) / self.width).round())
        worst = int((wide - nearest).abs().argmax())
        value, level = wide.flatten()[worst].item(), nearest.flatten()[worst].item()
        return (
            f"data off its levels: {value:.9g} lies {abs(value - level) / self.width:.3g} of a level's width from the"
            f" nearest of {self._described()}, which is {level:.9g}; dequantised already? give the decoder no"
            " grey levels; other levels? declare those"
        )

    def _described(self) -> str:
        return f"{self.count} levels from {self.low:g} to {self.high:g}"
