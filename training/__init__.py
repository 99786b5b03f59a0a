"""Training: configuration, data, the loop, checkpoints and pictures, shared by all recipes."""

from .build import (
    build_denoiser,
    build_loss,
    build_prior,
    build_sampler,
    load_data,
)
from .config import (
    DataConfig,
    NetworkConfig,
    OptimizerConfig,
    RunConfig,
    TrainingConfig,
)
from .data import (
    DataRange,
    Images,
    ImageSplits,
    LabelledImages,
)
from .kinds import (
    CouplingKind,
    DataSource,
    GridKind,
    Precision,
    PredictionKind,
    PriorKind,
    ReductionKind,
    SamplerKind,
    ScheduleKind,
    TimesKind,
    WeightingKind,
)
from .launch import launch
from .loading import LoadedRun, load_run
from .loss_config import LossConfig
from .process_config import (
    BlurringConfig,
    CustomConfig,
    HeatConfig,
    IsotropicConfig,
)
from .run import RunFolder
from .sampling_config import SamplingConfig
from .trainer import Trainer

__all__ = [
    "BlurringConfig",
    "CouplingKind",
    "CustomConfig",
    "DataConfig",
    "DataRange",
    "DataSource",
    "GridKind",
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
    "SamplerKind",
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
