"""From a configuration to the objects that are trained and sampled, checked before anything is written."""

from __future__ import annotations

import torch

from ..core import Shape
from ..degradations import LinearGaussianProcess, Markov
from ..losses import DenoisingLoss
from ..models import AbstractDenoiser, ClippedDenoiser, Condition, Denoiser, GreyLevels, Prior
from ..samplers import Sampler
from ..samplers.guidance import ClassifierFreeGuidance
from .known import image_channels
from .run_config import RunConfig

# Times between which a process must lose information, and at which a weighting is tried where there are no levels.
_TIMES_PROBED, _TIMES_AT_ONCE = 129, 16


def build_process(config: RunConfig, shape: Shape) -> LinearGaussianProcess:
    """Return the forward process for images of a shape; what is fitted to them must be there (`unmelt.core.resolve`).

    Raises:
        ValueError: a setting is out of range, or its log-SNR rises: found here rather than by the first samples.
    """
    process = config.process(shape)
    times = torch.linspace(0, 1, _TIMES_PROBED, dtype=torch.float64)
    try:
        for s, t in zip(times[:-1].split(_TIMES_AT_ONCE), times[1:].split(_TIMES_AT_ONCE), strict=True):
            process.posterior_coefficients(s, t, Markov())
    except ValueError as error:
        msg = f"{config.process} is not a forward process: {error}; unmelt.testing.check_process tells more"
        raise ValueError(msg) from error
    return process


def build_denoiser(config: RunConfig, process: LinearGaussianProcess, grey_levels: GreyLevels | None) -> Denoiser:
    """Return a fresh denoiser.

    Raises:
        TypeError: the network does not take three arguments.
        ValueError: a setting is out of range, or the process cannot convert the prediction stably.
    """
    network = config.network(process.shape)
    return Denoiser(
        network,
        process,
        prediction=config.prediction,
        grey_levels=grey_levels,
        sees_given=process.known_end and image_channels(network) > 0,
    )


def build_loss(config: RunConfig, denoiser: Denoiser) -> DenoisingLoss:
    """Return the training loss.

    Raises:
        ValueError: times or weighting are not defined for the process, or weigh an error infinitely at some level or
            time: found here rather than in the middle of training.
    """
    process, prediction = denoiser.process, denoiser.prediction
    loss = DenoisingLoss(
        denoiser,
        times=config.times,
        weighting=config.weighting,
        reduction=config.reduction,
        log_variance=None if config.log_variance is None else config.log_variance(),
    )
    # Levels as they are; else the middles of as many parts, away from ends that are drawn with probability 0.
    count, shift = process.levels or _TIMES_PROBED, 0.0 if process.levels else 0.5
    times = (torch.arange(1, count + 1, dtype=torch.float64) - shift) / count
    for part in times.split(_TIMES_AT_ONCE):
        at = process.at(part)
        loss.weighting.check_scale(loss.weighting.error_scale(prediction, at), prediction, at, torch.float32)
    return loss


def build_sampler(
    config: RunConfig,
    denoiser: Denoiser,
    prior: Prior,
    *,
    clip_to: tuple[float, float] | None = None,
    percentile: float | None = None,
) -> Sampler:
    """Return the sampler that `config` describes, guided if it says so, its estimates clipped to a range if given.

    With a percentile they are clipped by dynamic thresholding; see `ClippedDenoiser`.

    Raises:
        ValueError: a setting is out of range, the process allows no such sampler or grid, or guidance is asked of a
            network that was never without a label.
    """
    guided = _guided(config, denoiser)
    used = guided if clip_to is None else ClippedDenoiser(guided, clip_to, percentile=percentile)
    return Sampler(used, config.sampler, grid=config.grid, prior=prior)


def _guided(config: RunConfig, denoiser: Denoiser) -> AbstractDenoiser:
    """Return `denoiser`, guided as `config` says."""
    scale = config.pictures.guidance
    if scale == 1:
        return denoiser
    if denoiser.classes is None:
        msg = (
            f"guidance={scale} needs a network that is conditioned on classes, and this one is not: train it with"
            " --network.classes, or leave the guidance at 1"
        )
        raise ValueError(msg)
    if config.training.label_dropout == 0:
        msg = (
            f"guidance={scale} needs a network that has also been trained without labels, and this one has not: train"
            " it with --training.label-dropout 0.1, or leave the guidance at 1"
        )
        raise ValueError(msg)
    return ClassifierFreeGuidance(denoiser, scale)


def classes_in_order(denoiser: Denoiser, count: int) -> Condition | None:
    """Return labels 0, 1, ... over and over for `count` samples; None for a network without classes."""
    return None if denoiser.classes is None else torch.arange(count) % denoiser.classes


def class_columns(denoiser: Denoiser, count: int) -> int | None:
    """Return the number of columns that gives each class a column, in order.

    None, a square grid, for a network without classes, or where there are more of them than samples.
    """
    classes = denoiser.classes
    return classes if classes is not None and classes <= count else None
