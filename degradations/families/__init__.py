"""Families of forward processes, one file each."""

from .blurring import BlurringDiffusion
from .cold import ColdBlur
from .diffusion_bridge import BrownianBridge, DiffusionBridge, SchrodingerBridge
from .directional_blur import DirectionalBlur
from .gaussian_blur import GaussianBlur
from .graph_heat import GraphHeat
from .heat import HeatDissipation
from .heat_bridge import HeatBridge
from .heat_flow import HeatFlow
from .isotropic import IsotropicDiffusion
from .pixel_mask import PixelMask, radial_onset
from .pixelation import Pixelation
from .sequential_masking import SequentialMasking
from .soft import SoftDiffusion
from .spectral_diffusion import SpectralDiffusion
from .towards_mean import OrnsteinUhlenbeck, ResidualShift, TowardsMean
from .variance_preserving_blur import VariancePreservingBlur

__all__ = [
    "BlurringDiffusion",
    "BrownianBridge",
    "ColdBlur",
    "DiffusionBridge",
    "DirectionalBlur",
    "GaussianBlur",
    "GraphHeat",
    "HeatBridge",
    "HeatDissipation",
    "HeatFlow",
    "IsotropicDiffusion",
    "OrnsteinUhlenbeck",
    "PixelMask",
    "Pixelation",
    "ResidualShift",
    "SchrodingerBridge",
    "SequentialMasking",
    "SoftDiffusion",
    "SpectralDiffusion",
    "TowardsMean",
    "VariancePreservingBlur",
    "radial_onset",
]
