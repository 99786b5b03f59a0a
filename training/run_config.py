"""What a training run is: a value whose parts are the library's own constructors.

A recipe writes it down, the command line changes it, and the run's folder keeps it, all in the same words:

    process=later(HeatDissipation, levels=200)          --process "HeatDissipation(levels=200)"

What needs something that is only known later (the images' shape, the process, the parameters) is a `later` call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePath

import torch
from torch import Tensor, nn

from ..core import Shape, later
from ..core.checks import check_count, check_number
from ..degradations import LinearGaussianProcess, Prediction
from ..losses import LearnedLogVariance, Reduction, SimpleWeighting, SumOverDimensions, TimeDistribution, Weighting
from ..models import Prior, fit_prior
from ..samplers import Grid, Posterior, Stepper
from ..samplers.guidance import LinearObservation
from .data import DataSet


class Precision(Enum):
    """Arithmetic of the network; parameters, averages, processes and losses stay in float32.

    FP16 is for GPUs without bfloat16 (V100, T4): losses are scaled, and a step whose gradient overflows is left out.
    """

    FLOAT32 = "float32"
    BF16 = "bf16"
    FP16 = "fp16"


@dataclass(frozen=True, kw_only=True)
class Training:
    """The training loop.

    Attributes:
        steps: number of training steps.
        batch_size: images per step, shared by all processes.
        accumulate: parts that a step's images are computed in, one after the other.
        warmup: steps over which the learning rate grows linearly from 0.
        cosine_decay: let the learning rate fall to a hundredth along a cosine until the last step.
        clip: largest gradient norm.
        ema_decay: decay of the moving average that samples are drawn from; or several, that one first.
        flip: mirror half of the training images.
        label_dropout: probability of hiding a label from a network with classes, which guidance needs.
        precision: arithmetic of the network.
        compile: compile the training step with torch.compile.
        shard_optimizer: keep an optimizer's state in parts, one in each process, where there are several.
        shard_model: so keep parameters, gradients and averages, too.
        channels_last: lay images and weights out with their channels together in memory.
        cpu: train on the CPU even where there is an accelerator.
        seed: seed of everything random.
        workers: processes that read the data; None takes none for what lies in memory, and one per core for files.
        log_every: steps between two lines of metrics.
        checkpoint_every: steps between two checkpoints.
        keep_checkpoints: how many of the latest checkpoints are kept.
        sample_every: steps between two sample grids.
        most_skips: steps in a row that may be left out for a gradient that is not finite.
        agree_every: steps between two questions of several processes whether to stop.
        trackers: trackers beside TensorBoard, by accelerate: ("wandb",).

    Raises:
        ValueError: a number is out of range, or two settings exclude each other.
    """

    steps: int = 1_300_000
    batch_size: int = 128
    accumulate: int = 1
    warmup: int = 5000
    cosine_decay: bool = False
    clip: float = 1.0
    ema_decay: float | tuple[float, ...] = 0.999
    flip: bool = False
    label_dropout: float = 0.1
    precision: Precision = Precision.FLOAT32
    compile: bool = False
    shard_optimizer: bool = False
    shard_model: bool = False
    channels_last: bool = False
    cpu: bool = False
    seed: int = 0
    workers: int | None = None
    log_every: int = 50
    checkpoint_every: int = 10_000
    keep_checkpoints: int = 2
    sample_every: int = 10_000
    most_skips: int = 20
    agree_every: int = 10
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "log_every", "checkpoint_every", "keep_checkpoints"):
            check_count(name, getattr(self, name))
        for name in ("sample_every", "agree_every"):
            check_count(name, getattr(self, name))
        for name in ("warmup", "workers", "most_skips"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), 0)
        for decay in self.ema_decays:
            check_number("ema_decay", decay, "[0, 1)", "0.999 remembers about a thousand steps")
        if not self.ema_decays or len({*self.ema_decays}) < len(self.ema_decays):
            msg = f"ema_decay must be one number, or several different ones, got {self.ema_decay}"
            raise ValueError(msg)
        self._check_shards()
        check_number("label_dropout", self.label_dropout, "[0, 1)", "with 1 no label would ever be seen")
        check_number("clip", self.clip, "(0, inf]", "a gradient norm; inf does not clip")

    def _check_shards(self) -> None:
        reasons = {
            "shard_optimizer": "it divides the optimizer's state, too" if self.shard_optimizer else None,
            "channels_last": "only contiguous weights are divided" if self.channels_last else None,
            "compile": "that is not tried" if self.compile else None,
            "precision": "its scaling of losses is not tried; BF16 is" if self.precision is Precision.FP16 else None,
        }
        for name, reason in reasons.items() if self.shard_model else ():
            if reason is not None:
                msg = f"shard_model and {name}={getattr(self, name)} exclude each other: {reason}; leave one out"
                raise ValueError(msg)

    @property
    def ema_decays(self) -> tuple[float, ...]:
        """All decays, the one that samples are drawn from first."""
        return self.ema_decay if isinstance(self.ema_decay, tuple) else (self.ema_decay,)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Samples drawn during training and after it.

    Attributes:
        count: samples in a grid.
        seed: seed of the samples.
        guidance: scale of classifier-free guidance for a network with classes: 1 is without, more exaggerates them.

    Raises:
        ValueError: count < 1, or guidance is negative or not finite.
    """

    count: int = 64
    seed: int = 0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        check_count("count", self.count)
        check_number("guidance", self.guidance, "[0, inf)", "1 is without, 3 is usual")


