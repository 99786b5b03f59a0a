"""Real training for two minutes: the recipe on crops of photographs that come with packages, by the trainer itself."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from on_device.setting import Bench
from on_device.step import TrainingStep, Variant
from on_device.timing import release, timed
from unmelt.core.pictures import grid, save_png
from unmelt.training import PhotoCrops, Pictures, Precision, Trainer
from unmelt.training.folder.records import read_metrics

# Of the time that there is: the rest makes the trainer, writes its checkpoint, and draws.
_SHARE = 0.7
_LINES = 20
_FEWEST = 8
# Steps after which a loss that has not fallen is wrong.
_SURELY_FALLEN = 200


def measure(bench: Bench) -> Mapping[str, object]:
    """Train, and compare the trainer's rate with that of bare steps: what is lost waits for data, or for the host."""
    on_cuda, batch = bench.device.type == "cuda", bench.size.batches[0]
    precision = torch.bfloat16 if on_cuda else torch.float32
    step = TrainingStep(bench.config(batch), bench.device, Variant(precision=precision, channels_last=on_cuda))
    bare = timed(step, bench.device, bench.size.window).seconds
    del step
    release(bench.device)
    steps = max(_FEWEST, int(_SHARE * min(bench.size.training, bench.left) / bare))
    every = max(1, steps // _LINES)
    with tempfile.TemporaryDirectory() as root:
        config = bench.config(batch)
        training = replace(
            config.training,
            steps=steps,
            warmup=min(100, steps // 4),
            # A thousand steps forget their start.
            ema_decay=0.99,
            precision=Precision.BF16 if on_cuda else Precision.FLOAT32,
            channels_last=on_cuda,
            cpu=not on_cuda,
            log_every=every,
            checkpoint_every=steps,
            sample_every=steps,
        )
        pictures = Pictures(count=min(64, bench.size.samples))
        config = replace(config, data=PhotoCrops(), training=training, pictures=pictures, root=Path(root))
        trainer = Trainer(config, config.data.load())
        lines = read_metrics(trainer.train().metrics)
        if bench.picture is not None:
            save_png(bench.picture, grid(trainer.draw(pictures.count, seed=0), trainer.data.train.range))
    rates = [float(line["images_per_second"]) for line in lines[1:] if "images_per_second" in line]
    losses = [float(line["loss_per_dim"]) for line in lines if "loss_per_dim" in line]
    found = {
        "steps": steps,
        "batch": batch,
        "examples": len(trainer.data.train),
        "loss_per_dim_at_first": losses[0],
        "loss_per_dim_at_last": losses[-1],
        "images_per_second": statistics.median(rates),
        "bare_images_per_second": batch / bare,
        "share_of_bare": statistics.median(rates) * bare / batch,
        "memory_gib": float(lines[-1]["memory_gib"]),
        "picture": None if bench.picture is None else bench.picture.name,
    }
    print(f"  {steps} steps of {batch} of {found['examples']} crops; loss per dimension, over {every} steps each:")
    print(f"  {losses[0]:.3g} at first, {losses[-1]:.3g} at last")
    ours, bare_rate = found["images_per_second"], found["bare_images_per_second"]
    print(f"  {ours:.0f} images/s by the trainer, {bare_rate:.0f} by bare steps on images that are there already")
    if steps >= _SURELY_FALLEN and losses[-1] >= losses[0]:
        bench.fail_if([f"{losses[0]:.3g} to {losses[-1]:.3g} in {steps} steps"], "the loss did not fall")
    return found
