"""What a generative model is made of: networks, denoisers, priors, decoders, reverse noise, exact oracles."""

from .centred_denoiser import CentredDenoiser
from .clipped_denoiser import ClippedDenoiser
from .conditions import Condition, drop_images, drop_labels, with_image
from .decoders import Decoder, DiscretisedGaussianDecoder, GaussianDecoder
from .denoiser import AbstractDenoiser, Denoiser
from .ema import EMA
from .grey_levels import GreyLevels
from .off_levels import OffLevelsWarning
from .oracles import EmpiricalOracle, GaussianOracle, MixtureOracle, Oracle
from .pretrained import DiffusersNetwork, LatentAutoencoder, SchedulerSettings, TimestepSpacing, load_diffusers
from .priors import (
    DegradedDataPrior,
    GaussianPrior,
    KernelDivergence,
    KnownEndPrior,
    LowRankGaussianPrior,
    OraclePrior,
    Prior,
    StandardNormalPrior,
    ends_in_standard_normal,
    fit_prior,
)
from .reverse_std import ConstantStd, FittedStd, ForwardStd, MarginalStd, PosteriorStd, ReverseStd
from .transformers import DiT, PatchTransformer
from .unet import UNet

__all__ = [
    "EMA",
    "AbstractDenoiser",
    "CentredDenoiser",
    "ClippedDenoiser",
    "Condition",
    "ConstantStd",
    "Decoder",
    "DegradedDataPrior",
    "Denoiser",
    "DiT",
    "DiffusersNetwork",
    "DiscretisedGaussianDecoder",
    "EmpiricalOracle",
    "FittedStd",
    "ForwardStd",
    "GaussianDecoder",
    "GaussianOracle",
    "GaussianPrior",
    "GreyLevels",
    "KernelDivergence",
    "KnownEndPrior",
    "LatentAutoencoder",
    "LowRankGaussianPrior",
    "MarginalStd",
    "MixtureOracle",
    "OffLevelsWarning",
    "Oracle",
    "OraclePrior",
    "PatchTransformer",
    "PosteriorStd",
    "Prior",
    "ReverseStd",
    "SchedulerSettings",
    "StandardNormalPrior",
    "TimestepSpacing",
    "UNet",
    "drop_images",
    "drop_labels",
    "ends_in_standard_normal",
    "fit_prior",
    "load_diffusers",
    "with_image",
]
