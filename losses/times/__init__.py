"""Distributions of the times that a denoiser is trained at, and ways to draw a batch of them."""

from .base import TimeDistribution, TimeSampler
from .joint import Antithetic, JointTimes, LowDiscrepancy, Stratified
from .loss_aware import LossAwareTimes
from .noise_level import LogNormalTimes, LogSNRTimes, NoiseLevelTimes
from .uniform import LevelTimes, UniformTimes, default_times

__all__ = [
    "Antithetic",
    "JointTimes",
    "LevelTimes",
    "LogNormalTimes",
    "LogSNRTimes",
    "LossAwareTimes",
    "LowDiscrepancy",
    "NoiseLevelTimes",
    "Stratified",
    "TimeDistribution",
    "TimeSampler",
    "UniformTimes",
    "default_times",
]
