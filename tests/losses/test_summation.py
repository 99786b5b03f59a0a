"""Which of the bound's terms are computed: estimates from a few agree with all of them, and tell their error."""

import math

import pytest
import torch
from problems import Wobbly, gaussian
from support import seeded

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    PredictV,
    PredictX,
)
from unmelt.losses import ELBO, Antithetic, FullSum, LevelTimes, LossAwareTimes, MonteCarlo, Stratified, UniformTimes
from unmelt.models import Denoiser, OraclePrior
from unmelt.testing.strategies import random_images

SHAPE = (2, 4, 6)


def test_an_estimate_agrees_with_all_levels_and_tells_its_error():
    process = BlurringDiffusion(SHAPE, blur_sigma_max=2.0, schedule=CosineSchedule(-6.0, 4.0))
    denoiser, x = Denoiser(Wobbly(), process, prediction=PredictV()), random_images(SHAPE, batch=2)
    every = ELBO(denoiser, steps=50, summation=FullSum(replicates=100))(x, generator=seeded(0))
    some = ELBO(denoiser, steps=50, summation=MonteCarlo(draws=10, replicates=100))(x, generator=seeded(1))
    error = (every.stderr.square() + some.stderr.square()).sqrt()
    assert ((every.total - some.total).abs() < 4 * error).all()
    assert (error < 0.05 * every.total).all()
    assert every.terms.shape == (2, 50)
    assert some.terms.shape == (2, 1000)
    torch.testing.assert_close((some.weights * some.terms).sum(1), some.diffusion, rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [20, math.inf])
def test_importance_sampling_by_the_terms_met_before_is_unbiased_and_steadier(steps):
    """The last levels' terms are a hundred times the first ones': draws go where the terms are large."""
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-7.0, 7.0))
    denoiser = Denoiser(Wobbly(), process, prediction=PredictX())
    x = random_images(SHAPE, batch=1).expand(300, *SHAPE)
    first = ELBO(denoiser, steps=steps, summation=MonteCarlo(draws=20, replicates=1))(x, generator=seeded(0))
    found = []
    for times in (UniformTimes(), LossAwareTimes(bins=20)):
        bound = ELBO(denoiser, steps=steps, summation=MonteCarlo(draws=4, times=times, replicates=2))
        bound.update(first)
        found.append(bound(x, generator=seeded(1)))
    plain, chosen = found
    error = (chosen.total.var() / 300 + first.total.var() / 300).sqrt()
    assert abs(chosen.total.mean() - first.total.mean()) < 4 * error
    assert chosen.diffusion.std() < 0.5 * plain.diffusion.std()


def test_antithetic_draws_are_unbiased():
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-7.0, 7.0))
    oracle, x = gaussian(process), random_images(SHAPE, batch=1).expand(300, *SHAPE)
    every = ELBO(oracle, steps=20)(x, generator=seeded(0))
    pairs = MonteCarlo(draws=4, times=Antithetic(UniformTimes()), replicates=1)
    some = ELBO(oracle, steps=20, summation=pairs)(x, generator=seeded(1))
    assert abs(every.total.mean() - some.total.mean()) < 4 * (some.total.std() + every.total.std()) / math.sqrt(300)
    torch.testing.assert_close(some.fractions[:, :2] + some.fractions[:, 2:], torch.full((300, 2), 1.05).double())


def test_the_standard_error_is_the_spread_of_the_estimate():
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-7.0, 7.0))
    oracle = gaussian(process)
    x = random_images(SHAPE, batch=1).expand(400, *SHAPE)
    found = ELBO(oracle, summation=MonteCarlo(draws=4, replicates=8))(x, generator=seeded(0))
    # A variance from 400 x 7 degrees of freedom is right to 2.7 %, the spread of 400 to 3.5 %: five times both.
    assert found.stderr.square().mean().sqrt().item() == pytest.approx(found.total.std().item(), rel=0.22)


def test_one_replicate_has_no_standard_error():
    process = IsotropicDiffusion(SHAPE)
    found = ELBO(gaussian(process), steps=3)(random_images(SHAPE), generator=seeded(0))
    assert found.stderr.isnan().all()


def test_how_many_rows_a_call_has_changes_nothing_but_the_noise():
    """Levels beside each other in one call, and one after the other, are of the same distribution."""
    process = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, sigma=0.05)
    oracle = gaussian(process)
    # Examples that cost very different amounts: none may be taken for another.
    x = random_images(SHAPE, batch=2) * torch.tensor([1.0, 5.0])[:, None, None, None]
    found = [
        ELBO(oracle, prior=OraclePrior(oracle), coupling=Independent(), rows=rows, summation=FullSum(replicates=60))(
            x, generator=seeded(0)
        )
        for rows in (1, 7, 256)
    ]
    for other in found[1:]:
        error = (found[0].stderr.square() + other.stderr.square()).sqrt()
        assert ((found[0].total - other.total).abs() < 4 * error).all()
        assert torch.equal(found[0].times, other.times)


def test_levels_are_the_bound_s_whatever_the_process_has():
    """A bound of heat has one divergence fewer than heat has levels, as its first latent is level 1."""
    heat = HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=10, sigma=0.05)
    oracle = gaussian(heat)
    parts = {"prior": OraclePrior(oracle), "coupling": Independent()}
    for times in (LevelTimes(), LossAwareTimes(), Stratified()):
        bound = ELBO(oracle, **parts, summation=MonteCarlo(times=times))
        assert bound.term_sampler.times.number_of_levels() == bound.steps == 9
        bound.update(bound(random_images(SHAPE)))
    # A continuous distribution stays one.
    bound = ELBO(oracle, **parts, summation=MonteCarlo())
    assert bound.term_sampler.times.number_of_levels() is None
    # What one bound learned moves with it and is none of the value's.
    value = MonteCarlo(times=LossAwareTimes())
    first, second = (ELBO(oracle, **parts, summation=value) for _ in range(2))
    for _ in range(10):
        first.update(ELBO(oracle, **parts)(random_images(SHAPE)))
    assert (first.term_sampler.times.seen >= 10).all()
    assert not second.term_sampler.times.seen.any()
    assert "term_sampler.times.losses" in first.state_dict()


def test_replicates_of_an_estimate_keep_times_and_fractions_apart():
    """A fraction is the share of the way from the first latent on: with that at 0.2, t = 0.2 + 0.8 times as much."""
    bound = ELBO(gaussian(IsotropicDiffusion(SHAPE)), first=0.2, summation=MonteCarlo(draws=3, replicates=2))
    found = bound(random_images(SHAPE), generator=seeded(0))
    assert found.fractions.shape == (2, 6)
    torch.testing.assert_close(found.times, 0.2 + 0.8 * found.fractions, rtol=1e-12, atol=0)
