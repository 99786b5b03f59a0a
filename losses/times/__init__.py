"""Laws of the times that a denoiser is trained at, and ways to draw a batch of them."""

from .base import TimeDistribution
from .joint import (
    Antithetic,
    JointTimes,
    LowDiscrepancy,
    Stratified,
)
from .loss_aware import LossHistory, LossHistoryBins, LossHistoryTimes
from .noise_level import LogNormalTimes, LogSNRTimes, NoiseLevelTimes
from .uniform import LevelTimes, UniformTimes, default_times

__all__ = [
    "Antithetic",
    "JointTimes",
    "LevelTimes",
    "LogNormalTimes",
    "LogSNRTimes",
    "LossHistory",
    "LossHistoryBins",
    "LossHistoryTimes",
    "LowDiscrepancy",
    "NoiseLevelTimes",
    "Stratified",
    "TimeDistribution",
    "UniformTimes",
    "default_times",
]
