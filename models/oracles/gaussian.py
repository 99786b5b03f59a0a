r"""The Wiener filter: the exact denoiser of Gaussian data.

For u ~ N(m, v), independent per coefficient, u_t = alpha u + sigma noise is N(alpha m, alpha^2 v + sigma^2) and

    E[u | u_t]   = m + alpha v / (alpha^2 v + sigma^2) (u_t - alpha m)      (Wiener, 1949),
    Var(u | u_t) = v sigma^2 / (alpha^2 v + sigma^2).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import broadcast_to, check_not_negative
from ...degradations import DataSpectrum, Level, LinearGaussianProcess, SpectralGaussian
from .base import Oracle


class GaussianOracle(Oracle):
    """Exact denoiser for u ~ N(mean, diag(variance)) in the process's basis.

    Args:
        process: the forward process.
        mean: mean of every coefficient, broadcastable to the process's shape.
        variance: variance of every coefficient, >= 0, likewise; 0 is a coefficient that is known.

    Raises:
        ValueError: a variance is negative or infinite, or a shape does not fit.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self, process: LinearGaussianProcess, mean: Float[Tensor, "..."], variance: Float[Tensor, "..."]
    ) -> None:
        super().__init__(process)
        check_not_negative("variance", variance)
        for name, value in (("mean", mean), ("variance", variance)):
            broadcast_to(name, value, process.shape, "one signal's")
            table = process.to_schedule_dtype(value.detach()).expand(process.shape)
            self.register_buffer(name, table.clone(), persistent=False)

    @classmethod
    def of_spectrum(cls, process: LinearGaussianProcess, spectrum: DataSpectrum) -> GaussianOracle:
        """Return the oracle of Gaussian data with the spectrum of a data set, in the process's basis."""
        return cls(process, spectrum.mean, spectrum.variance)

    def marginal(self, at: Level, batch: int) -> SpectralGaussian:
        """Return p(z_t) as a batch of equal Gaussians, for the process's coefficients at its times."""
        mean = (at.log_alpha.exp() * self.mean).expand(batch, *self.process.shape)
        return SpectralGaussian(self.process.basis, mean, (self._log_variance(at) / 2).exp())

    @override
    def spectral_mean(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, "batch ..."]:
        log_variance = self._log_variance(at)
        gain = (at.log_alpha + self.variance.log() - log_variance).exp()
        # Without variance and noise there is nothing to learn from u_t that is not known.
        gain = torch.where(log_variance == -torch.inf, 0.0, gain)
        return self.mean + gain * (u_t - at.log_alpha.exp() * self.mean)

    @override
    def spectral_variance(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, "batch ..."]:
        log_variance = self._log_variance(at)
        variance = (self.variance.log() + 2 * at.log_sigma - log_variance).exp()
        # Without noise and either signal or variance, u_t tells nothing that is not known.
        return torch.where(log_variance == -torch.inf, self.variance, variance).expand_as(u_t)

    @override
    def spectral_log_prob(self, u_t: Float[Tensor, "batch ..."], at: Level) -> Float[Tensor, " batch"]:
        return self.marginal(at, len(u_t)).log_prob(self.process.basis.inverse(u_t))

    @override
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        mean = self.mean.expand(count, *self.process.shape)
        return SpectralGaussian(self.process.basis, mean, self.variance.sqrt()).sample(generator=generator)

    def _log_variance(self, at: Level) -> Tensor:
        """Return log(alpha^2 v + sigma^2), broadcastable to (batch, *shape)."""
        return torch.logaddexp(2 * at.log_alpha + self.variance.log(), 2 * at.log_sigma)
