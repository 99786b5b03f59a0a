"""Networks and denoisers."""

from .denoiser import AbstractDenoiser, Denoiser
from .ema import EMA
from .unet import UNet

__all__ = ["EMA", "AbstractDenoiser", "Denoiser", "UNet"]
