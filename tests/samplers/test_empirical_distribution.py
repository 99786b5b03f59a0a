"""Samples of a finite data set, by its exact denoiser: far from it with few steps, distributed as it is with many."""

import pytest
import torch
from sampler_support import made, seeded

from unmelt.degradations import (
    BlurringDiffusion,
    Deterministic,
    Eta,
    HeatDissipation,
    IsotropicDiffusion,
    RectifiedFlowSchedule,
)
from unmelt.models import EmpiricalOracle
from unmelt.samplers import Adaptive, Follow, Heun, Multistep, Posterior, PredictorCorrector

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
STEPPERS = {
    "markov": Posterior(),
    "deterministic": Posterior(Deterministic()),
    "eta": Posterior(Eta(0.5)),
    "heun": Heun(),
    "multistep": Multistep(),
    "third order": Multistep(order=3),
    "either": Multistep(order=3, follow=Follow.EITHER),
    "noisy multistep": Multistep(eta=1.0),
    "sde": Heun(eta=1.0),
    "predictor-corrector": PredictorCorrector(size=0.02),
}
# One of each kind on each kind of process; all of them run with the whole cross product.
FAST = {("markov", "heat"), ("heun", "blurring"), ("third order", "cosine"), ("sde", "rectified flow")}


def images():
    """Fifty smooth images."""
    white = torch.randn((50, *SHAPE), generator=seeded(0), dtype=torch.float64)
    return white + white.roll(1, -1) + white.roll(1, -2)


def energy_distance(x, y):
    """2 E|x - y| - E|x - x'| - E|y - y'| over all pairs: 0 for equal distributions, never negative."""
    x, y = x.flatten(1).double(), y.flatten(1).double()
    between, within_x, within_y = (torch.cdist(a, b).mean().item() for a, b in ((x, y), (x, x), (y, y)))
    return 2 * between - within_x - within_y


def noise_floor(data):
    """The largest energy distance of 20 sets of as many draws of the data itself."""
    generator = seeded(9)
    draws = [data[torch.randint(len(data), (COUNT,), generator=generator)] for _ in range(20)]
    return max(energy_distance(draw, data) for draw in draws)


def distance(stepper, process, steps=None):
    data = images()
    sampler = made(EmpiricalOracle(process, data), stepper, steps)
    return energy_distance(sampler.sample(COUNT, generator=seeded(1)), data) / noise_floor(data)


@pytest.mark.parametrize(
    ("stepper", "name"),
    [
        pytest.param(stepper, name, marks=() if (stepper, name) in FAST else pytest.mark.full)
        for stepper in STEPPERS
        for name in PROCESSES
    ],
)
def test_many_steps_give_the_data_and_few_do_not(stepper, name):
    few, many = (distance(STEPPERS[stepper], PROCESSES[name], steps) for steps in (2, 60))
    # Twenty sets of true draws do not reach twice the largest of twenty others; 60 steps leave some of their error.
    assert many < 2.5
    assert few > 2 * many


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "cosine" else pytest.mark.full) for n in PROCESSES])
def test_adaptive_steps_give_the_data(name):
    assert distance(Adaptive(1e-3, 1e-3), PROCESSES[name]) < 2
