"""What a recipe calls: command line, data, training, pictures."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated

import torch
import tyro

from ..core.pictures import (
    grid,
    save_gif,
    save_loss_curve,
    save_png,
)
from ..samplers import Sampler, Trajectory
from .build import build_sampler, load_data
from .config import RunConfig
from .data import DataRange
from .labels import class_columns
from .process_config import CustomConfig
from .records import read_metrics
from .run import RunFolder
from .trainer import Trainer

_FORWARD_IMAGES, _FORWARD_LEVELS = 4, 10
_ANIMATED = 16
_MOST_FRAMES = 60


@dataclasses.dataclass(frozen=True)
class Command:
    """Train a model and draw samples from it."""

    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    degradation: str | None = None
    """Train another process than the recipe's: a family such as Pixelation, with settings in parentheses if you like,
    'HeatDissipation(levels=50)'; or your own class as module:Class or path/to/file.py:Class."""
    resume: bool = False
    """Go on with the newest checkpoint of the run of this name."""


def parse(default: RunConfig, description: str | None, arguments: Sequence[str] | None = None) -> Command:
    """Return the configuration `default` as changed by the command line; print and exit on --help or an error.

    Args:
        default: the recipe's settings.
        description: the recipe's docstring, shown by --help.
        arguments: command-line arguments; the program's own if None.
    """
    command = tyro.cli(
        Command,
        default=Command(default),
        description=description,
        args=arguments,
        config=(tyro.conf.AvoidSubcommands, tyro.conf.EnumChoicesFromValues),
    )
    if command.degradation is None:
        return command
    if command.run.process != default.process:
        sys.exit(
            "error: --process.* are settings of the recipe's own process, which --degradation replaces: write them as "
            f"--degradation '{command.degradation.partition('(')[0]}(NAME=VALUE)'"
        )
    process = CustomConfig(target=command.degradation)
    return dataclasses.replace(command, run=dataclasses.replace(command.run, process=process))


def launch(default: RunConfig, description: str | None = None) -> Trainer:
    """Train what a recipe and its command line describe, draw the run's pictures and say where they are.

    An error in what the user gave (a missing data set, an existing run, a setting out of range) is printed as one
    message and ends the program with status 1.

    Args:
        default: the recipe's settings.
        description: shown by --help.

    Returns:
        The trainer after its last step.
    """
    command = parse(default, description)
    try:
        trainer = Trainer(command.run, load_data(command.run.data), resume=command.resume)
    except (ConnectionError, FileExistsError, FileNotFoundError, RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")
    try:
        run = trainer.train()
    except (FloatingPointError, KeyboardInterrupt) as error:
        sys.exit(f"error: {error}")
    if trainer.accelerator.is_main_process:
        draw_pictures(trainer, run)
    return trainer


def draw_pictures(trainer: Trainer, run: RunFolder) -> None:
    """Draw samples.png, forward.png, trajectory.gif and loss.png into the run's folder, and print where they are."""
    settings, train = trainer.config.sampling, trainer.data.train
    generator = torch.Generator().manual_seed(settings.seed)
    classes = trainer.denoiser.classes

    def sampler_of(count: int) -> Sampler:
        return build_sampler(trainer.config, trainer.ema.model, trainer.prior, labels=trainer.sample_labels(count))

    sampler, columns = sampler_of(settings.count), class_columns(classes, settings.count)
    samples = sampler.sample(settings.count, generator=generator)
    save_png(run.folder / "samples.png", grid(samples, train.data_range, columns=columns))
    save_png(run.folder / "forward.png", forward_strip(sampler, trainer.data.test.scaled(), train.data_range))
    animated = min(_ANIMATED, settings.count)
    path = sampler_of(animated).trajectory(animated, generator=generator)
    frames = trajectory_frames(path, train.data_range, columns=class_columns(classes, animated))
    save_gif(run.folder / "trajectory.gif", frames)
    save_loss_curve(run.folder / "loss.png", read_metrics(run.metrics))
    print(f"\nrun folder: {run.folder}")  # noqa: T201
    for name, content in {
        "samples.png": f"{settings.count} samples",
        "forward.png": "held-out images melting, level by level",
        "trajectory.gif": "samples unmelting",
        "loss.png": "the training loss",
        "metrics.jsonl": "its numbers",
    }.items():
        print(f"  {run.folder / name}  {content}")  # noqa: T201


def forward_strip(sampler: Sampler, images: torch.Tensor, data_range: DataRange) -> torch.Tensor:
    """Return a few images, one row each, at evenly spaced times of the forward process with its noise."""
    process = sampler.process
    rows = images[:_FORWARD_IMAGES].to(process.device)
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0)).to(rows.device)
    times = torch.linspace(0, 1, _FORWARD_LEVELS).tolist()
    melting = torch.stack([rows, *(process.corrupt(rows, noise, t) for t in times[1:])], dim=1)
    return grid(melting.flatten(0, 1), data_range, columns=_FORWARD_LEVELS)


def trajectory_frames(path: Trajectory, data_range: DataRange, *, columns: int | None = None) -> list[torch.Tensor]:
    """Return at most 60 frames of a trajectory, evenly spaced, the first and the last among them; see `grid`."""
    count = min(_MOST_FRAMES, len(path.states))
    chosen = torch.linspace(0, len(path.states) - 1, count).round().long().tolist()
    return [grid(path.states[i], data_range, columns=columns) for i in chosen]