def _adam() -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    return later(torch.optim.AdamW, lr=2e-4, weight_decay=0.0, fused=True)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A training run.

    Process, network and observation are made from the shape of an image. Where `given` observes y, a process with a
    known end ends in that, and a network made with `image_channels` sees it beside the latent.

    Attributes:
        name: name of the run; it becomes the folder ROOT/NAME.
        data: where the examples come from.
        process: the forward process, from the shape of an image.
        network: the network: called as network(z_t, t, condition).
        prediction: what the network predicts.
        given: how y is observed of an image; nothing if None.
        weighting: how much errors count at each time.
        times: how training times are drawn; uniformly if None.
        reduction: how squared errors add up over an image.
        log_variance: learned scale of the loss at each time; none if None.
        prior: what samples start from, fitted to the images.
        sampler: how steps are taken.
        grid: where the steps lie; the sampler's own if None.
        optimizer: the optimizer, from the parameters.
        training: the training loop.
        pictures: samples drawn during training and after it.
        fitted_to: most training examples that the prior and other fitted parts are fitted to, spread evenly.
        root: folder that runs are kept in.

    Raises:
        ValueError: the name would leave the root, or fitted_to < 1.
    """

    name: str
    data: DataSet
    process: Callable[[Shape], LinearGaussianProcess]
    network: Callable[[Shape], nn.Module]
    prediction: Prediction
    given: Callable[[Shape], LinearObservation] | None = None
    weighting: Weighting = field(default_factory=SimpleWeighting)
    times: TimeDistribution | None = None
    reduction: Reduction = field(default_factory=SumOverDimensions)
    log_variance: Callable[[], LearnedLogVariance] | None = None
    prior: Callable[[LinearGaussianProcess, Iterable[Tensor]], Prior] = field(default_factory=lambda: later(fit_prior))
    sampler: Stepper = field(default_factory=Posterior)
    grid: Grid | None = None
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = field(default_factory=_adam)
    training: Training = field(default_factory=Training)
    pictures: Pictures = field(default_factory=Pictures)
    fitted_to: int = 10_000
    root: Path = Path("runs")

    def __post_init__(self) -> None:
        check_count("fitted_to", self.fitted_to, hint="training examples")
        path = PurePath(self.name)
        if path.is_absolute() or not path.parts or ".." in path.parts or any(len(p.encode()) > 200 for p in path.parts):
            msg = (
                f"name must be that of a folder below root, got {self.name!r:.80}: at most 200 bytes and no '..';"
                " --root says where runs are kept"
            )
            raise ValueError(msg)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.root / self.name
