r"""Spectral diffusion: the signal fades evenly, and the noise has a colour.

    alpha_k(t) = a(t),    sigma_k(t)^2 = sigma(t)^2 C_k.

White noise (C_k = 1) drowns the high frequencies of images first, because these hold little variance. A noise whose
variance follows the data's drowns all at once, and one that overdoes it turns the order around.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance
from ..bases import Basis, FourierBasis, SeparableBasis
from ..process import LinearGaussianProcess, Time
from ..schedules import CosineSchedule, Schedule
from ..spectra import DataSpectrum


class SpectralDiffusion(LinearGaussianProcess):
    """Isotropic signal under noise of a given variance per coefficient.

    Made from its noise's variances, or by `power_law`, `equal_snr` or `flipped_snr`.

    Args:
        basis: the basis; the papers use Fourier.
        noise_variance: C_k > 0, broadcastable to the basis's shape.
        schedule: a(t) and sigma(t); `CosineSchedule()` if None.

    Raises:
        ValueError: a variance is not positive and finite, or the shape does not fit.
    """

    log_noise: Tensor

    def __init__(self, basis: Basis, noise_variance: Float[Tensor, "..."], *, schedule: Schedule | None = None) -> None:
        super().__init__(basis)
        check_instance("noise_variance", noise_variance, Tensor, "torch.ones(()) is white noise")
        variance = noise_variance.detach().to("cpu", torch.float64)
        if not bool(((variance > 0) & variance.isfinite()).all()):
            msg = f"noise_variance must be positive and finite, got values from {variance.min()} to {variance.max()}"
            raise ValueError(msg)
        try:
            variance = variance.expand(basis.shape)
        except RuntimeError:
            msg = f"noise_variance must broadcast to the basis's shape {basis.shape}, got {tuple(variance.shape)}"
            raise ValueError(msg) from None
        self.schedule = schedule or CosineSchedule()
        check_instance("schedule", self.schedule, Schedule, "CosineSchedule() for example")
        self.register_constant("log_noise", variance.log().clone() / 2)

    @override
    def log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        return self.schedule.log_alpha(self.expand_times(t))

    @override
    def log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        return self.schedule.log_sigma(self.expand_times(t)) + self.log_noise

    @classmethod
    def power_law(
        cls, shape: Sequence[int], exponent: float = -0.5, *, schedule: Schedule | None = None
    ) -> SpectralDiffusion:
        """Return noise whose standard deviation is a power of the frequency, w_k = (f_k + f_1)^exponent.

        f_k is the length of the frequency in cycles per pixel and f_1 the lowest one, which keeps the constant's noise
        finite; the mean of w_k^2 is 1. Negative exponents amplify low frequencies (-1 is the slope of natural images'
        amplitudes), 0 is white.

        Source: Scimeca, Jiralerspong, Earnshaw, Hartford & Bengio (2025), Learning what matters: steering diffusion via
        spectrally anisotropic forward noise; offset and normalisation are ours.

        Args:
            shape: shape of one signal, such as (3, 32, 32); all axes but the first are transformed.
            exponent: power of the frequency, for amplitudes.
            schedule: a(t) and sigma(t); `CosineSchedule()` if None.

        Raises:
            ValueError: exponent is not finite.
        """
        if not math.isfinite(exponent):
            msg = f"exponent must be finite (0 is white noise), got {exponent}"
            raise ValueError(msg)
        basis = FourierBasis(shape)
        frequency = basis.laplacian_eigenvalues().sqrt() / (2 * math.pi)
        variance = (frequency + 1 / max(frequency.shape)) ** (2 * exponent)
        return cls(basis, variance / variance.mean(), schedule=schedule)

    @classmethod
    def equal_snr(cls, spectrum: DataSpectrum, *, schedule: Schedule | None = None) -> SpectralDiffusion:
        """Return noise proportional to the data's variance: all coefficients drown at once.

        The signal-to-noise ratio of every coefficient is the mean over coefficients of that under white noise. Source:
        Falck et al. (2025), A Fourier space perspective on diffusion models, EqualSNR.

        Args:
            spectrum: the data's spectrum.
            schedule: a(t) and sigma(t); `CosineSchedule()` if None.

        Raises:
            ValueError: a coefficient does not vary in the data.
        """
        check_instance("spectrum", spectrum, DataSpectrum, "estimate_spectrum(FourierBasis(shape), data) makes one")
        variance = spectrum.require_variance()
        return cls(spectrum.basis, variance / variance.mean(), schedule=schedule)

    @classmethod
    def flipped_snr(cls, spectrum: DataSpectrum, *, schedule: Schedule | None = None) -> SpectralDiffusion:
        """Return noise that gives each frequency the signal-to-noise ratio of its mirror image under white noise.

        C_k = v_k / v_k', k' being the coefficient as far from the highest frequency as k is from the lowest, in the
        order of Laplacian eigenvalues within each channel. Source: Falck et al. (2025), FlippedSNR, a control: low
        frequencies drown first, and the paper could not train it.

        Args:
            spectrum: the data's spectrum, in a basis with Laplacian eigenvalues.
            schedule: a(t) and sigma(t); `CosineSchedule()` if None.

        Raises:
            TypeError: the basis has no Laplacian eigenvalues.
            ValueError: a coefficient does not vary in the data.
        """
        check_instance("spectrum", spectrum, DataSpectrum, "estimate_spectrum(FourierBasis(shape), data) makes one")
        basis = spectrum.basis
        if not isinstance(basis, SeparableBasis):
            msg = f"flipping needs an order of frequencies: a FourierBasis or CosineBasis, got {type(basis).__name__}"
            raise TypeError(msg)
        variance = spectrum.require_variance()
        order = basis.laplacian_eigenvalues().flatten().argsort(stable=True).to(variance.device)
        flat = variance.flatten(-basis.axes)
        mirrored = torch.empty_like(flat)
        mirrored[..., order] = flat[..., order.flip(0)]
        return cls(basis, variance / mirrored.reshape(variance.shape), schedule=schedule)
