"""Configuration of a training run: dataclasses, from which the command line and `config.json` come."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
import tyro
from pydantic import ConfigDict, Field, TypeAdapter

from ..degradations import (
    BlurringDiffusion,
    CosineSchedule,
    Coupling,
    Deterministic,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LinearSchedule,
    Markov,
    PredictEpsilon,
    Prediction,
    PredictLessDegraded,
    PredictScore,
    PredictV,
    PredictX,
)
from ..degradations.locating import process_from_name
from ..losses import MeanOverDimensions, Reduction, SumOverDimensions

# Times between which a process of one's own must lose information.
_TIMES_PROBED = 65
_STRICT = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


class DataSource(Enum):
    """Where images come from."""

    DIGITS = "digits"
    CIFAR10 = "cifar10"
    PHOTOS = "photos"
    FOLDER = "folder"


class PredictionKind(Enum):
    """What the network predicts."""

    X = "x"
    EPSILON = "epsilon"
    V = "v"
    SCORE = "score"
    LESS_DEGRADED = "less-degraded"

    def build(self) -> Prediction:
        """Return the prediction."""
        return _PREDICTIONS[self]


class ReductionKind(Enum):
    """How squared errors add up over an image."""

    SUM = "sum"
    MEAN = "mean"

    def build(self) -> Reduction:
        """Return the reduction."""
        return SumOverDimensions() if self is ReductionKind.SUM else MeanOverDimensions()


class CouplingKind(Enum):
    """How consecutive noises of the sampler hang together."""

    MARKOV = "markov"
    DETERMINISTIC = "deterministic"
    INDEPENDENT = "independent"

    def build(self) -> Coupling:
        """Return the coupling."""
        return _COUPLINGS[self]


class ScheduleKind(Enum):
    """Noise schedules of isotropic diffusion."""

    COSINE = "cosine"
    LINEAR = "linear"


class Precision(Enum):
    """Arithmetic of the network; processes and losses stay in float32."""

    FLOAT32 = "float32"
    BF16 = "bf16"


_PREDICTIONS: dict[PredictionKind, Prediction] = {
    PredictionKind.X: PredictX(),
    PredictionKind.EPSILON: PredictEpsilon(),
    PredictionKind.V: PredictV(),
    PredictionKind.SCORE: PredictScore(),
    PredictionKind.LESS_DEGRADED: PredictLessDegraded(),
}
_COUPLINGS: dict[CouplingKind, Coupling] = {
    CouplingKind.MARKOV: Markov(),
    CouplingKind.DETERMINISTIC: Deterministic(),
    CouplingKind.INDEPENDENT: Independent(),
}


@dataclass(frozen=True, kw_only=True)
class HeatConfig:
    """Heat dissipation."""

    family: tyro.conf.Suppress[Literal["heat"]] = "heat"
    blur_sigma_max: float = 24.0
    """Width of the strongest blur, in pixels."""
    blur_sigma_min: float = 0.5
    """Width of level 1's blur, in pixels."""
    levels: int = 200
    """Number of levels."""
    sigma: float = 0.01
    """Noise at every level, in the data's units."""

    def build(self, shape: tuple[int, ...]) -> LinearGaussianProcess:
        """Return the process for images of `shape`."""
        return HeatDissipation(
            shape,
            blur_sigma_max=self.blur_sigma_max,
            blur_sigma_min=self.blur_sigma_min,
            levels=self.levels,
            sigma=self.sigma,
        )


@dataclass(frozen=True, kw_only=True)
class IsotropicConfig:
    """Isotropic diffusion."""

    family: tyro.conf.Suppress[Literal["isotropic"]] = "isotropic"
    schedule: ScheduleKind = ScheduleKind.COSINE
    """Noise schedule."""

    def build(self, shape: tuple[int, ...]) -> LinearGaussianProcess:
        """Return the process for images of `shape`."""
        return IsotropicDiffusion(
            shape, schedule=CosineSchedule() if self.schedule is ScheduleKind.COSINE else LinearSchedule()
        )


@dataclass(frozen=True, kw_only=True)
class BlurringConfig:
    """Blurring diffusion."""

    family: tyro.conf.Suppress[Literal["blurring"]] = "blurring"
    blur_sigma_max: float = 20.0
    """Width of the blur at t = 1, in pixels."""
    min_scale: float = 0.001
    """What blurring leaves of the highest frequencies."""

    def build(self, shape: tuple[int, ...]) -> LinearGaussianProcess:
        """Return the process for images of `shape`."""
        return BlurringDiffusion(shape, blur_sigma_max=self.blur_sigma_max, min_scale=self.min_scale)


