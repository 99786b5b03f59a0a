r"""Spectral diffusion: the signal fades evenly, and the noise has a colour.

    alpha_k(t) = a(t),    sigma_k(t)^2 = sigma(t)^2 C_k,

C_k being the noise's variance relative to white noise (`noise_spectra.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import as_shape, broadcast_to, check_instance
from ..noise_spectra import NoiseSpectrum, PowerLaw
from ..process import LinearGaussianProcess, Time
from ..schedules import CosineSchedule, Schedule


class SpectralDiffusion(LinearGaussianProcess):
    """Isotropic signal under noise of a given variance per coefficient.

    Args:
        shape: shape of one signal, such as (3, 32, 32).
        noise: the noise's spectrum: `PowerLaw(exponent)`, `EqualSNR(spectrum)`, `FlippedSNR(spectrum)` or
            `GivenVariance(basis, variance)`; it names the basis.
        schedule: a(t) and sigma(t); `CosineSchedule()` if None.

    Raises:
        ValueError: a variance is not positive and finite, or the shape does not fit.
    """

    log_noise: Tensor

    def __init__(
        self, shape: Sequence[int], noise: NoiseSpectrum | None = None, *, schedule: Schedule | None = None
    ) -> None:
        shape, noise = as_shape(shape), noise or PowerLaw()
        check_instance("noise", noise, NoiseSpectrum, "PowerLaw(exponent=-0.5) for example")
        basis, variance = noise.variances(shape)
        # Its words alone: a spectrum has tensors, which would stay behind when the process moves to a GPU.
        self._noise = str(noise)
        super().__init__(basis)
        if basis.shape != shape:
            msg = f"noise must have a spectrum of signals of shape {shape}, got one of {basis.shape}"
            raise ValueError(msg)
        variance = variance.detach().to("cpu", torch.float64)
        if not bool(((variance > 0) & variance.isfinite()).all()):
            msg = f"the noise's variance must be positive and finite, got {variance.min()} to {variance.max()}"
            raise ValueError(msg)
        variance = broadcast_to("the noise's variance", variance, shape, "the basis's")
        self.schedule = schedule or CosineSchedule()
        check_instance("schedule", self.schedule, Schedule, "CosineSchedule() for example")
        # A subclass may have levels of its own.
        if self.schedule.levels is not None:
            self.levels = self.schedule.levels
        self.register_constant("log_noise", variance.log().clone() / 2)

    @override
    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, noise={self._noise}, schedule={self.schedule}"

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
        """Return noise whose standard deviation is a power of the frequency: `noise=PowerLaw(exponent)`."""
        return cls(shape, PowerLaw(exponent), schedule=schedule)
