"""Training: configuration, data, the loop, checkpoints and pictures, shared by all recipes."""

from .build import build_denoiser, build_loss, build_prior, build_sampler, load_data
from .config import DataConfig, NetworkConfig, OptimizerConfig, RunConfig, SamplingConfig, TrainingConfig
from .data import DataRange, Images, ImageSplits, LabelledImages
from .kinds import (
    CouplingKind,
    DataSource,
    Precision,
    PredictionKind,
    PriorKind,
    ReductionKind,
    ScheduleKind,
    TimesKind,
    WeightingKind,
)
from .launch import launch
from .loading import LoadedRun, load_run
from .loss_config import LossConfig
from .process_config import BlurringConfig, CustomConfig, HeatConfig, IsotropicConfig
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
    "LabelledImages",
    "LoadedRun",
    "LossConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "Precision",
    "PredictionKind",
    "PriorKind",
    "ReductionKind",
    "RunConfig",
    "RunFolder",
    "SamplingConfig",
    "ScheduleKind",
    "TimesKind",
    "Trainer",
    "TrainingConfig",
    "WeightingKind",
    "build_denoiser",
    "build_loss",
    "build_prior",
    "build_sampler",
    "launch",
    "load_data",
    "load_run",
]
