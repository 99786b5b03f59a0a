"""Networks and denoisers."""

from .denoiser import AbstractDenoiser, Denoiser
from .ema import EMA
from .oracles import EmpiricalOracle, GaussianOracle, MixtureOracle, Oracle
from .unet import UNet

__all__ = [
    "EMA",
    "AbstractDenoiser",
    "Denoiser",
    "EmpiricalOracle",
    "GaussianOracle",
    "MixtureOracle",
    "Oracle",
    "UNet",
]
