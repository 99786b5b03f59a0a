r"""The Gaussian prior: the marginal's own mean and variance, per coefficient.

Data whose coefficients have mean m and variance v has at t = 1 the mean alpha_1 m and the variance
alpha_1^2 v + sigma_1^2, whatever their distribution. The Gaussian with these two is, of all Gaussians independent per
coefficient, the one nearest to the marginal in KL(marginal || prior).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import broadcast_to, check_instance
from ...degradations import DataSpectrum, LinearGaussianProcess, SpectralGaussian, estimate_spectrum
from .base import Prior
from .blocks import Data, blocks, check_data


class GaussianPrior(Prior):
    """A Gaussian, independent in each coefficient: fitted, N(alpha_1 m, alpha_1^2 v + sigma_1^2).

    With m and v the mean and variance of the data's coefficients it has those of the marginal at t = 1. It is exact for
    Gaussian data whose coefficients are uncorrelated, and good wherever the process leaves little signal. Red, green
    and blue are correlated: after heat, which leaves the mean colour, use a basis whose channels are rotated
    (`opponent_colours`, or `PCABasis` of the channels), or `LowRankGaussianPrior`. The process's noise is part
    of what was fitted: where it is learned, fit it again.

    Args:
        process: the forward process.
        spectral_mean: mean of every coefficient at t = 1 in the data's units, broadcastable to the process's shape.
        spectral_stddev: their standard deviation at t = 1, at least 0, likewise.

    Raises:
        ValueError: a number is not finite, a standard deviation is negative, or a shape does not fit.
    """

    tables = ("spectral_mean", "spectral_stddev")
    spectral_mean: Tensor
    spectral_stddev: Tensor

    def __init__(
        self,
        process: LinearGaussianProcess,
        spectral_mean: Float[Tensor, "..."],
        spectral_stddev: Float[Tensor, "..."],
    ) -> None:
        super().__init__(process)
        # Not `register_constant`: these are fitted, and a run is restored from its state_dict.
        for name, table in zip(self.tables, (spectral_mean, spectral_stddev), strict=True):
            broadcast_to(name, table, process.shape, "one signal's")
            whole = process.to_schedule_dtype(table.detach()).expand(process.shape).clone()
            if not bool(whole.isfinite().all()):
                msg = f"{name} must be finite: the data hold NaN or infinity, or the tables were spoilt"
                raise ValueError(msg)
            self.register_buffer(name, whole)
        if bool((self.spectral_stddev < 0).any()):
            msg = f"spectral_stddev must be at least 0, got {self.spectral_stddev.min().item():g}"
            raise ValueError(msg)

    @classmethod
    def fit(cls, process: LinearGaussianProcess, data: Data) -> GaussianPrior:
        """Return the prior with mean and variance of `data` degraded to t = 1, gone through once."""
        check_data(process, data)
        return cls.of_spectrum(process, estimate_spectrum(process.basis, blocks(process, data)))

    @classmethod
    def of_spectrum(cls, process: LinearGaussianProcess, spectrum: DataSpectrum) -> GaussianPrior:
        """Return the prior of data with this spectrum in the process's basis.

        Raises:
            TypeError: `spectrum` is not a `DataSpectrum`.
            ValueError: the spectrum is in another basis.
        """
        check_instance("spectrum", spectrum, DataSpectrum, "estimate_spectrum(process.basis, data) makes one")
        if not process.basis.agrees_with(spectrum.basis):
            msg = (
                f"the spectrum is one of {type(spectrum.basis).__name__}{spectrum.basis.shape}, but the process is "
                f"diagonal in {type(process.basis).__name__}{process.shape}: use estimate_spectrum(process.basis, x)"
            )
            raise ValueError(msg)
        last = process.at(1.0)
        mean, variance = (process.to_schedule_dtype(table) for table in (spectrum.mean, spectrum.variance))
        variance = last.alpha[0].square() * variance + last.sigma[0].square()
        return cls(process, last.alpha[0] * mean, variance.sqrt())

    def gaussian(self, count: int = 1) -> SpectralGaussian:
        """Return the prior as a batch of `count` equal Gaussians, in float64 where the device has it."""
        return self._gaussian(count, self.spectral_mean.dtype)

    @override
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        return self._gaussian(count, torch.float32).sample(generator=generator)

    @override
    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        # There is no density where a coefficient has neither variance nor noise.
        return self.gaussian(len(z)).log_prob(self._latent(z))

    @override
    def divergence(self, q: SpectralGaussian, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        q = self._widened(q)
        return q.kl_divergence(self.gaussian(len(q.spectral_mean)))

    def _gaussian(self, count: int, dtype: torch.dtype) -> SpectralGaussian:
        mean = self.spectral_mean.to(dtype).expand(count, *self.process.shape)
        return SpectralGaussian(self.process.basis, mean, self.spectral_stddev)
