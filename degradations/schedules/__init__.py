"""Noise schedules: scalar alpha(t) and sigma(t)."""

from .base import Schedule
from .log_snr import Convention, Interpolating, LogSNRSchedule, VarianceExploding, VariancePreserving
from .rectified_flow import RectifiedFlowSchedule
from .variance_exploding import ConstantNoise, EDMSchedule, GeometricNoise
from .variance_preserving import CosineSchedule, LinearSchedule, SigmoidSchedule, shifted_cosine

__all__ = [
    "ConstantNoise",
    "Convention",
    "CosineSchedule",
    "EDMSchedule",
    "GeometricNoise",
    "Interpolating",
    "LinearSchedule",
    "LogSNRSchedule",
    "RectifiedFlowSchedule",
    "Schedule",
    "SigmoidSchedule",
    "VarianceExploding",
    "VariancePreserving",
    "shifted_cosine",
]
