"""The prior that a run keeps in its folder, so that samples can be drawn where the images are not.

A process that ends in standard normal noise needs none. Otherwise sampling starts from degraded training images, and a
Gaussian fitted to them stands in for those: a few kilobytes after heat, together with the fingerprint of the images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..core.files import write_tensors_atomically
from ..degradations import LinearGaussianProcess
from ..models import LowRankGaussianPrior, StandardNormalPrior
from .data import Images
from .kinds import PriorKind
from .run import RunFolder

# Directions of 2048 coefficients at most: 4 MB in float64. Heat leaves a few dozen of either.
_MOST_DIRECTIONS = 256
# Numbers of images scaled at a time (16 MB in float32).
_LARGEST = 2**22

_IMAGES, _STATE = "train_sha256", "prior"


class ScaledBlocks:
    """Images as float32 numbers in their range, some at a time, as often as they are asked for.

    Args:
        images: the images.
    """

    def __init__(self, images: Images) -> None:
        self.images = images

    def __iter__(self) -> Iterator[Tensor]:
        """Yield blocks, (rows, channels, height, width)."""
        rows = max(1, _LARGEST // torch.Size(self.images.shape).numel())
        for start in range(0, len(self.images), rows):
            yield self.images.scaled(slice(start, start + rows))


def ends_in_standard_normal(process: LinearGaussianProcess) -> bool:
    """Tell whether a standard normal stands for the process's marginal at t = 1."""
    try:
        StandardNormalPrior(process)
    except ValueError:
        return False
    return True


def fit_prior(process: LinearGaussianProcess, train: Images) -> LowRankGaussianPrior:
    """Return the Gaussian fitted to the training images degraded to t = 1.

    Raises:
        ValueError: there are fewer than two images.
    """
    return LowRankGaussianPrior.fit(process, ScaledBlocks(train), most=_MOST_DIRECTIONS)


def prior_to_store(
    run: RunFolder, process: LinearGaussianProcess, train: Images, kind: PriorKind, *, resume: bool
) -> LowRankGaussianPrior | None:
    """Return the prior that a run keeps: the one it has if it is resumed, else one fitted to its images.

    Args:
        run: its folder.
        process: its process.
        train: its training images.
        kind: what its own samples start from.
        resume: whether the run goes on.

    Returns:
        The prior, or None where a standard normal does and no other is asked for.

    Raises:
        ValueError: the stored one was fitted to other images or for another process.
    """
    if kind is not PriorKind.LOW_DIMENSIONAL and ends_in_standard_normal(process):
        return None
    if resume and run.prior.is_file():
        return read_prior(run.prior, process, train.fingerprint())
    return fit_prior(process, train)


def write_prior(path: Path, prior: LowRankGaussianPrior, fingerprint: str) -> None:
    """Write a prior, and the fingerprint of the images that it was fitted to, whole or not at all."""
    # Where it was fitted is no business of a machine that reads it.
    state = {name: table.cpu() for name, table in prior.state_dict().items()}
    write_tensors_atomically(path, {_IMAGES: fingerprint, _STATE: state})


def read_prior(path: Path, process: LinearGaussianProcess, fingerprint: str) -> LowRankGaussianPrior:
    """Return the prior that `write_prior` wrote.

    Args:
        path: the file.
        process: the process that it is a prior of.
        fingerprint: that of the images it must have been fitted to.

    Raises:
        ValueError: it was fitted to other images or for another process, or the file holds something else.
    """
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or found.keys() != {_IMAGES, _STATE}:
        msg = f"{path} holds no prior of a run: move it away, and store_prior() of the loaded run, or --resume, fits it"
        raise ValueError(msg)
    if found[_IMAGES] != fingerprint:
        msg = (
            f"{path} was fitted to other images than the run was trained on (SHA-256 {found[_IMAGES][:12]}... stored,"
            f" {fingerprint[:12]}... needed): restore the run's own file"
        )
        raise ValueError(msg)
    return LowRankGaussianPrior.from_state_dict(process, found[_STATE])
