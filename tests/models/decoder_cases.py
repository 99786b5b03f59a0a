"""What decoders are tried on: levels, small signals, pairs of data and estimate, and masses in fifty digits."""

import mpmath as mp
import pytest
import torch
from zoo import path_laplacian

from unmelt.degradations import (
    GraphHeat,
    HeatDissipation,
    IsotropicDiffusion,
)
from unmelt.models import (
    GreyLevels,
)
from unmelt.testing.strategies import (
    random_images,
)

LEVELS = [2, 17, 256, 65536]
RANGES = [(0.0, 1.0), (-1.0, 1.0), (3.0, 5.0)]
EVERY = [GreyLevels(levels, *bounds) for levels in LEVELS for bounds in RANGES]
EIGHT_BITS = GreyLevels(256, 0.0, 1.0)
IMAGES = (1, 8, 8)
DOUBLE = torch.finfo(torch.float64).eps

every_quantisation = pytest.mark.parametrize("grey_levels", EVERY, ids=str)


def heat(shape=IMAGES, sigma=0.05):
    return HeatDissipation(shape, blur_sigma_max=3.0, levels=10, sigma=sigma)


def graph():
    return GraphHeat((5,), path_laplacian(5), time_max=4.0, levels=10)


def point():
    """A signal of one number, so that each example of a batch is one pixel."""
    return IsotropicDiffusion((1,))


def seeded(seed=4):
    return torch.Generator().manual_seed(seed)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def pair(shape, seed=0):
    """Data and an estimate of it that is about a fifth off."""
    x, noise = random_images(shape, seed=seed), random_images(shape, seed=seed + 1)
    return x, x + 0.4 * (noise - 0.5)


def levels_of(grey_levels, shape, batch=2, seed=0):
    return torch.randint(grey_levels.count, (batch, *shape), generator=seeded(seed))


def exact_mass(lower, upper):
    """Log of the mass of a standard normal between two numbers, lower < 0 at least as far out as upper."""
    root = mp.sqrt(2)
    if upper > 0:
        return mp.log1p(-(mp.erfc(upper / root) + mp.erfc(-lower / root)) / 2)
    return mp.log((mp.erfc(-upper / root) - mp.erfc(-lower / root)) / 2)
