"""Every exported weighting, time distribution, stepper, prediction and prior does what its base class promises.

A new part is tried here as soon as it is exported; tests of its own say what is special about it.
"""

import inspect
import math
from typing import get_type_hints

import pytest
import torch
from support import draw, seeded

from unmelt import degradations, losses, models, samplers
from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    IsotropicDiffusion,
    PredictEpsilon,
    Prediction,
    PredictPreviousLevel,
)
from unmelt.losses import LevelTimes, TimeDistribution, Weighting
from unmelt.models import GaussianOracle, Prior
from unmelt.samplers import Sampler, Stepper, UniformGrid

SHAPE = (1, 1, 2)
PROCESS = IsotropicDiffusion(SHAPE, schedule=CosineSchedule(-8.0, 8.0))
BLURRING = BlurringDiffusion((2, 4, 6))
# What is given for a setting without default; and what takes more than its defaults for these processes.
EXAMPLES = {float: 0.5, int: 3}
MADE = {LevelTimes: LevelTimes(7), PredictPreviousLevel: PredictPreviousLevel(levels=9)}


def exported(package, base):
    """The concrete classes of a kind in a package's public list."""
    found = [getattr(package, name) for name in package.__all__]
    return [c for c in found if inspect.isclass(c) and issubclass(c, base) and not inspect.isabstract(c)]


def every(package, base):
    """Parametrise a test over values of all classes of a kind that can be made from numbers."""
    values = []
    for cls in exported(package, base):
        hints, needed = get_type_hints(cls.__init__), inspect.signature(cls).parameters.values()
        given = {p.name: EXAMPLES.get(hints[p.name]) for p in needed if p.default is p.empty}
        if None not in given.values():
            values.append(MADE.get(cls) or cls(**given))
    return pytest.mark.parametrize("part", values, ids=lambda value: type(value).__name__)


@every(losses, Weighting)
def test_errors_count_at_every_time(part):
    at = BLURRING.at(torch.linspace(0.05, 0.95, 10))
    # The root of the weight: NaN where that is negative.
    scale = part.bind(BLURRING).error_scale(PredictEpsilon(), at).expand(10, *BLURRING.shape)
    assert ((scale >= 0) & scale.isfinite()).all()
    assert (scale.flatten(1).sum(1) > 0).all()


@every(losses, TimeDistribution)
def test_quantiles_invert_the_distribution_function_whose_slope_is_the_density(part):
    sampler = part.bind(PROCESS)
    u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    t = sampler.quantile(u)
    assert ((t > 0) & (t <= 1)).all()
    # t is the first time that F passes u; next to a level, 1e-4 is the level itself no longer.
    before, after = (t - 1e-4).clamp(min=0), (t + 1e-4).clamp(max=1)
    assert (sampler.cdf(before) <= u + 1e-12).all()
    assert (sampler.cdf(after) >= u - 1e-12).all()
    if sampler.number_of_levels() is None:
        inside, step = torch.linspace(0.003, 0.997, 40, dtype=torch.float64), 1e-6
        slope = (sampler.cdf(inside + step) - sampler.cdf(inside - step)) / (2 * step)
        density = sampler.density(inside)
        # Central differences: F's rounding, 2^-53, over the step, and F's third derivative times the step's square.
        torch.testing.assert_close(density, slope, rtol=1e-6, atol=1e-6)


@every(samplers, Stepper)
def test_an_exact_denoiser_and_many_steps_give_the_data(part):
    mean, variance = torch.tensor([[[0.5, -0.3]]]), torch.tensor([[[0.3, 1.5]]])
    oracle = GaussianOracle(PROCESS, mean, variance)
    grid = None if type(part).__name__ == "Adaptive" else UniformGrid(60)
    count = 2000
    x = Sampler(oracle, part, grid=grid).sample(count, generator=seeded(0))
    stddev = variance.sqrt()
    # Five standard errors, and what 60 steps of first order leave: each changes the log-SNR by 0.3.
    assert ((x.mean(0) - mean).abs() <= (5 / math.sqrt(count) + 0.05) * stddev).all()
    assert ((x.std(0) / stddev - 1).abs() <= 5 / math.sqrt(2 * count) + 0.05).all()


@every(degradations, Prediction)
def test_targets_convert_back_to_the_data(part):
    x, noise = draw(BLURRING.shape, batch=3), draw(BLURRING.shape, batch=3, seed=1)
    at = BLURRING.at(torch.tensor([0.2, 0.5, 0.7], dtype=torch.float64))
    z, y = part.training_pair(at, x, noise)
    exact = Prediction.conversion(part, at)
    # Cosine transforms of 48 numbers, and one conversion there and back, whose size the coefficients give.
    largest = max(1.0, *(c.abs().max().item() for c in exact))
    close = {"rtol": 0, "atol": 1e-13 * largest}
    torch.testing.assert_close(BLURRING.basis.combine((z, exact.latent), (y, exact.output)), x, **close)
    if not isinstance(part, PredictPreviousLevel):  # its own is damped
        for ours, expected in zip(part.conversion(at), exact, strict=True):
            torch.testing.assert_close(*torch.broadcast_tensors(ours, expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [cls for cls in exported(models, Prior) if hasattr(cls, "fit")])
def test_priors_are_the_distribution_that_they_draw_from_and_come_back_from_their_state(kind):
    data = torch.rand(50, *SHAPE, generator=seeded(0))
    # What is known of one that ends in something known: here the data's mean.
    end = data.mean(0, keepdim=True)
    prior = kind.fit(PROCESS, data).given(end)
    z = prior.sample(20_000, generator=seeded(1))
    # E_p[q / p] = 1 for any density q; with half of p's standard deviation q / p is bounded.
    wide = z.double()
    q = torch.distributions.Normal(wide.mean(0), wide.std(0) / 2)
    ratio = (q.log_prob(wide).flatten(1).sum(1) - prior.log_prob(z)).exp()
    assert abs(ratio.mean() - 1) <= 5 * ratio.std() / math.sqrt(len(ratio))
    # It stands for the degraded data: 5 standard errors, and the share of the signal that a standard normal leaves out.
    last = PROCESS.at(1.0)
    mean, variance = last.alpha * data.mean(0), last.sigma.square() + last.alpha.square() * data.var(0)
    assert ((wide.mean(0) - mean).abs() <= 5 / math.sqrt(len(z)) + last.alpha).all()
    assert ((wide.var(0) / variance - 1).abs() <= 5 * math.sqrt(2 / len(z)) + last.alpha).all()
    state = {name: value for name, value in prior.state_dict().items() if not name.startswith("process.")}
    again = kind.from_state_dict(PROCESS, state).given(end)
    assert again.agrees_with(prior)
    assert torch.equal(again.log_prob(z[:9]), prior.log_prob(z[:9]))
