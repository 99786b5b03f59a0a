"""From a configuration to the objects it describes."""

from __future__ import annotations

from typing import cast

from jaxtyping import Int
from torch import Tensor

from ..degradations import LinearGaussianProcess, estimate_spectrum
from ..losses import DenoisingLoss
from ..models import (
    AbstractDenoiser,
    DegradedDataPrior,
    Denoiser,
    GaussianPrior,
    KernelDivergence,
    LabelledDenoiser,
    Prior,
    StandardNormalPrior,
    UNet,
)
from ..samplers import Sampler
from ..samplers.guidance import ClassifierFreeGuidance
from .config import DataConfig, RunConfig
from .data import DataRange, Images, ImageSplits
from .kinds import DataSource, PriorKind
from .stored_prior import ScaledBlocks, ends_in_standard_normal, fit_prior


def load_data(config: DataConfig) -> ImageSplits:
    """Return the images that `config` names.

    Raises:
        ConnectionError: they are not on this machine and cannot be fetched.
        FileNotFoundError: the folder does not exist.
        ValueError: a setting contradicts the source.
    """
    data_range = DataRange(config.low, config.high)
    if config.source is not DataSource.FOLDER and config.folder is not None:
        msg = f"a folder is given ({config.folder}) but the source is {config.source.value}: add --data.source folder"
        raise ValueError(msg)
    # Each source stands on libraries of its own, imported only where it is asked for.
    match config.source:
        case DataSource.DIGITS:
            from .data.digits import load_digit_images  # noqa: PLC0415

            return load_digit_images(data_range)
        case DataSource.CIFAR10:
            from .data.cifar10 import load_cifar10  # noqa: PLC0415

            return load_cifar10(data_range)
        case DataSource.PHOTOS:
            from .data.photos import load_photo_crops  # noqa: PLC0415

            return load_photo_crops(data_range)
        case DataSource.FOLDER:
            from .data.folder import load_folder  # noqa: PLC0415

            if config.folder is None:
                msg = "the source `folder` needs to know which: add --data.folder PATH"
                raise ValueError(msg)
            return load_folder(config.folder, size=config.size, data_range=data_range)


def build_denoiser(
    config: RunConfig,
    shape: tuple[int, ...],
    classes: int | None = None,
    *,
    data_range: tuple[float, float] | None = None,
) -> Denoiser:
    """Return a fresh denoiser.

    Args:
        config: the run.
        shape: of one image.
        classes: number of classes of the data, which a conditional network is told; None if it has no labels.
        data_range: numbers that the lowest and the highest level of the data are; None if they are not known.

    Raises:
        ValueError: a setting is out of range, the process cannot convert the prediction stably, or the network is
            conditional but the data has no labels.
    """
    settings = config.network
    if settings.conditional and classes is None:
        msg = (
            f"a conditional network needs labels, and the data ({config.data.source.value}) has none: leave out"
            " --network.conditional, or take data with labels, such as --data.source digits"
        )
        raise ValueError(msg)
    network = UNet(
        shape,
        channels=settings.channels,
        multipliers=settings.multipliers,
        blocks=settings.blocks,
        attention_levels=settings.attention_levels,
        heads=settings.heads,
        dropout=settings.dropout,
        classes=classes if settings.conditional else None,
    )
    prediction = config.prediction.build()
    return Denoiser(network, config.process.build(shape), prediction=prediction, data_range=data_range)


def build_loss(config: RunConfig, process: LinearGaussianProcess) -> DenoisingLoss:
    """Return the training loss.

    Raises:
        ValueError: a setting does not belong to the weighting, or is not defined for the process.
    """
    return config.loss.build(process, config.prediction.build(), config.reduction.build())


def build_prior(
    process: LinearGaussianProcess,
    train: Images,
    *,
    kind: PriorKind = PriorKind.AUTO,
    divergence: KernelDivergence = KernelDivergence.MONTE_CARLO,
) -> Prior:
    """Return a prior of the process.

    Args:
        process: the forward process.
        train: its training images.
        kind: which prior; the standard normal where the process ends in it, else degraded training images.
        divergence: what the divergence from degraded training images is.

    Raises:
        ValueError: a standard normal is asked for and the process ends elsewhere, or there are too few images to fit.
    """
    prior = _prior(process, train, kind, divergence)
    if not isinstance(prior, StandardNormalPrior):
        prior.data_range = train.data_range
    return prior


def _prior(process: LinearGaussianProcess, train: Images, kind: PriorKind, divergence: KernelDivergence) -> Prior:
    match kind:
        case PriorKind.STANDARD_NORMAL:
            return StandardNormalPrior(process)
        case PriorKind.LOW_DIMENSIONAL:
            return fit_prior(process, train)
        case PriorKind.GAUSSIAN:
            return GaussianPrior(process, estimate_spectrum(process.basis, ScaledBlocks(train)))
        case PriorKind.AUTO if ends_in_standard_normal(process):
            return StandardNormalPrior(process)
        case PriorKind.AUTO | PriorKind.DEGRADED_DATA:
            return DegradedDataPrior(process, train.scaled(), divergence=divergence)


def build_guidance(
    config: RunConfig, denoiser: AbstractDenoiser, labels: Int[Tensor, " count"] | None
) -> AbstractDenoiser:
    """Return `denoiser` as it is asked for samples of these classes, guided as `config` says.

    Args:
        config: the run.
        denoiser: holds the parameters.
        labels: classes of the samples, one for each; None for samples without.

    Raises:
        ValueError: labels or guidance are asked of a network that is not conditional, or something without a label of
            one that was never trained so.
    """
    scale = config.sampling.guidance
    if not config.network.conditional:
        if scale != 1:
            msg = (
                f"sampling.guidance={scale} exaggerates classes, which this network is not told: train it with"
                " --network.conditional, or leave the guidance at 1"
            )
            raise ValueError(msg)
        return denoiser if labels is None else LabelledDenoiser(cast("Denoiser", denoiser), labels)
    if config.training.label_dropout == 0 and (labels is None or scale != 1):
        asked = "samples without labels" if labels is None else f"sampling.guidance={scale}"
        msg = (
            f"{asked}: this network has never been without a label; train it with --training.label-dropout 0.1, or ask"
            " for classes without guidance, --sampling.guidance 1"
        )
        raise ValueError(msg)
    if labels is None:
        return denoiser
    conditional = cast("Denoiser", denoiser)
    return LabelledDenoiser(conditional, labels) if scale == 1 else ClassifierFreeGuidance(conditional, labels, scale)


def build_sampler(
    config: RunConfig, denoiser: AbstractDenoiser, prior: Prior, *, labels: Int[Tensor, " count"] | None = None
) -> Sampler:
    """Return the sampler that `config` describes.

    Args:
        config: the run.
        denoiser: holds the parameters.
        prior: law of the first latents.
        labels: classes of the samples to draw, one for each, for a conditional network; None draws as if there were no
            classes.

    Raises:
        ValueError: a setting is out of range, or what it asks for was not trained; the message says which.
    """
    return config.sampling.build(build_guidance(config, denoiser, labels), prior)
