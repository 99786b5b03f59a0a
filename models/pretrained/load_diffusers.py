"""A saved diffusers model as a denoiser of its own process, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...degradations import IsotropicDiffusion
from ..clipped_denoiser import ClippedDenoiser
from ..denoiser import AbstractDenoiser, Denoiser
from .diffusers_network import DiffusersNetwork
from .saved_parts import Saved, diffusers_package
from .scheduler_settings import SchedulerSettings


def load_diffusers(
    source: str | Path,
    *,
    shape: Sequence[int] | None = None,
    clip: bool | None = None,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> AbstractDenoiser:
    """Return a saved diffusers model as a denoiser, with its process: its scheduler's betas, level by level.

    The network is read from the folder's `unet` or `transformer` and the scheduler from `scheduler`, or both from the
    folder itself, as pipelines and their parts are saved. What the network predicts, and whether estimates are clipped,
    is what the scheduler's configuration says. Images of diffusers' pipelines are in [-1, 1]. No code of the model's
    is run.

    Args:
        source: a folder, or an id on the Hugging Face hub such as "google/ddpm-cifar10-32". With HF_HUB_OFFLINE=1 in
            the environment nothing is fetched.
        shape: shape of one latent, (channels, height, width); the network's `sample_size` if None.
        clip: whether estimates are clipped (`ClippedDenoiser`); what the scheduler says if None.
        dtype: precision of the network, such as torch.float16; float32 if None, whatever it was saved in. Latents are
            in float32 either way.
        revision: branch, tag or commit on the hub.
        local_files_only: look in the hub's cache alone.

    Returns:
        A `Denoiser` of the process `IsotropicDiffusion(shape, DiscreteSchedule(betas))` in evaluation mode, or a
        `ClippedDenoiser` around it.

    Raises:
        ModuleNotFoundError: diffusers is not installed.
        OSError: a part is not there, or cannot be reached.
        ValueError: network or scheduler are of another kind, the prediction cannot be converted stably, the scheduler
            thresholds estimates (`clip=False` leaves that out), or the network does not say its size.
    """
    diffusers = diffusers_package()
    saved = Saved(source, revision, local_files_only)
    config, folder = saved.find(diffusers.UNet2DModel, "config.json", ["unet", "transformer"], "network")
    settings = SchedulerSettings.load(source, revision=revision, local_files_only=local_files_only)
    kind = _kind(config)
    model = getattr(diffusers, kind).from_pretrained(
        str(source), torch_dtype=dtype or torch.float32, **saved.arguments(folder)
    )
    schedule = settings.schedule
    process = IsotropicDiffusion(shape or _shape(kind, model.config), schedule)
    network = DiffusersNetwork(model, levels=schedule.levels or 1)
    denoiser = Denoiser(network, process, prediction=settings.prediction).eval()
    if settings.thresholding and clip is not False:
        msg = (
            "the scheduler clips each estimate by dynamic thresholding: pass clip=False, and clip what is returned by"
            " ClippedDenoiser(denoiser, (-1, 1), percentile=0.995), or leave estimates as they are"
        )
        raise ValueError(msg)
    wanted = settings.clip_range is not None if clip is None else clip
    if not wanted:
        return denoiser
    to = settings.clip_range or (-1.0, 1.0)
    return ClippedDenoiser(denoiser, to, keep_noise=settings.keeps_noise).eval()


def _kind(config: dict[str, Any]) -> str:
    """Return the class of a network, by what its configuration says."""
    kind = str(config.get("_class_name"))
    if kind == "Transformer2DModel" and config.get("norm_type") == "ada_norm_zero":
        # Its name before diffusers 0.28.
        return "DiTTransformer2DModel"
    known = ("UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel")
    if kind not in known:
        msg = f"the network is a {kind}, and {', '.join(known)} are read: wrap another in a module of your own"
        raise ValueError(msg)
    return kind


def _shape(kind: str, config: Any) -> tuple[int, int, int]:
    """Return the shape of one latent that a network was made for."""
    size = config.sample_size
    if size is None:
        msg = f"this {kind} does not say the size of its images: pass shape=({config.in_channels}, height, width)"
        raise ValueError(msg)
    height, width = (size, size) if isinstance(size, int) else size
    return config.in_channels, height, width
