"""Forward processes: the abstract process, bases, couplings, schedules, predictions and families."""

from .bases import Basis, CosineBasis, PixelBasis
from .blurring import BlurringDiffusion
from .couplings import Coupling, Deterministic, Eta, Independent, Markov
from .gaussian import SpectralGaussian
from .heat import HeatDissipation
from .isotropic import IsotropicDiffusion
from .predictions import (
    Conversion,
    PredictEpsilon,
    Prediction,
    PredictLessDegraded,
    PredictScore,
    PredictV,
    PredictX,
)
from .process import LinearGaussianProcess, PosteriorCoefficients
from .schedules import CosineSchedule, LinearSchedule, Schedule

__all__ = [
    "Basis",
    "BlurringDiffusion",
    "Conversion",
    "CosineBasis",
    "CosineSchedule",
    "Coupling",
    "Deterministic",
    "Eta",
    "HeatDissipation",
    "Independent",
    "IsotropicDiffusion",
    "LinearGaussianProcess",
    "LinearSchedule",
    "Markov",
    "PixelBasis",
    "PosteriorCoefficients",
    "PredictEpsilon",
    "PredictLessDegraded",
    "PredictScore",
    "PredictV",
    "PredictX",
    "Prediction",
    "Schedule",
    "SpectralGaussian",
]
