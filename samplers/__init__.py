"""Samplers: from the prior back to data, and what is done with them."""

from .adaptive import AdaptiveSampler
from .base import End, Sampler
from .exponential import Variable
from .grids import (
    balanced_times,
    karras_times,
    level_times,
    log_snr_times,
    uniform_times,
)
from .heun import Churn, HeunSampler
from .multistep import MultistepSampler
from .noise import (
    GeneratorNoise,
    InterpolatedNoise,
    Noise,
    SeedNoise,
    SharedNoise,
)
from .noise_multistep import NoiseMultistepSampler
from .posterior import PosteriorSampler
from .predictor_corrector import PredictorCorrectorSampler
from .probability_flow import FlowCoefficients, flow_coefficients
from .released_heat import released_heat_sampler
from .runs import (
    NonFiniteStateError,
    Partial,
    SamplingInterrupted,
    SamplingStats,
    StepInfo,
    Trajectory,
)
from .stochastic import EulerMaruyamaSampler, ExponentialSDESampler
from .uses import (
    Blend,
    Generation,
    Start,
    Tree,
    blurred_start,
    branch,
    interpolate,
    interpolate_seeds,
    restart,
    time_of_blur,
    upsampled_start,
)

__all__ = [
    "AdaptiveSampler",
    "Blend",
    "Churn",
    "End",
    "EulerMaruyamaSampler",
    "ExponentialSDESampler",
    "FlowCoefficients",
    "Generation",
    "GeneratorNoise",
    "HeunSampler",
    "InterpolatedNoise",
    "MultistepSampler",
    "Noise",
    "NoiseMultistepSampler",
    "NonFiniteStateError",
    "Partial",
    "PosteriorSampler",
    "PredictorCorrectorSampler",
    "Sampler",
    "SamplingInterrupted",
    "SamplingStats",
    "SeedNoise",
    "SharedNoise",
    "Start",
    "StepInfo",
    "Trajectory",
    "Tree",
    "Variable",
    "balanced_times",
    "blurred_start",
    "branch",
    "flow_coefficients",
    "interpolate",
    "interpolate_seeds",
    "karras_times",
    "level_times",
    "log_snr_times",
    "released_heat_sampler",
    "restart",
    "time_of_blur",
    "uniform_times",
    "upsampled_start",
]
