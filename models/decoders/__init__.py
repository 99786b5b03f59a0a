"""Decoders: the distribution of the data given the first latent."""

from .base import Decoder
from .discretised import DiscretisedGaussianDecoder
from .gaussian import GaussianDecoder

__all__ = ["Decoder", "DiscretisedGaussianDecoder", "GaussianDecoder"]
