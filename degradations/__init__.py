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
from .schedules import (
    ConstantNoise,
    Convention,
    CosineSchedule,
    EDMSchedule,
    GeometricNoise,
    Interpolating,
    LinearSchedule,
    LogSNRSchedule,
    RectifiedFlowSchedule,
    Schedule,
    SigmoidSchedule,
    VarianceExploding,
    VariancePreserving,
    shifted_cosine,
)

__all__ = [
    "Basis",
    "BlurringDiffusion",
    "ConstantNoise",
    "Convention",
    "Conversion",
    "CosineBasis",
    "CosineSchedule",
    "Coupling",
    "Deterministic",
    "EDMSchedule",
    "Eta",
    "GeometricNoise",
    "HeatDissipation",
    "Independent",
    "Interpolating",
    "IsotropicDiffusion",
    "LinearGaussianProcess",
    "LinearSchedule",
    "LogSNRSchedule",
    "Markov",
    "PixelBasis",
    "PosteriorCoefficients",
    "PredictEpsilon",
    "PredictLessDegraded",
    "PredictScore",
    "PredictV",
    "PredictX",
    "Prediction",
    "RectifiedFlowSchedule",
    "Schedule",
    "SigmoidSchedule",
    "SpectralGaussian",
    "VarianceExploding",
    "VariancePreserving",
    "shifted_cosine",
]
