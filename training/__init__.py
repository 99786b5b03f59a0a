"""Training: configuration, data, the loop, checkpoints and pictures, shared by all recipes."""

from .build import build_denoiser, build_loss, build_prior, build_sampler, load_data
from .config import (
    BlurringConfig,
    CouplingKind,
    CustomConfig,
    DataConfig,
    DataSource,
    HeatConfig,
    IsotropicConfig,
    NetworkConfig,
    OptimizerConfig,
    Precision,
    PredictionKind,
    ReductionKind,
    RunConfig,
    SamplingConfig,
    ScheduleKind,
    TrainingConfig,
)
from .data import DataRange, Images, ImageSplits
from .launch import launch
from .loading import LoadedRun, load_run
from .run import RunFolder
from .trainer import Trainer

__all__ = [
    "BlurringConfig",
    "CouplingKind",
    "CustomConfig",
    "DataConfig",
    "DataRange",
    "DataSource",
    "HeatConfig",
    "ImageSplits",
    "Images",
    "IsotropicConfig",
    "LoadedRun",
    "NetworkConfig",
    "OptimizerConfig",
    "Precision",
    "PredictionKind",
    "ReductionKind",
    "RunConfig",
    "RunFolder",
    "SamplingConfig",
    "ScheduleKind",
    "Trainer",
    "TrainingConfig",
    "build_denoiser",
    "build_loss",
    "build_prior",
    "build_sampler",
    "launch",
    "load_data",
    "load_run",
]
