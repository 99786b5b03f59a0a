"""Code of a user's that fails in the library."""

import math

import torch
from torch import nn

from unmelt.degradations import (
    CosineBasis,
    Deterministic,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LinearGaussianProcess,
    PredictPreviousLevel,
    PredictX,
)
from unmelt.losses import ELBO, DenoisingLoss
from unmelt.models import Denoiser, GaussianDecoder, StandardNormalPrior, UNet
from unmelt.samplers import Multistep, Posterior, Sampler, UniformGrid
from unmelt.testing import check_process

SHAPE = (1, 8, 8)


SMALL = {"channels": 4, "multipliers": (1, 2), "blocks": 1, "attention_levels": ()}


def heat(prediction=None, network=None):
    process = HeatDissipation(SHAPE, levels=8, sigma=0.03, blur_sigma_max=4.0)
    return Denoiser(network or UNet(SHAPE, **SMALL), process, prediction=prediction or PredictX())


def isotropic():
    return Denoiser(UNet(SHAPE, **SMALL), IsotropicDiffusion(SHAPE), prediction=PredictX())


class Brightening(LinearGaussianProcess):
    def __init__(self, shape):
        super().__init__(CosineBasis(shape))

    def log_alpha(self, t):
        return self.expand_times(t)

    def log_sigma(self, t):
        return self.expand_times(t).mul(0).sub(3)


class Flat(nn.Module):
    def forward(self, z_t, t, condition=None):
        return z_t.flatten(1)


class NotANumber(nn.Module):
    def forward(self, z_t, t, condition=None):
        return z_t * math.nan


class TwoArguments(nn.Module):
    def forward(self, z_t, t):
        return z_t


def no_prior():
    Sampler(heat(), Posterior(Independent()), UniformGrid(4))


def off_its_levels():
    denoiser = heat(PredictPreviousLevel())
    prior = StandardNormalPrior(denoiser.process, tolerance=2.0)
    Sampler(denoiser, Multistep(order=2), grid=UniformGrid(3), prior=prior)


def not_finite():
    denoiser = Denoiser(NotANumber(), IsotropicDiffusion(SHAPE), prediction=PredictX())
    Sampler(denoiser, Posterior(), UniformGrid(3)).sample(1)


def broken_law():
    check_process(Brightening(SHAPE), max_examples=1)


def integer_images():
    DenoisingLoss(isotropic())(torch.zeros(2, *SHAPE, dtype=torch.uint8))


def other_shape():
    HeatDissipation(SHAPE).degrade(torch.rand(1, 1, 9, 9), 0.5)


def level_for_time():
    HeatDissipation(SHAPE).degrade(torch.rand(1, *SHAPE), torch.tensor([3]))


def time_outside():
    HeatDissipation(SHAPE).degrade(torch.rand(1, *SHAPE), 3.0)


def two_arguments():
    heat(network=TwoArguments())


def flat_output():
    heat(network=Flat())(torch.rand(1, *SHAPE), torch.tensor([0.5]))


def label_outside():
    denoiser = Denoiser(UNet(SHAPE, classes=10, **SMALL), IsotropicDiffusion(SHAPE), prediction=PredictX())
    denoiser(torch.rand(1, *SHAPE), torch.tensor([0.5]), torch.tensor([12]))


def no_density():
    IsotropicDiffusion(SHAPE).posterior(*torch.rand(2, 1, *SHAPE), 0.2, 0.5, Deterministic()).log_prob(
        torch.rand(1, *SHAPE)
    )


def levels_not_declared():
    denoiser = isotropic()
    bound = ELBO(denoiser, steps=5, decoder=GaussianDecoder(denoiser.process, 0.1))
    bound(torch.rand(1, *SHAPE)).bits_per_dim()
