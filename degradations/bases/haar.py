r"""The Haar basis: averages and differences of blocks of 2, 4, 8, ... pixels.

One level replaces pairs of neighbours a, b along an axis by (a + b) / sqrt(2) and (a - b) / sqrt(2). It is done once
along every transformed axis; the next level goes on with the block of sums alone (the nonstandard decomposition).
After j scales the sums are 2^(-jd/2) times the sum over blocks of 2^j pixels along each of d axes. The layout is the
usual pyramid, for two axes and two scales

    A D 1 1
    D D 1 1
    1 1 1 1
    1 1 1 1

with the finest differences 1, the next ones D and the last sums A. Setting the differences of the j finest scales to
zero replaces every block of 2^j pixels along each axis by its mean.

Source: Mallat (1989), A theory for multiresolution signal decomposition; Stollnitz, DeRose & Salesin (1995).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import EllipsisType

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from typing_extensions import override

from .axes import trailing_axes
from .base import Basis


class HaarBasis(Basis):
    """Orthonormal Haar wavelets over the last one, two or three axes; leading axes (channels) are left alone.

    Args:
        shape: shape of one signal, such as (3, 32, 32).
        axes: how many trailing axes are transformed; None means all but the first, or the only one.
        scales: how often the sums are split; None means as often as every transformed axis divides by two, which
            is not at all if one of them is odd.

    Raises:
        ValueError: `axes` is not 1, 2 or 3 or exceeds the number of axes; `scales` is negative, or a transformed
            axis is not divisible by 2^scales.
    """

    def __init__(self, shape: Sequence[int], axes: int | None = None, scales: int | None = None) -> None:
        super().__init__(shape)
        self.axes = trailing_axes(self.shape, axes)
        sizes = self.shape[-self.axes :]
        # The number of times that all sizes divide by two is that of their greatest common divisor: its last zeros.
        common = math.gcd(*sizes)
        most = (common & -common).bit_length() - 1
        self.scales = most if scales is None else scales
        if not 0 <= self.scales <= most:
            msg = (
                f"scales must be between 0 and {most} for axes of sizes {sizes}, got {self.scales}: every transformed"
                " axis must be divisible by 2^scales (None splits as often as possible; padding allows more)"
            )
            raise ValueError(msg)

    @override
    def agrees_with(self, other: nn.Module) -> bool:
        return (
            super().agrees_with(other)
            and isinstance(other, HaarBasis)
            and (self.axes, self.scales) == (other.axes, other.scales)
        )

    def scale_index(self) -> Int64[Tensor, "..."]:
        """Return every coefficient's scale, of the transformed axes' shape.

        Scale j = 1 is that of the finest differences, between single pixels, `scales` that of the coarsest, and
        `scales` + 1 that of the sums.
        """
        scales = torch.ones(self.shape[-self.axes :], dtype=torch.int64)
        for level in range(1, self.scales + 1):
            scales[self._corner(level)] = level + 1
        return scales

    @override
    def analyse(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        u = x.clone()
        for level in range(self.scales):
            sums = u[self._corner(level)]
            for axis in range(-self.axes, 0):
                even, odd = sums.unflatten(axis, (-1, 2)).unbind(axis)
                sums = math.sqrt(0.5) * torch.cat([even + odd, even - odd], axis)
            u[self._corner(level)] = sums
        return u

    @override
    def synthesise(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        x = u.clone()
        for level in reversed(range(self.scales)):
            sums = x[self._corner(level)]
            for axis in range(-self.axes, 0):
                total, difference = sums.chunk(2, axis)
                pairs = torch.stack([total + difference, total - difference], axis)
                sums = math.sqrt(0.5) * pairs.flatten(axis - 1, axis)
            x[self._corner(level)] = sums
        return x

    def _corner(self, level: int) -> tuple[EllipsisType | slice, ...]:
        """Return the index of the sums that `level` scales leave."""
        return (..., *(slice(size >> level) for size in self.shape[-self.axes :]))
