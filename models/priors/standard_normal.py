"""The standard normal prior of diffusions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.randomness import white_noise
from ...degradations import LinearGaussianProcess, SpectralGaussian
from .base import Prior
from .blocks import Data

# How far alpha_1 may be from 0 and sigma_1 from 1 for a standard normal to stand for the marginal at t = 1: a cosine
# schedule that ends at log-SNR -10 leaves alpha_1 = 0.0067.
_TOLERANCE = 0.05


class StandardNormalPrior(Prior):
    """N(0, I), for processes that end in pure noise of unit variance.

    Args:
        process: the process.
        tolerance: how far alpha_1 may be from 0 and sigma_1 from 1. Stable Diffusion's schedule leaves alpha_1 = 0.068
            and is sampled from white noise all the same: 0.1 allows that.

    Raises:
        ValueError: the process ends elsewhere; the message says where.
    """

    def __init__(self, process: LinearGaussianProcess, *, tolerance: float = _TOLERANCE) -> None:
        super().__init__(process)
        if process.known_end and not ends_in_standard_normal(process):
            msg = (
                f"{process.called} does not end in standard normal noise, but in a known signal y: take"
                " KnownEndPrior(process), which samplers and bounds take by themselves, and pass given=y"
            )
            raise ValueError(msg)
        left, off = _distance(process)
        if not max(left, off) <= tolerance:
            msg = (
                f"{process.called} does not end in standard normal noise: at t = 1 alpha reaches {left:.3g} and"
                f" sigma lies {off:.3g} away from 1; fit a prior to data degraded to t = 1: a Gaussian, with"
                " LowRankGaussianPrior.fit(process, images), one independent in every coefficient, with"
                " GaussianPrior.fit(process, images), or the degraded images themselves, with"
                " DegradedDataPrior.fit(process, images); or, if the model is sampled from white noise all the same,"
                " StandardNormalPrior(process, tolerance=0.1)"
            )
            raise ValueError(msg)

    @classmethod
    def fit(cls, process: LinearGaussianProcess, data: Data) -> StandardNormalPrior:
        """Return the prior of a process; it needs none of the data."""
        del data
        return cls(process)

    @override
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        like = torch.empty(0, device=self.process.device)
        return white_noise((count, *self.process.shape), like=like, generator=generator)

    @override
    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        square = self._latent(z).square().flatten(1)
        return -(square + math.log(2 * math.pi)).sum(1) / 2

    @override
    def divergence(self, q: SpectralGaussian, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        """Return the exact KL(q || prior), for q in any basis, in each of which N(0, I) looks the same."""
        q = self._widened(q)
        mean = torch.zeros_like(q.spectral_mean)
        return q.kl_divergence(SpectralGaussian(q.basis, mean, mean.new_ones(())))


def ends_in_standard_normal(process: LinearGaussianProcess) -> bool:
    """Tell whether a standard normal stands for the process's marginal at t = 1."""
    return max(_distance(process)) <= _TOLERANCE


def _distance(process: LinearGaussianProcess) -> tuple[float, float]:
    """Return the largest alpha_1, and how far a sigma_1 is from 1."""
    last = process.at(1.0)
    return last.alpha.max().item(), (last.sigma - 1).abs().max().item()
