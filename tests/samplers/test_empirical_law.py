"""Samples of a finite data set, by its exact denoiser: far from it with few steps, its own law with many."""

import pytest
import torch

from unmelt.degradations import (
    BlurringDiffusion,
    Deterministic,
    Eta,
    HeatDissipation,
    IsotropicDiffusion,
    Markov,
    RectifiedFlowSchedule,
)
from unmelt.models import EmpiricalOracle, OraclePrior
from unmelt.samplers import (
    AdaptiveSampler,
    ExponentialSDESampler,
    HeunSampler,
    MultistepSampler,
    PosteriorSampler,
    PredictorCorrectorSampler,
)

pytestmark = pytest.mark.usefixtures("as_in_production")

SHAPE = (1, 4, 4)
COUNT = 400
PROCESSES = {
    # With noise enough that the images, whose means heat keeps, cannot be told apart at t = 1.
    "heat": HeatDissipation(SHAPE, blur_sigma_max=4.0, sigma=0.5),
    "blurring": BlurringDiffusion(SHAPE, blur_sigma_max=2.0),
    "cosine": IsotropicDiffusion(SHAPE),
    "rectified flow": IsotropicDiffusion(SHAPE, RectifiedFlowSchedule()),
}
SAMPLERS = {
    "markov": (PosteriorSampler, {"coupling": Markov()}),
    "deterministic": (PosteriorSampler, {"coupling": Deterministic()}),
    "eta": (PosteriorSampler, {"coupling": Eta(0.5)}),
    "heun": (HeunSampler, {}),
    "multistep": (MultistepSampler, {"order": 2}),
    "third order": (MultistepSampler, {"order": 3}),
    "sde": (ExponentialSDESampler, {}),
    "predictor-corrector": (PredictorCorrectorSampler, {"size": 0.02}),
}


def images():
    """Fifty smooth images."""
    white = torch.randn((50, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return white + white.roll(1, -1) + white.roll(1, -2)


def energy_distance(x, y):
    """2 E|x - y| - E|x - x'| - E|y - y'| over all pairs, x and y (count, *shape): 0 for equal laws, never negative."""
    x, y = x.flatten(1).double(), y.flatten(1).double()
    between, within_x, within_y = (torch.cdist(a, b).mean().item() for a, b in ((x, y), (x, x), (y, y)))
    return 2 * between - within_x - within_y


def noise_floor(data):
    """The largest energy distance of 20 sets of as many draws of the data itself."""
    generator = torch.Generator().manual_seed(9)
    draws = [data[torch.randint(len(data), (COUNT,), generator=generator)] for _ in range(20)]
    return max(energy_distance(draw, data) for draw in draws)


def sampled(kind, process, data, settings, **grid):
    oracle = EmpiricalOracle(process, data)
    sampler = kind(oracle, prior=OraclePrior(oracle), **grid, **settings)
    return sampler.sample(COUNT, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_many_steps_give_the_data_and_few_do_not(sampler, name):
    kind, settings = SAMPLERS[sampler]
    data, process = images(), PROCESSES[name]
    few, many = (energy_distance(sampled(kind, process, data, settings, steps=steps), data) for steps in (2, 60))
    # Twenty sets of true draws do not reach twice the largest of twenty others; 60 steps leave some of their error.
    assert many < 2.5 * noise_floor(data)
    assert few > 2 * many


@pytest.mark.parametrize("name", PROCESSES)
def test_the_adaptive_sampler_gives_the_data(name):
    data = images()
    found = sampled(AdaptiveSampler, PROCESSES[name], data, {"rtol": 1e-3, "atol": 1e-3})
    assert energy_distance(found, data) < 2 * noise_floor(data)
