"""Families of forward processes, one file each."""

from .blurring import BlurringDiffusion
from .cold import ColdBlur
from .gaussian_blur import GaussianBlur
from .graph_heat import GraphHeat
from .heat import HeatDissipation
from .heat_flow import HeatFlow
from .isotropic import IsotropicDiffusion
from .ordered_fading import OrderedFading
from .pixel_mask import PixelMask, hole
from .pixelation import Pixelation
from .soft import SoftDiffusion
from .spectral import SpectralDiffusion
from .variance_preserving_blur import VariancePreservingBlur

__all__ = [
    "BlurringDiffusion",
    "ColdBlur",
    "GaussianBlur",
    "GraphHeat",
    "HeatDissipation",
    "HeatFlow",
    "IsotropicDiffusion",
    "OrderedFading",
    "PixelMask",
    "Pixelation",
    "SoftDiffusion",
    "SpectralDiffusion",
    "VariancePreservingBlur",
    "hole",
]
