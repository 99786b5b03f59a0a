"""The prior of a run, or of a sampler, that is asked for none."""

from __future__ import annotations

from ...degradations import LinearGaussianProcess
from .base import Prior
from .blocks import Data
from .known_end import KnownEndPrior
from .low_rank import LowRankGaussianPrior
from .standard_normal import StandardNormalPrior, ends_in_standard_normal

# Directions of 2048 coefficients at most: 4 MB in float64. Heat leaves a few dozen of either.
_MOST_DIRECTIONS = 256


def default_prior(process: LinearGaussianProcess) -> Prior:
    """Return the prior that needs no data: the standard normal one, or the known end's of a process that has one.

    Raises:
        ValueError: the process ends elsewhere.
    """
    if process.known_end and not ends_in_standard_normal(process):
        return KnownEndPrior(process)
    return StandardNormalPrior(process)


def fit_prior(process: LinearGaussianProcess, data: Data) -> Prior:
    """Return the standard normal prior where the process ends in it, else a Gaussian fitted to degraded data.

    A process with a known end has the prior of that, `KnownEndPrior`.

    Args:
        process: the forward process.
        data: all of the data in one tensor, (count, *shape), or batches of it that can be gone through more than once.

    Raises:
        TypeError, ValueError: as `LowRankGaussianPrior.fit`.
    """
    if process.known_end or ends_in_standard_normal(process):
        return default_prior(process)
    return LowRankGaussianPrior.fit(process, data, most=_MOST_DIRECTIONS)
