"""Problems that the flow's likelihood is known for: oracles, their latents, and processes with moderate noise."""

import torch
from problems import cosine
from support import seeded
from torch import nn

from unmelt.degradations import BlurringDiffusion, ConstantNoise, CosineSchedule, HeatDissipation, Pixelation, PredictV
from unmelt.losses import FlowLikelihood
from unmelt.models import Denoiser, EmpiricalOracle, GaussianOracle, MixtureOracle, OraclePrior, Prior
from unmelt.testing.strategies import random_images

SHAPE = (2, 2, 4)


def gaussian(process):
    mean, variance = random_images(process.shape, seed=1)
    return GaussianOracle(process, mean, variance + 0.1)


def mixture(process):
    means, variances = (2 * random_images(process.shape, batch=3, seed=s) for s in (2, 3))
    return MixtureOracle(process, torch.arange(1.0, 4.0), means, variances / 2 + 0.05)


def empirical(process):
    return EmpiricalOracle(process, 2 * random_images(process.shape, batch=4, seed=4))


ORACLES = [gaussian, mixture, empirical]


def latents(oracle, t, count=2, seed=5):
    generator = seeded(seed)
    return oracle.process.marginal(oracle.sample(count, generator=generator), t).sample(generator=generator)


def likelihood(oracle, **settings):
    return FlowLikelihood(oracle, prior=OraclePrior(oracle), **settings)


def error_of(oracle, t, z=None, **settings):
    z = latents(oracle, t) if z is None else z
    return (likelihood(oracle, first=t, **settings).log_prob(z).log_prob - oracle.log_prob(z, t)).abs().max()


NOISY = {
    "cosine": cosine(SHAPE),
    "heat": HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=20, sigma=0.3),
    "blurring": BlurringDiffusion(SHAPE, blur_sigma_max=3.0, schedule=CosineSchedule(-5.0, 5.0)),
    "pixelation": Pixelation(SHAPE, noise=ConstantNoise(0.3)),
}


class StandardNormalish(Prior):
    """N(0, I), of any process."""

    def sample(self, count, *, generator=None):
        return torch.randn(count, *self.process.shape, generator=generator)

    def log_prob(self, z):
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).flatten(1).sum(1)


class Mixing(nn.Module):
    """A smooth network in which every coefficient depends on every other."""

    def __init__(self, count, dtype=torch.float64):
        super().__init__()
        weight = torch.randn(count, count, generator=seeded(9), dtype=torch.float64) / count**0.5
        self.weight = nn.Parameter(weight.to(dtype))
        self.calls = 0

    def forward(self, z, t, condition=None):
        self.calls += 1
        return torch.tanh(z.flatten(1) @ self.weight.mT).reshape(z.shape)


def network_denoiser(process=None):
    process = process or NOISY["blurring"]
    return Denoiser(
        Mixing(process.basis.forward(torch.zeros(1, *process.shape)).numel()), process, prediction=PredictV()
    )
