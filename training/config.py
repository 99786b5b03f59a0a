"""Configuration of a training run: dataclasses, from which the command line and `config.json` come."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from .kinds import (
    DataSource,
    Precision,
    PredictionKind,
    ReductionKind,
)
from .loss_config import LossConfig
from .process_config import ProcessConfig
from .sampling_config import SamplingConfig

_STRICT = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


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
    conditional: bool = False
    """Tell the network the classes of images, for data with labels."""


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
    label_dropout: float = 0.1
    """Probability of hiding a label from a conditional network, which guidance needs."""
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
    loss: LossConfig = field(default_factory=LossConfig)
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
