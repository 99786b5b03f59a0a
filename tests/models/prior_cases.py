"""Priors of every kind, the processes and Gaussians they are tried on, and points to integrate over."""

import math

import pytest
import torch
from dense_reference import covariance_of
from torch.distributions import MultivariateNormal

from unmelt.degradations import (
    CosineBasis,
    DataSpectrum,
    HeatDissipation,
    IsotropicDiffusion,
    LinearGaussianProcess,
    SpectralGaussian,
)
from unmelt.models import (
    DegradedDataPrior,
    EmpiricalOracle,
    GaussianPrior,
    LowRankGaussianPrior,
    OraclePrior,
    StandardNormalPrior,
)
from unmelt.testing.strategies import random_images

SHAPE = (2, 6, 5)
N = 60


class Rough(LinearGaussianProcess):
    """Signal that fades and noise that grows with frequency: a kernel that is no ball."""

    def __init__(self, shape, sigma=0.2):
        super().__init__(CosineBasis(shape))
        n = math.prod(shape)
        self.register_constant("rank", torch.arange(n, dtype=torch.float64).reshape(shape) / n)
        self.scale = sigma

    def log_alpha(self, t):
        return -2 * self.expand_times(t) * self.rank

    def log_sigma(self, t):
        return (self.scale * (1 + 2 * self.rank)).log()


def heat(sigma=0.05, shape=SHAPE):
    return HeatDissipation(shape, blur_sigma_max=3.0, levels=10, sigma=sigma)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def some_q(process, batch=3, seed=5):
    """Gaussians with widths of their own per coefficient and example, not far from the prior's."""
    mean = process.basis.forward(process.degrade(random_images(process.shape, batch=batch, seed=seed), 1.0)[0])
    widths = 0.1 + 0.3 * random_images(process.shape, batch=batch, seed=seed + 1)
    return SpectralGaussian(process.basis, mean, widths)


def dense(q):
    return MultivariateNormal(q.mean.flatten(1), covariance_matrix=covariance_of(q))


def spectrum(process, seed=1):
    mean, variance = random_images(process.shape, seed=seed)
    return DataSpectrum(process.basis, mean, variance + 0.1, 100)


# What a prior of every kind needs, over one pair of pixels, where integrals can be done on a grid.
PAIR = (1, 1, 2)
PRIORS = {
    "standard normal": lambda: StandardNormalPrior(IsotropicDiffusion(PAIR)),
    "Gaussian": lambda: GaussianPrior.of_spectrum(heat(0.3, PAIR), spectrum(heat(0.3, PAIR))),
    "kernels": lambda: DegradedDataPrior.fit(heat(0.3, PAIR), 2 * random_images(PAIR, batch=5)),
    "rough kernels": lambda: DegradedDataPrior.fit(Rough(PAIR), 2 * random_images(PAIR, batch=5)),
    "kernels of another width": lambda: DegradedDataPrior.fit(Rough(PAIR), random_images(PAIR, batch=5), stddev=0.15),
    "oracle": lambda: OraclePrior(EmpiricalOracle(Rough(PAIR), 2 * random_images(PAIR, batch=5))),
}
EACH = pytest.mark.parametrize("build", PRIORS.values(), ids=PRIORS.keys())


def grid_of_pairs(spacing=0.04):
    """Points (points, *PAIR) of a square that holds all but e^-32 of each prior's mass, and their share of its area.

    The widest reaches 1.1 about a mean of at most 1. The trapezoid rule on a Gaussian of width s is wrong by
    2 exp(-2 pi^2 (s / spacing)^2); the narrowest, 0.1 wide, by e^-122.
    """
    axis = torch.arange(-9.0, 11.0, spacing, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis).reshape(-1, *PAIR), spacing**2


FITTED = {
    "standard normal": (StandardNormalPrior, IsotropicDiffusion(PAIR), {}),
    "Gaussian": (GaussianPrior, heat(0.3, PAIR), {}),
    "low rank": (LowRankGaussianPrior, heat(0.3, PAIR), {"most": 1}),
    "kernels": (DegradedDataPrior, Rough(PAIR), {}),
    "kernels of another width": (DegradedDataPrior, Rough(PAIR), {"stddev": 0.15}),
}
