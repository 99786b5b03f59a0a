"""Networks and denoisers."""

from .conditioning import LabelledDenoiser
from .denoiser import AbstractDenoiser, Denoiser
from .ema import EMA
from .labels import drop_labels
from .oracles import EmpiricalOracle, GaussianOracle, MixtureOracle, Oracle
from .unet import UNet

__all__ = [
    "EMA",
    "AbstractDenoiser",
    "Denoiser",
    "EmpiricalOracle",
    "GaussianOracle",
    "LabelledDenoiser",
    "MixtureOracle",
    "Oracle",
    "UNet",
    "drop_labels",
]
