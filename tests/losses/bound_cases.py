"""Bounds written short: of exact denoisers and of a poor network, from the data's own prior."""

from problems import Wobbly, gaussian

from unmelt.degradations import HeatDissipation, IsotropicDiffusion, PredictX
from unmelt.losses import ELBO
from unmelt.models import Denoiser, GreyLevels, OraclePrior
from unmelt.testing.strategies import random_images

SHAPE = (2, 4, 6)
LEVELS = GreyLevels(count=17, low=-1.0, high=1.0)
X = random_images(SHAPE)


def heat(levels=10, **settings):
    return HeatDissipation(SHAPE, levels=levels, **{"blur_sigma_max": 3.0, "sigma": 0.05, **settings})


def exact(process, **settings):
    """The bound of the exact denoiser."""
    oracle = gaussian(process)
    return ELBO(oracle, **{"prior": OraclePrior(oracle), **settings})


def plain(**settings):
    """A bound that needs nothing but a denoiser."""
    return ELBO(gaussian(IsotropicDiffusion(SHAPE)), **settings)


def wobbly(process, network=None, **settings):
    """The bound of a network that is right about nothing."""
    denoiser = Denoiser(network or Wobbly(), process, prediction=PredictX())
    return ELBO(denoiser, prior=OraclePrior(gaussian(process)), **settings)
