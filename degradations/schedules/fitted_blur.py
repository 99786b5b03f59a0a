r"""Blur widths fitted to data, so that every level removes an equal share of its variance.

Blurred by sigma_B, data of variances v_k has the total variance S(sigma_B) = sum_k v_k exp(-lambda_k sigma_B^2). Level
j of K has the width at which S has fallen by the share j / K of what the strongest blur takes away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from ...core.checks import Shape, check_count, check_instance, check_number
from ...core.configuration import Batches, FromData, first_examples
from ..bases import CosineBasis, SeparableBasis
from ..bases.anisotropy import blur_rates
from ..bases.axes import outer_sum
from ..spectra import DataSpectrum, estimate_spectrum
from .blur import TabulatedBlur

_HALVINGS = 80


@dataclass(frozen=True)
class EqualVarianceBlur(FromData):
    """A `TabulatedBlur` whose levels each remove an equal share of the data's variance; see `equal_variance_blur`.

    Attributes:
        maximum: width of the last level, in pixels.
        levels: number of levels, at least 2.
        images: how many of the first examples are looked at.
        boundary: the blur's basis.
        anisotropy: relative width of the blur along each blurred axis, the process's; None where it blurs all alike.
    """

    maximum: float = 24.0
    levels: int = 200
    images: int = 2000
    boundary: type[SeparableBasis] = CosineBasis
    anisotropy: tuple[float, ...] | None = None

    @override
    def fit(self, shape: Shape, data: Batches | None) -> dict[str, Tensor]:
        spectrum = estimate_spectrum(self.boundary(shape), first_examples(self, data, self.images))
        t = torch.arange(1, self.levels + 1, dtype=torch.float64) / self.levels
        blur = equal_variance_blur(spectrum, maximum=self.maximum, levels=self.levels, anisotropy=self.anisotropy)
        return {"widths": blur.width(t)}

    @override
    def build(self, shape: Shape, tensors: Mapping[str, Tensor]) -> TabulatedBlur:
        return TabulatedBlur(tensors["widths"])


def equal_variance_blur(
    spectrum: DataSpectrum, *, maximum: float, levels: int, anisotropy: Sequence[float] | None = None
) -> TabulatedBlur:
    """Return a blur whose levels each remove an equal share of the data's variance.

    Natural images have about the same variance in every octave, so the widths are close to `LogSpacedBlur`'s; but they
    start near 0, and thin out at the widest blurs, where little variance is left.

    Args:
        spectrum: the data's spectrum in a `CosineBasis` (or the basis of whatever boundary the blur has).
        maximum: width of level K, in pixels.
        levels: number K of levels, at least 2.
        anisotropy: relative width of the blur along each blurred axis, the process's; None where it blurs all alike.

    Raises:
        TypeError: the spectrum's basis has no Laplacian eigenvalues.
        ValueError: maximum is not positive, levels < 2, anisotropy does not fit, or blurring takes no variance away.
    """
    check_instance("spectrum", spectrum, DataSpectrum, "estimate_spectrum(CosineBasis(shape), data) makes one")
    basis = check_instance("spectrum.basis", spectrum.basis, SeparableBasis, "such as CosineBasis(shape)")
    check_number("maximum", maximum, "(0, inf)", "pixels")
    check_count("levels", levels, 2)
    rates, variances = _by_rate(outer_sum(blur_rates(basis, anisotropy)), spectrum.variance.double().cpu())

    def removed(widths: Tensor) -> Tensor:
        """Return the variance that each blur has taken away, without cancellation where it is little."""
        return -(torch.expm1(-rates * widths[:, None].square()) * variances).sum(1)

    whole = removed(torch.tensor([maximum], dtype=torch.float64))
    if not bool(whole > 0):
        msg = "blurring takes no variance away from this data: it varies in no coefficient but the constant ones"
        raise ValueError(msg)
    wanted = whole * torch.arange(1, levels + 1, dtype=torch.float64) / levels
    # Bisection on the logarithm of the width; a billionth of the maximum is narrower than any level could be.
    low = torch.full((levels,), math.log(maximum) - 20, dtype=torch.float64)
    high = torch.full((levels,), math.log(maximum), dtype=torch.float64)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = removed(middle.exp()) < wanted
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    widths = high.exp()
    widths[-1] = maximum
    return TabulatedBlur(widths)


def _by_rate(rates: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rates and the data's variance summed over the coefficients of each."""
    rates, group = torch.unique(rates.expand(variance.shape).reshape(-1), return_inverse=True)
    return rates, torch.zeros_like(rates).index_add_(0, group, variance.reshape(-1))
