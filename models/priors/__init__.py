"""Priors: distributions of the latent at t = 1, which sampling starts from and the variational bound ends in."""

from .base import Prior
from .default import fit_prior
from .degraded_data import DegradedDataPrior, KernelDivergence
from .gaussian import GaussianPrior
from .known_end import KnownEndPrior
from .low_rank import LowRankGaussianPrior
from .oracle import OraclePrior
from .standard_normal import StandardNormalPrior, ends_in_standard_normal

__all__ = [
    "DegradedDataPrior",
    "GaussianPrior",
    "KernelDivergence",
    "KnownEndPrior",
    "LowRankGaussianPrior",
    "OraclePrior",
    "Prior",
    "StandardNormalPrior",
    "ends_in_standard_normal",
    "fit_prior",
]
