"""Loss weightings: how much the squared error of each coefficient counts at each time."""

from .base import Weighting
from .edm import EDMWeighting
from .frequency import FrequencyWeighting, PowerLawWeighting
from .log_variance import LearnedLogVariance
from .min_snr import MinSNRWeighting
from .p2 import P2Weighting
from .sigmoid import SigmoidWeighting
from .simple import SimpleWeighting
from .variational_bound import BoundWeighting

__all__ = [
    "BoundWeighting",
    "EDMWeighting",
    "FrequencyWeighting",
    "LearnedLogVariance",
    "MinSNRWeighting",
    "P2Weighting",
    "PowerLawWeighting",
    "SigmoidWeighting",
    "SimpleWeighting",
    "Weighting",
]
