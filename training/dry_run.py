"""What training would take, measured on a few steps of which nothing is kept."""

from __future__ import annotations

import time

import torch

from ..core.arithmetic import operation_counter
from ..core.console import say
from ..core.evaluation_mode import evaluating
from .loop.passes import Passes, Progress
from .loop.progress_display import duration
from .trainer import Trainer

# Steps that are not timed (compiling, choosing of kernels), and how long others are.
_WARM_UP, _FEWEST, _SECONDS = 2, 3, 10.0


def dry_run(trainer: Trainer) -> None:
    """Print parameters, arithmetic and memory, and how long training would take at the rate of some real steps.

    Args:
        trainer: one that has not trained. Its weights change; nothing is written.
    """
    settings, main = trainer.config.training, trainer.processes.main
    # All of them, as each may hold a part of the network.
    seconds, operations = _seconds_per_step(trainer), operations_of_a_call(trainer)
    if not main:
        return
    memory = trainer.window.close(1)["memory_gib"]
    parameters = sum(p.numel() for p in trainer.denoiser.parameters())
    hours = seconds * settings.steps / 3600
    where = f"{trainer.processes.count} x {trainer.accelerator.device.type}"
    for name, text in {
        "parameters": f"{parameters / 1e6:.2f} M",
        "network": f"{operations / 1e9:.3g} GFLOP per image forward, about three times that per training image",
        "memory": f"{memory:.2f} GiB at the peak of a step ({where})",
        "rate": f"{1 / seconds:.3g} steps, {settings.batch_size / seconds:.3g} images per second, measured",
        "training": f"{settings.steps} steps of {settings.batch_size} images: {duration(hours)}, not counting pictures",
    }.items():
        say(f"{name:12}{text}")


def _seconds_per_step(trainer: Trainer) -> float:
    times, began = list[float](), time.perf_counter()
    # Of its own: it checks no contents, and writes none down.
    passes = Passes(
        trainer.data.train, trainer.config.training, trainer.processes, trainer.accelerator.device, Progress(), None
    )
    for x, labels in passes:
        condition = labels if trainer.denoiser.classes is not None else None
        trainer.updates.take(x, *trainer.known.seen(condition, trainer.known.observe(x)))
        # All processes stop at the same step: the main one says when.
        now = time.perf_counter()
        times.append(now)
        enough = len(times) >= _WARM_UP + _FEWEST and now - began > _SECONDS
        if trainer.processes.of_main(enough):
            break
    timed = times[_WARM_UP - 1 :]
    return (timed[-1] - timed[0]) / (len(timed) - 1)


@torch.no_grad()
def operations_of_a_call(trainer: Trainer) -> int:
    """Return the floating-point operations of the network on one image."""
    denoiser = trainer.denoiser
    x = trainer.data.train.fetch([0]).x.to(denoiser.process.device)
    labels = None if denoiser.classes is None else torch.zeros(1, dtype=torch.long, device=x.device)
    t, seen = denoiser.process.at(0.5).t, trainer.known.seen(labels, trainer.known.observe(x))
    with evaluating(denoiser), operation_counter() as counter:
        denoiser.output(x, t, *seen)
    return counter.get_total_flops()
