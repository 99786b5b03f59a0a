"""The bound on the log-likelihood, what it is made of, and the data's levels that it is one for."""

from .bound import BitsPerDim, Bound
from .decoders import Decoder, DiscretisedGaussianDecoder, GaussianDecoder
from .elbo import ELBO
from .estimates import AllLevels, Estimate, SampledLevels
from .quantisation import Quantisation
from .reverse_std import ConstantStd, FittedStd, ForwardStd, PosteriorStd, ReverseStd

__all__ = [
    "ELBO",
    "AllLevels",
    "BitsPerDim",
    "Bound",
    "ConstantStd",
    "Decoder",
    "DiscretisedGaussianDecoder",
    "Estimate",
    "FittedStd",
    "ForwardStd",
    "GaussianDecoder",
    "PosteriorStd",
    "Quantisation",
    "ReverseStd",
    "SampledLevels",
]
