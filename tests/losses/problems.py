"""What the tests of losses share: uniform numbers, exact problems, a poor network, and few of many processes."""

import pytest
import torch
from support import seeded
from torch import nn

from unmelt.degradations import CosineSchedule, IsotropicDiffusion
from unmelt.losses import LossAwareTimes
from unmelt.models import GaussianOracle
from unmelt.testing.strategies import random_images

CPU = torch.device("cpu")
EPS = 2.0**-52
# The largest number that torch.rand draws.
ALMOST = 1 - 2.0**-53
# Kolmogorov's distance of n draws exceeds 2.2 / sqrt(n) for one seed in 10^4.
KOLMOGOROV = 2.2


def uniforms(count, seed=7):
    return torch.rand(count, generator=seeded(seed), dtype=torch.float64)


def distance_from_uniform(u):
    """Kolmogorov's distance between draws and the uniform distribution."""
    place = (torch.arange(len(u), dtype=torch.float64) + 0.5) / len(u)
    return (u.sort().values - place).abs().max() + 0.5 / len(u)


def cosine(shape, low=-5.0, high=5.0):
    return IsotropicDiffusion(shape, CosineSchedule(low, high))


def trained(sampler):
    """A `LossAwareTimes` that has met the loss k + 1 in each cell k, as often as it remembers."""
    cells = sampler.cells
    shift = 0 if sampler.number_of_levels() else 0.5
    times = (torch.arange(1, cells + 1, dtype=torch.float64) - shift) / cells
    for _ in range(sampler.of.history):
        sampler.update(times, torch.arange(1.0, cells + 1))
    return sampler


def by_levels(levels, **settings):
    return LossAwareTimes(**settings).sampler(cosine((1, 2, 2)), levels)


def by_bins(bins, **settings):
    return LossAwareTimes(bins, **settings).sampler(cosine((1, 2, 2)), None)


def gaussian(process, seed=0):
    """The exact denoiser of data with a spectrum of no symmetry."""
    mean, variance = random_images(process.shape, seed=seed)
    return GaussianOracle(process, mean, 0.2 * variance + 0.02)


class Wobbly(nn.Module):
    """A small network that depends on latent, time and, where there is one, condition, and is right about nothing."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.3, 0.2, 0.1]))

    def forward(self, z, t, condition=None):
        turned, own, late = self.weight.to(z.dtype)
        tail = (-1, *(1,) * (z.ndim - 1))
        told = 0.0 if condition is None else condition.to(z.dtype).reshape(tail)
        return torch.sin(3 * z).roll(1, -1) * turned + own * z + late * t.to(z.dtype).reshape(tail) + told


# One process of each kind that matters to likelihoods; the rest of the zoo repeats them in the full suite.
FEW = ("heat", "blurring", "pixelation", "graph", "linear from 0", "rectified flow", "variance preserving blur")


def few(names):
    """Return the names for `parametrize`, all but a few of them marked `full`."""
    return [name if name in FEW else pytest.param(name, marks=pytest.mark.full) for name in names]


def some(names, others):
    """Return pairs of names and others, in the fast suite the few names with one of the others each."""
    marked = []
    for i, name in enumerate(names):
        for j, other in enumerate(others):
            fast = name in FEW and (i + j) % len(others) == 0
            marked.append(
                pytest.param(
                    name,
                    other,
                    marks=[] if fast else [pytest.mark.full],
                    id=f"{name}-{getattr(other, '__name__', other)}",
                )
            )
    return marked
