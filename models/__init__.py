"""What a generative model is made of: networks, denoisers, priors, decoders, reverse standard deviations, oracles."""

from .conditioning import LabelledDenoiser
from .decoders import Decoder, DiscretisedGaussianDecoder, GaussianDecoder
from .denoiser import AbstractDenoiser, Denoiser
from .ema import EMA
from .grey_levels import GreyLevels
from .labels import drop_labels
from .oracles import EmpiricalOracle, GaussianOracle, MixtureOracle, Oracle
from .priors import (
    DegradedDataPrior,
    GaussianPrior,
    KernelDivergence,
    LowRankGaussianPrior,
    OraclePrior,
    Prior,
    StandardNormalPrior,
)
from .reverse_std import ConstantStd, FittedStd, ForwardStd, PosteriorStd, ReverseStd
from .unet import UNet

__all__ = [
    "EMA",
    "AbstractDenoiser",
    "ConstantStd",
    "Decoder",
    "DegradedDataPrior",
    "Denoiser",
    "DiscretisedGaussianDecoder",
    "EmpiricalOracle",
    "FittedStd",
    "ForwardStd",
    "GaussianDecoder",
    "GaussianOracle",
    "GaussianPrior",
    "GreyLevels",
    "KernelDivergence",
    "LabelledDenoiser",
    "LowRankGaussianPrior",
    "MixtureOracle",
    "Oracle",
    "OraclePrior",
    "PosteriorStd",
    "Prior",
    "ReverseStd",
    "StandardNormalPrior",
    "UNet",
    "drop_labels",
]
