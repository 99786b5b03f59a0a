"""Devices, precision and processes, by accelerate."""

from __future__ import annotations

import os
import warnings
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import AutocastKwargs, DistributedType
from torch import nn

from ...core.configuration import to_record
from ..run_config import Precision, RunConfig

_MIXED = {Precision.FLOAT32: "no", Precision.BF16: "bf16", Precision.FP16: "fp16"}
# Each process holds the whole model, or torch divides it (`divided.py`).
_KNOWN = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.MULTI_XPU)


def accelerator_for(config: RunConfig) -> Accelerator:
    """Return what knows of devices and processes.

    Raises:
        RuntimeError: several processes were started that do not know of each other.
        ValueError: the device has no such arithmetic, accelerate or DeepSpeed would divide the model, or a tracker is
            not installed.
    """
    settings = config.training
    accelerator = Accelerator(
        cpu=settings.cpu,
        # Of float16 accelerate makes float32 on a CPU without a word; that is refused below.
        mixed_precision=_MIXED[settings.precision],
        step_scheduler_with_optimizer=False,
        log_with=[_tracker(name) for name in settings.trackers] or None,
        project_dir=str(config.folder),
        # It would keep all weights, rounded, until the end of the forward pass: whole ones, where they are divided.
        kwargs_handlers=[AutocastKwargs(cache_enabled=not settings.shard_model)],
    )
    # `accelerate launch` may say otherwise, and would have gradients divided by it once more.
    accelerator.gradient_accumulation_steps = 1
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        msg = (
            f"{started} processes were started but each of them runs alone and would write the same files: without CUDA"
            " add --training.cpu to the command that torchrun starts"
        )
        raise RuntimeError(msg)
    if accelerator.device.type == "cpu":
        # Gradients of convolutions are laid out otherwise on a CPU: slower, says torch, and nothing is to be done.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    if accelerator.distributed_type not in _KNOWN:
        msg = (
            f"{accelerator.distributed_type.value} is not supported: start the processes with torchrun, or with"
            " `accelerate launch --multi_gpu`; --training.shard_model divides all of the model among them,"
            " --training.shard_optimizer the optimizer's state alone"
        )
        raise ValueError(msg)
    if settings.precision is Precision.FP16 and accelerator.device.type == "cpu":
        msg = "precision FP16 needs a GPU: give BF16 or FLOAT32 on a CPU"
        raise ValueError(msg)
    return accelerator


def channels_last(network: nn.Module) -> None:
    """Lay the weights of two-dimensional convolutions out with their channels together."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def flat_record(config: RunConfig) -> dict[str, str]:
    """Return a configuration as trackers show it: one text for each path."""
    flat, left = dict[str, str](), list[tuple[str, object]](to_record(config).items())
    for path, value in left:
        if isinstance(value, dict):
            left += [(f"{path}.{name}", inner) for name, inner in cast("dict[str, object]", value).items()]
        else:
            flat[path] = str(value)
    return flat


def _tracker(name: str) -> str:
    known, here = sorted(map(str, LOGGER_TYPE_TO_CLASS)), sorted(map(str, get_available_trackers()))
    if name not in known:
        msg = f"trackers: there is no {name!r}; accelerate knows {', '.join(known)}"
        raise ValueError(msg)
    if name not in here:
        msg = f"trackers: {name} is not installed (pip install {name}); here are {', '.join(here)}"
        raise ValueError(msg)
    # Runs are recorded on this machine; whoever wants them elsewhere says so.
    os.environ.setdefault("WANDB_MODE", "offline")
    return name