@dataclass(frozen=True, kw_only=True)
class CustomConfig:
    """Any process that is made from the images' shape: a family by its name, or a class of your own."""

    family: tyro.conf.Suppress[Literal["custom"]] = "custom"
    target: str = "my_module:MyProcess"
    """A family such as Pixelation or 'HeatDissipation(levels=50)', or your own class as module:Class or
    path/to/file.py:Class."""

    def build(self, shape: tuple[int, ...]) -> LinearGaussianProcess:
        """Return the process for images of `shape`.

        Raises:
            ValueError: `target` does not name a process that is made from a shape, or its log-SNR rises: better told
                now than by the first samples.
        """
        process = process_from_name(self.target, shape)
        times = torch.linspace(0, 1, _TIMES_PROBED, dtype=torch.float64).tolist()
        try:
            for s, t in pairwise(times):
                process.posterior_coefficients(s, t, Markov())
        except ValueError as error:
            msg = f"{self.target} is no forward process: {error}; unmelt.testing.check_process tells more"
            raise ValueError(msg) from error
        return process


ProcessConfig = Annotated[HeatConfig | IsotropicConfig | BlurringConfig | CustomConfig, Field(discriminator="family")]


@dataclass(frozen=True)
class DataConfig:
    """The images."""

    source: DataSource = DataSource.DIGITS
    """Where they come from."""
    folder: Path | None = None
    """Folder of images, for the source `folder`."""
    size: int = 32
    """Height and width that images of a folder are resized to, in pixels."""
    low: float = 0.0
    """Number that the lowest level of the data becomes."""
    high: float = 1.0
    """Number that the highest level becomes."""
    flip: bool = False
    """Mirror half of the training images."""


@dataclass(frozen=True)
class NetworkConfig:
    """The U-Net."""

    channels: int = 128
    """Features at full resolution."""
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    """Features at each level as multiples of `channels`."""
    blocks: int = 4
    """Residual blocks per level."""
    attention_levels: tuple[int, ...] = (2, 3)
    """Levels with attention, 0 being full resolution."""
    heads: int = 1
    """Attention heads."""
    dropout: float = 0.1
    """Dropout rate."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam, its learning rate and what keeps it steady."""

    learning_rate: float = 2e-4
    """Peak learning rate."""
    warmup: int = 5000
    """Steps over which the learning rate grows linearly from 0."""
    cosine_decay: bool = False
    """Let the learning rate fall to a hundredth along a cosine until the last step."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW); 0 is Adam."""
    clip: float = 1.0
    """Largest gradient norm."""
    ema_decay: float = 0.999
    """Decay of the parameters' moving average, which samples are drawn from."""


@dataclass(frozen=True)
class TrainingConfig:
    """The training loop."""

    steps: int = 1_300_000
    """Number of training steps."""
    batch_size: int = 128
    """Images per step and process."""
    precision: Precision = Precision.FLOAT32
    """Arithmetic of the network."""
    compile: bool = False
    """Compile the training step with torch.compile."""
    cpu: bool = False
    """Train on the CPU even where there is an accelerator."""
    seed: int = 0
    """Seed of everything random."""
    workers: int = 0
    """Data loader processes; images are in memory, so 0 is usually fastest."""
    log_every: int = 50
    """Steps between two lines of metrics."""
    checkpoint_every: int = 10_000
    """Steps between two checkpoints."""
    keep_checkpoints: int = 2
    """How many of the latest checkpoints are kept."""
    sample_every: int = 10_000
    """Steps between two sample grids."""


@dataclass(frozen=True)
class SamplingConfig:
    """The sampler, for the grids during training and the pictures after it."""

    count: int = 64
    """Samples in a grid."""
    steps: int | None = None
    """Sampler steps; the process's own levels (or 50) if not given."""
    coupling: CouplingKind = CouplingKind.MARKOV
    """How consecutive noises hang together."""
    delta: float | None = None
    """Constant noise of each step in the data's units; the posterior's own if not given."""
    seed: int = 0
    """Seed of the samples."""


@dataclass(frozen=True)
class RunConfig:
    """A training run."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    """Name of the run; it becomes the folder ROOT/NAME."""
    process: ProcessConfig
    prediction: PredictionKind
    """What the network predicts."""
    reduction: ReductionKind
    """How squared errors add up over an image."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    root: Path = Path("runs")
    """Folder that runs are kept in."""

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.root / self.name


_ADAPTER: TypeAdapter[RunConfig] = TypeAdapter(RunConfig)


def config_to_json(config: RunConfig) -> str:
    """Return `config` as indented JSON."""
    return _ADAPTER.dump_json(config, indent=2).decode() + "\n"


def config_from_json(text: str) -> RunConfig:
    """Return the configuration that `config_to_json` wrote.

    Raises:
        ValueError: a field is missing, unknown or of the wrong type; the message names it.
    """
    return _ADAPTER.validate_json(text)
