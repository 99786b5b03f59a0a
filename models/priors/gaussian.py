r"""The Gaussian prior: the marginal's own mean and variance, per coefficient.

Data whose coefficients have mean m and variance v has at t = 1 the mean alpha_1 m and the variance
alpha_1^2 v + sigma_1^2, whatever its law. The Gaussian with these two is, of all Gaussians independent per
coefficient, the one nearest to the marginal in KL(marginal || prior).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_instance
from ...degradations import DataSpectrum, LinearGaussianProcess, SpectralGaussian
from .base import Prior


class GaussianPrior(Prior):
    """A Gaussian fitted to degraded data, independent in each coefficient: N(alpha_1 m, alpha_1^2 v + sigma_1^2).

    With m and v the mean and variance of the data's coefficients it has those of the marginal at t = 1, and needs no
    training images: its two tables, in float64 where the device has it, are its `state_dict`. It is exact for Gaussian
    data whose coefficients are uncorrelated, and good wherever the process leaves little signal. Red, green and blue
    are correlated: after heat, which leaves the mean colour, use a basis whose channels are rotated
    (`opponent_colours`, or `PCABasis` of the channels), or `DegradedDataPrior`.

    Args:
        process: the forward process.
        spectrum: the data's spectrum in the process's basis; see `estimate_spectrum`.

    Raises:
        TypeError: `spectrum` is not a `DataSpectrum`.
        ValueError: the spectrum is in another basis.
    """

    spectral_mean: Tensor
    spectral_stddev: Tensor

    def __init__(self, process: LinearGaussianProcess, spectrum: DataSpectrum) -> None:
        super().__init__(process)
        check_instance("spectrum", spectrum, DataSpectrum, "estimate_spectrum(process.basis, data) makes one")
        if not process.basis.agrees_with(spectrum.basis):
            msg = (
                f"the spectrum is one of {type(spectrum.basis).__name__}{spectrum.basis.shape}, but the process is "
                f"diagonal in {type(process.basis).__name__}{process.shape}: use estimate_spectrum(process.basis, x)"
            )
            raise ValueError(msg)
        alpha, sigma = process.alpha(1.0)[0], process.sigma(1.0)[0]
        mean = alpha * process.to_schedule_dtype(spectrum.mean)
        variance = alpha.square() * process.to_schedule_dtype(spectrum.variance) + sigma.square()
        # Not `register_constant`: these are fitted, and a run is restored from its state_dict.
        self.register_buffer("spectral_mean", mean.expand(process.shape).clone())
        self.register_buffer("spectral_stddev", variance.sqrt().expand(process.shape).clone())

    def law(self, count: int = 1) -> SpectralGaussian:
        """Return the prior as a batch of `count` equal Gaussians, in float64 where the device has it."""
        return self._law(count, self.spectral_mean.dtype)

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        """See `Prior.sample`."""
        return self._law(count, torch.float32).sample(generator=generator)

    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """See `Prior.log_prob`; there is no density where a coefficient has neither variance nor noise."""
        return self.law(len(z)).log_prob(self._latent(z))

    def divergence(self, q: SpectralGaussian, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        """See `Prior.divergence`; exact.

        Raises:
            ValueError: as there, or `q` is diagonal in another basis.
        """
        q = self._widened(q)
        return q.kl_divergence(self.law(len(q.spectral_mean)))

    def _law(self, count: int, dtype: torch.dtype) -> SpectralGaussian:
        mean = self.spectral_mean.to(dtype).expand(count, *self.process.shape)
        return SpectralGaussian(self.process.basis, mean, self.spectral_stddev)
