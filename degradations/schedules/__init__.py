"""Schedules: scalar noise, widths of blurs, and blurs fitted to data."""

from .base import Schedule
from .blur import BlurSchedule, LogSpacedBlur, PowerBlur, SineBlur, TabulatedBlur, blur_pixels, repeated_blur
from .discrete import DiscreteSchedule
from .fitted_blur import EqualVarianceBlur, equal_variance_blur
from .log_snr import Convention, Interpolating, LogSNRSchedule, VarianceExploding, VariancePreserving
from .mean_reverting import OUVESchedule, ScaledNoise
from .rectified_flow import RectifiedFlowSchedule
from .residual_shift import ResidualShiftSchedule
from .variance_exploding import ConstantNoise, EDMSchedule, GeometricNoise, SymmetricNoise, WienerNoise
from .variance_preserving import CosineSchedule, LinearSchedule, SigmoidSchedule, shifted_cosine

__all__ = [
    "BlurSchedule",
    "ConstantNoise",
    "Convention",
    "CosineSchedule",
    "DiscreteSchedule",
    "EDMSchedule",
    "EqualVarianceBlur",
    "GeometricNoise",
    "Interpolating",
    "LinearSchedule",
    "LogSNRSchedule",
    "LogSpacedBlur",
    "OUVESchedule",
    "PowerBlur",
    "RectifiedFlowSchedule",
    "ResidualShiftSchedule",
    "ScaledNoise",
    "Schedule",
    "SigmoidSchedule",
    "SineBlur",
    "SymmetricNoise",
    "TabulatedBlur",
    "VarianceExploding",
    "VariancePreserving",
    "WienerNoise",
    "blur_pixels",
    "equal_variance_blur",
    "repeated_blur",
    "shifted_cosine",
]
