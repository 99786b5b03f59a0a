"""From a configuration to the objects it describes."""

from __future__ import annotations

from ..degradations import LinearGaussianProcess
from ..losses import DegradedDataPrior, DenoisingLoss, KernelDivergence, Prior, StandardNormalPrior
from ..models import AbstractDenoiser, Denoiser, UNet
from ..samplers import PosteriorSampler
from .config import DataConfig, RunConfig
from .data import DataRange, Images, ImageSplits
from .kinds import DataSource


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


def build_denoiser(config: RunConfig, shape: tuple[int, ...]) -> Denoiser:
    """Return a fresh denoiser for images of `shape`.

    Raises:
        ValueError: a setting is out of range, or the process cannot convert the prediction stably.
    """
    settings = config.network
    network = UNet(
        shape,
        channels=settings.channels,
        multipliers=settings.multipliers,
        blocks=settings.blocks,
        attention_levels=settings.attention_levels,
        heads=settings.heads,
        dropout=settings.dropout,
    )
    return Denoiser(network, config.process.build(shape), prediction=config.prediction.build())


def build_loss(config: RunConfig, process: LinearGaussianProcess) -> DenoisingLoss:
    """Return the training loss.

    Raises:
        ValueError: a setting does not belong to the weighting, or is not defined for the process.
    """
    return config.loss.build(process, config.prediction.build(), config.reduction.build())


def build_prior(
    process: LinearGaussianProcess, train: Images, *, divergence: KernelDivergence = KernelDivergence.MONTE_CARLO
) -> Prior:
    """Return standard normal noise where the process ends in it, else its training images degraded to t = 1."""
    try:
        return StandardNormalPrior(process)
    except ValueError:
        return DegradedDataPrior(process, train.scaled(), divergence=divergence)


def build_sampler(config: RunConfig, denoiser: AbstractDenoiser, prior: Prior) -> PosteriorSampler:
    """Return the sampler that `config` describes, with parameters of `denoiser`."""
    settings = config.sampling
    return PosteriorSampler(
        denoiser, steps=settings.steps, coupling=settings.coupling.build(), delta=settings.delta, prior=prior
    )
