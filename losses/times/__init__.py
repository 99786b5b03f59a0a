"""Laws of the times that a denoiser is trained at, and ways to draw a batch of them."""

from .base import TimeSampling
from .joint import Antithetic, JointSampling, LowDiscrepancy, Stratified
from .log_snr import LogNormalTimes, LogSNRLaw, LogSNRTimes
from .loss_history import LossHistory, LossHistoryBins, LossHistoryTimes
from .uniform import LevelTimes, UniformTimes

__all__ = [
    "Antithetic",
    "JointSampling",
    "LevelTimes",
    "LogNormalTimes",
    "LogSNRLaw",
    "LogSNRTimes",
    "LossHistory",
    "LossHistoryBins",
    "LossHistoryTimes",
    "LowDiscrepancy",
    "Stratified",
    "TimeSampling",
    "UniformTimes",
]
