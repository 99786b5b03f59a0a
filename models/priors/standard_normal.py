"""The standard normal prior of diffusions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.randomness import white_noise
from ...degradations import LinearGaussianProcess, SpectralGaussian
from .base import Prior

# How far alpha_1 may be from 0 and sigma_1 from 1 for a standard normal to stand for the marginal at t = 1: a cosine
# schedule that ends at log-SNR -10 leaves alpha_1 = 0.0067.
_TOLERANCE = 0.05


class StandardNormalPrior(Prior):
    """N(0, I), for processes that end in pure noise of unit variance.

    Raises:
        ValueError: the process ends elsewhere; the message says where.
    """

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__(process)
        alpha, sigma = process.alpha(1.0), process.sigma(1.0)
        left, off = alpha.abs().max().item(), (sigma - 1).abs().max().item()
        if not (left <= _TOLERANCE and off <= _TOLERANCE):
            msg = (
                f"{type(process).__name__} does not end in standard normal noise: at t = 1 alpha reaches {left:.3g} and"
                f" sigma lies {off:.3g} away from 1; start from data degraded to t = 1 with"
                " DegradedDataPrior(process, images), or from a Gaussian fitted to it, which keeps no images, with"
                " LowRankGaussianPrior.fit(process, images), or independent in every coefficient with"
                " GaussianPrior(process, estimate_spectrum(process.basis, images))"
            )
            raise ValueError(msg)

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        """See `Prior.sample`."""
        like = torch.empty(0, device=self.process.device)
        return white_noise((count, *self.process.shape), like=like, generator=generator)

    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """See `Prior.log_prob`."""
        square = self._latent(z).square().flatten(1)
        return -(square + math.log(2 * math.pi)).sum(1) / 2

    def divergence(self, q: SpectralGaussian, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        """See `Prior.divergence`; exact, for q in any basis, in each of which N(0, I) looks the same."""
        q = self._widened(q)
        mean = torch.zeros_like(q.spectral_mean)
        return q.kl_divergence(SpectralGaussian(q.basis, mean, mean.new_ones(())))
