"""Families of forward processes, one file each."""

from .blurring import BlurringDiffusion
from .cold import ColdBlur
from .directional_blur import DirectionalBlur
from .gaussian_blur import GaussianBlur
from .graph_heat import GraphHeat
from .heat import HeatDissipation
from .heat_flow import HeatFlow
from .isotropic import IsotropicDiffusion
from .pixel_mask import PixelMask, radial_onset
from .pixelation import Pixelation
from .sequential_masking import SequentialMasking
from .soft import SoftDiffusion
from .spectral_diffusion import SpectralDiffusion
from .variance_preserving_blur import VariancePreservingBlur

__all__ = [
    "BlurringDiffusion",
    "ColdBlur",
    "DirectionalBlur",
    "GaussianBlur",
    "GraphHeat",
    "HeatDissipation",
    "HeatFlow",
    "IsotropicDiffusion",
    "PixelMask",
    "Pixelation",
    "SequentialMasking",
    "SoftDiffusion",
    "SpectralDiffusion",
    "VariancePreservingBlur",
    "radial_onset",
]
