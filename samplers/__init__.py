"""Samplers: from the prior back to data by a stepper's steps along a grid, and what is done with them."""

from .following import Follow, Variable
from .grids import BalancedGrid, EndGrid, FixedGrid, Grid, KarrasGrid, LogSNRGrid, UniformGrid
from .noise import GeneratorNoise, InterpolatedNoise, Noise, SeedNoise, SharedNoise
from .probability_flow import FlowCoefficients, flow_coefficients
from .results import (
    NonFiniteStateError,
    Partial,
    SamplingInterrupted,
    SamplingResult,
    SamplingStats,
    StepInfo,
    Trajectory,
)
from .sampler import Sampler
from .spectral import Spectral, combine
from .state import SamplerState
from .stepper import PlannedStep, Problem, Stepper
from .steppers import Adaptive, Churn, Heun, Multistep, Posterior, PredictorCorrector
from .timestep_grid import TimestepGrid
from .trajectory_pictures import save_trajectory, trajectory_frames, trajectory_strip
from .uses import (
    Blend,
    Generation,
    Start,
    Tree,
    blurred_start,
    branch,
    encode,
    interpolate,
    interpolate_seeds,
    restart,
    time_of_blur,
    upsampled_start,
)

__all__ = [
    "Adaptive",
    "BalancedGrid",
    "Blend",
    "Churn",
    "EndGrid",
    "FixedGrid",
    "FlowCoefficients",
    "Follow",
    "Generation",
    "GeneratorNoise",
    "Grid",
    "Heun",
    "InterpolatedNoise",
    "KarrasGrid",
    "LogSNRGrid",
    "Multistep",
    "Noise",
    "NonFiniteStateError",
    "Partial",
    "PlannedStep",
    "Posterior",
    "PredictorCorrector",
    "Problem",
    "Sampler",
    "SamplerState",
    "SamplingInterrupted",
    "SamplingResult",
    "SamplingStats",
    "SeedNoise",
    "SharedNoise",
    "Spectral",
    "Start",
    "StepInfo",
    "Stepper",
    "TimestepGrid",
    "Trajectory",
    "Tree",
    "UniformGrid",
    "Variable",
    "blurred_start",
    "branch",
    "combine",
    "encode",
    "flow_coefficients",
    "interpolate",
    "interpolate_seeds",
    "restart",
    "save_trajectory",
    "time_of_blur",
    "trajectory_frames",
    "trajectory_strip",
    "upsampled_start",
]
