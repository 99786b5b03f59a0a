"""The prior of a run that asks for none."""

from __future__ import annotations

from ...degradations import LinearGaussianProcess
from .base import Prior
from .blocks import Data
from .low_rank import LowRankGaussianPrior
from .standard_normal import StandardNormalPrior, ends_in_standard_normal

# Directions of 2048 coefficients at most: 4 MB in float64. Heat leaves a few dozen of either.
_MOST_DIRECTIONS = 256


def fit_prior(process: LinearGaussianProcess, data: Data) -> Prior:
    """Return the standard normal prior where the process ends in it, else a Gaussian fitted to degraded data.

    Args:
        process: the forward process.
        data: all of the data in one tensor, (count, *shape), or batches of it that can be gone through more than once.

    Raises:
        TypeError, ValueError: as `LowRankGaussianPrior.fit`.
    """
    if ends_in_standard_normal(process):
        return StandardNormalPrior(process)
    return LowRankGaussianPrior.fit(process, data, most=_MOST_DIRECTIONS)
