r"""Spectra of noise: a basis, and the variance C_k of each coefficient of the noise relative to white noise.

White noise (C_k = 1) drowns the high frequencies of images first, because these hold little variance. A noise whose
variance follows the data's drowns all at once, and one that overdoes it turns the order around.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core.checks import Shape, check_instance, check_number
from ..core.configuration import FromData
from ..core.makers import made
from .bases import Basis, FourierBasis, LaplacianBasis
from .spectra import DataSpectrum


class NoiseVariances(NamedTuple):
    """A basis and the noise's variances in it.

    Attributes:
        basis: the basis.
        variance: C_k > 0, broadcastable to the basis's shape.
    """

    basis: Basis
    variance: Float[Tensor, "..."]


class NoiseSpectrum(ABC):
    """The colour of a noise. A subclass is a frozen value that writes `variances`."""

    @abstractmethod
    def variances(self, shape: Shape) -> NoiseVariances:
        """Return the basis and the noise's variances in it, for signals of `shape`."""


@dataclass(frozen=True)
class PowerLaw(NoiseSpectrum):
    """Noise whose standard deviation is a power of the frequency, w_k = (f_k + f_1)^exponent, in a Fourier basis.

    f_k is the length of the frequency in cycles per pixel and f_1 the lowest one, which keeps the constant's noise
    finite; the mean of w_k^2 is 1.

    Source: Scimeca, Jiralerspong, Earnshaw, Hartford & Bengio (2025), Learning what matters: steering diffusion via
    spectrally anisotropic forward noise; offset and normalisation are ours.

    Attributes:
        exponent: power of the frequency, for amplitudes. Negative ones amplify low frequencies (-1 is the slope of
            natural images' amplitudes), 0 is white.

    Raises:
        ValueError: exponent is not finite.
    """

    exponent: float = -0.5

    def __post_init__(self) -> None:
        check_number("exponent", self.exponent, "(-inf, inf)", "0 is white noise")

    @override
    def variances(self, shape: Shape) -> NoiseVariances:
        basis = FourierBasis(shape)
        frequency = basis.laplacian_eigenvalues().sqrt() / (2 * math.pi)
        variance = (frequency + 1 / max(frequency.shape)) ** (2 * self.exponent)
        return NoiseVariances(basis, variance / variance.mean())


@dataclass(frozen=True)
class GivenVariance(NoiseSpectrum):
    """Noise of given variances in a given basis.

    Attributes:
        basis: the basis, or what makes it from a shape, such as the class `FourierBasis`.
        variance: C_k > 0, broadcastable to the basis's shape.
    """

    basis: Basis | Callable[[Shape], Basis] | FromData
    variance: Float[Tensor, "..."] | FromData

    def __repr__(self) -> str:
        known = f"of shape {tuple(self.variance.shape)}" if isinstance(self.variance, Tensor) else self.variance
        return f"GivenVariance(basis={self.basis}, variance {known})"

    @override
    def variances(self, shape: Shape) -> NoiseVariances:
        basis = made("basis", self.basis, shape, Basis, "FourierBasis for example")
        return NoiseVariances(basis, check_instance("variance", self.variance, Tensor, "torch.ones(()) is white noise"))


@dataclass(frozen=True)
class EqualSNR(NoiseSpectrum):
    """Noise proportional to the data's variance: all coefficients drown at once.

    The signal-to-noise ratio of every coefficient is the mean over coefficients of that under white noise. Source:
    Falck et al. (2025), A Fourier space perspective on diffusion models, EqualSNR.

    Attributes:
        spectrum: the data's spectrum, or how it is fitted, for `unmelt.core.resolve`; `variances` raises a ValueError
            if a coefficient does not vary in it.
    """

    spectrum: DataSpectrum | FromData

    @override
    def variances(self, shape: Shape) -> NoiseVariances:
        spectrum = _known(self.spectrum)
        variance = spectrum.require_variance()
        return NoiseVariances(spectrum.basis, variance / variance.mean())


@dataclass(frozen=True)
class FlippedSNR(NoiseSpectrum):
    """Noise that gives each frequency the signal-to-noise ratio of its mirror image under white noise.

    C_k = v_k / v_k', k' being the coefficient as far from the highest frequency as k is from the lowest, in the
    order of Laplacian eigenvalues within each channel. Source: Falck et al. (2025), FlippedSNR, a control: low
    frequencies drown first, and the paper could not train it.

    Attributes:
        spectrum: likewise, in a basis with Laplacian eigenvalues; `variances` raises a TypeError in any other, and a
            ValueError if a coefficient does not vary.
    """

    spectrum: DataSpectrum | FromData

    @override
    def variances(self, shape: Shape) -> NoiseVariances:
        spectrum = _known(self.spectrum)
        basis = check_instance("spectrum.basis", spectrum.basis, LaplacianBasis, "such as FourierBasis(shape)")
        variance = spectrum.require_variance()
        order = basis.laplacian_eigenvalues().flatten().argsort(stable=True).to(variance.device)
        flat = variance.flatten(-basis.axes)
        mirrored = torch.empty_like(flat)
        mirrored[..., order] = flat[..., order.flip(0)]
        return NoiseVariances(basis, variance / mirrored.reshape(variance.shape))


def _known(spectrum: DataSpectrum | FromData) -> DataSpectrum:
    remedy = "estimate_spectrum(FourierBasis(shape), data) makes one, resolve(...) all FittedSpectrum inside a value"
    return check_instance("spectrum", spectrum, DataSpectrum, remedy)
