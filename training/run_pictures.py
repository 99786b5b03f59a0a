"""The pictures of a run: samples, the forward process, samples on their way, and the training loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.pictures import grid, save_gif, save_loss_curve, save_png
from ..degradations import LinearGaussianProcess
from ..samplers import trajectory_frames
from .building import class_columns
from .folder.records import read_metrics
from .folder.run_folder import RunFolder
from .trainer import Trainer

_FORWARD_IMAGES, _FORWARD_LEVELS = 4, 10
_ANIMATED = 16


def draw_pictures(trainer: Trainer, run: RunFolder) -> None:
    """Draw samples.png, forward.png, trajectory.gif and loss.png into the run's folder, and print where they are."""
    settings, denoiser, sampler = trainer.config.pictures, trainer.denoiser, trainer.sampler
    data_range, generator = trainer.data.train.range, torch.Generator().manual_seed(settings.seed)
    condition, given = trainer.seen(settings.count)
    samples = sampler.sample(settings.count, condition=condition, given=given, generator=generator)
    # Whole rows, where each class has a column.
    row = class_columns(denoiser, settings.count) or 1
    count = min(math.ceil(_ANIMATED / row) * row, settings.count)
    condition, given = trainer.seen(count)
    path = sampler.run(count, condition=condition, given=given, generator=generator).trajectory
    assert path is not None
    if not trainer.processes.main:
        # Only where networks are divided, to lend its part of them.
        return
    save_png(run.path / "samples.png", grid(samples, data_range, columns=class_columns(denoiser, settings.count)))
    if trainer.known:
        # In the places of their samples.
        y, _ = trainer.observed(settings.count)
        save_png(run.path / "observed.png", grid(y, data_range, columns=class_columns(denoiser, settings.count)))
    held_out = trainer.data.test.fetch(range(min(_FORWARD_IMAGES, len(trainer.data.test)))).x
    end = trainer.seen(len(held_out)).given if len(held_out) else None
    melting = forward_strip(denoiser.process, held_out, data_range, given=end)
    save_png(run.path / "forward.png", melting)
    frames = trajectory_frames(path, data_range, columns=class_columns(denoiser, count))
    save_gif(run.path / "trajectory.gif", frames)
    save_loss_curve(run.path / "loss.png", read_metrics(run.metrics))
    print(f"\nrun folder: {run.path}")  # noqa: T201
    observed = {"observed.png": "what each sample started from, seen of held-out images"} if trainer.known else {}
    for name, content in {
        "samples.png": f"{settings.count} samples",
        **observed,
        "forward.png": "held-out images melting, level by level",
        "trajectory.gif": "samples unmelting",
        "loss.png": "the training loss",
        "metrics.jsonl": "its numbers",
    }.items():
        print(f"  {run.path / name}  {content}")  # noqa: T201


def forward_strip(
    process: LinearGaussianProcess, images: Tensor, data_range: tuple[float, float], *, given: Tensor | None = None
) -> Tensor:
    """Return images, one row each, at evenly spaced times of the forward process with its noise and known ends."""
    rows = images.to(process.device)
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0)).to(rows.device)
    times = torch.linspace(0, 1, _FORWARD_LEVELS).tolist()
    melting = torch.stack([rows, *(process.corrupt(rows, noise, t, given=given) for t in times[1:])], dim=1)
    return grid(melting.flatten(0, 1), data_range, columns=_FORWARD_LEVELS)
