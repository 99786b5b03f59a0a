"""What the samplers' tests share: a soft network, seeds, latents, and samplers written short."""

import torch
from torch import nn

from unmelt.degradations import HeatDissipation, PredictX
from unmelt.models import DegradedDataPrior, Denoiser, OraclePrior
from unmelt.samplers import FixedGrid, Noise, Sampler, UniformGrid
from unmelt.samplers.guidance.observed import ObservationGuidance
from unmelt.testing.strategies import random_images

SHAPE = (1, 4, 4)


class Soft(nn.Module):
    """A bounded function of each number and the time, so that no sum depends on the batch it is made in."""

    def forward(self, z, t, condition=None):
        return 0.5 * torch.tanh(z) * (1 - 0.3 * t.to(z.dtype)[:, None, None, None])


class Silence(Noise):
    """No noise at all: what is left of an affine sampler is its mean."""

    def stream(self, rows):
        return torch.zeros_like


def seeded(seed=11):
    return torch.Generator().manual_seed(seed)


def latents(count=3, seed=0, shape=SHAPE):
    return torch.randn((count, *shape), generator=seeded(seed), dtype=torch.float64)


def heat(levels=12, sigma=0.02, shape=SHAPE, **settings):
    return HeatDissipation(shape, **{"blur_sigma_max": 3.0, "levels": levels, "sigma": sigma, **settings})


def soft(process, prediction=None, network=None):
    return Denoiser(network or Soft(), process, prediction=prediction or PredictX())


def data_prior(process, count=6):
    return DegradedDataPrior.fit(process, random_images(process.shape, batch=count))


def made(denoiser, stepper=None, steps=None, times=None, **settings):
    """A sampler on so many equal steps, or on these times, from the oracle's own marginal where it is an oracle."""
    grid = FixedGrid(times) if times is not None else UniformGrid(steps) if steps else None
    if "prior" not in settings and not isinstance(denoiser, ObservationGuidance):
        exact = hasattr(denoiser, "spectral_mean")
        settings["prior"] = OraclePrior(denoiser) if exact else data_prior(denoiser.process)
    return Sampler(denoiser, stepper, grid=grid, **settings)
