"""Training objectives and the priors that sampling starts from."""

from .denoising import DenoisingLoss, MeanOverDimensions, Reduction, SumOverDimensions
from .priors import DegradedDataPrior, GaussianPrior, Prior, StandardNormalPrior
from .times import LevelTimes, TimeSampling, UniformTimes

__all__ = [
    "DegradedDataPrior",
    "DenoisingLoss",
    "GaussianPrior",
    "LevelTimes",
    "MeanOverDimensions",
    "Prior",
    "Reduction",
    "StandardNormalPrior",
    "SumOverDimensions",
    "TimeSampling",
    "UniformTimes",
]
