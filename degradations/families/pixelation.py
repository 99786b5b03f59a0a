r"""Pixelation: blocks of 2, 4, 8, ... pixels melt into their means, scale by scale."""

from __future__ import annotations

from collections.abc import Sequence

from ..bases import HaarBasis
from ..schedules import Schedule
from .sequential_masking import SequentialMasking


class Pixelation(SequentialMasking):
    """Haar wavelets fade from the finest scale to the coarsest; at t = j / scales blocks of 2^j pixels are their means.

    The means of the largest blocks never fade. This project's own process: a coarse-graining of images in the spirit of
    Kadanoff's block spins (1966), kin to wavelet and pyramid generative models.

    Args:
        shape: shape of one signal, such as (3, 32, 32); all axes but the first are coarsened.
        scales: number of scales; None takes as many as every axis divides by two.
        noise: a(t) and sigma(t); `ConstantNoise(0.01)` if None.

    Raises:
        ValueError: an axis is not divisible by 2^scales, or by 2 at all.
    """

    def __init__(self, shape: Sequence[int], *, scales: int | None = None, noise: Schedule | None = None) -> None:
        basis = HaarBasis(shape, scales=scales)
        if basis.scales < 1:
            msg = (
                f"pixelation needs axes that divide by 2 at least once, got shape {tuple(shape)}: pad or crop the data"
            )
            raise ValueError(msg)
        super().__init__(
            basis, (basis.scale_index().double() - 1) / basis.scales, duration=1 / basis.scales, noise=noise
        )
