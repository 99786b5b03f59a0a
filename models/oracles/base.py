"""What every exact denoiser offers: E[x | z_t], and the density of z_t."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from ...degradations import LinearGaussianProcess
from ...degradations.bases.base import compute_precision
from ...degradations.checks import check_signal
from ...degradations.coefficients import LogCoefficients
from ...degradations.process import Time
from ..denoiser import AbstractDenoiser


class Oracle(AbstractDenoiser, ABC):
    """The posterior mean E[x | z_t] of data whose law is known, hence the best denoiser there is.

    A subclass writes both quantities per coefficient, in the spectrum.

    Args:
        process: the forward process.
    """

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__(process)

    @abstractmethod
    def spectral_mean(self, u_t: Float[Tensor, "batch ..."], at: LogCoefficients) -> Float[Tensor, "batch ..."]:
        """Return E[u | u_t], (batch, *shape), for spectra of latents and the process's coefficients at their times."""

    @abstractmethod
    def spectral_log_prob(self, u_t: Float[Tensor, "batch ..."], at: LogCoefficients) -> Float[Tensor, " batch"]:
        """Return the log-density of u_t in nats, (batch,)."""

    @abstractmethod
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        """Draw `count` independent examples of the data, (count, *shape), float64 where the device has it."""

    def forward(self, z_t: Float[Tensor, "batch ..."], t: Time) -> Float[Tensor, "batch ..."]:
        """Return E[x | z_t], (batch, *shape), in z_t's dtype (float32 for half precision).

        Args:
            z_t: latents, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, or a time outside [0, 1].
        """
        u_t, at = self._spectrum(z_t, t)
        return self.process.basis.inverse(self.spectral_mean(u_t, at).to(compute_precision(z_t).dtype))

    def log_prob(self, z_t: Float[Tensor, "batch ..."], t: Time) -> Float[Tensor, " batch"]:
        """Return the exact log-density of the marginal p(z_t) at latents, in nats, (batch,).

        Args:
            z_t: latents, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, a time outside [0, 1], or z_t has no density (where values are free to read).
        """
        return self.spectral_log_prob(*self._spectrum(z_t, t))

    def _spectrum(self, z_t: Tensor, t: Time) -> tuple[Tensor, LogCoefficients]:
        """Return the latents' spectrum in the schedule's precision, and the coefficients at their times."""
        check_signal("z_t", z_t, self.process.shape)
        times = self.process.as_times(t, batch=len(z_t))
        wide = self.process.in_schedule_dtype(z_t)
        return self.process.basis.forward(wide), self.process.log_coefficients(times)
