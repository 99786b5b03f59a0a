"""Samplers: from the prior back to data."""

from .base import End, Sampler
from .exponential import Variable
from .grids import karras_times, level_times, log_snr_times, uniform_times
from .heun import HeunSampler
from .multistep import MultistepSampler
from .posterior import PosteriorSampler
from .noise import InterpolatedNoise, Noise, SharedNoise
from .runs import Kept, NonFiniteStateError, Report, SamplingInterrupted, StepInfo, Trajectory
