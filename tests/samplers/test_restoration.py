"""One observation, many samples, and what they have in common."""

import pytest
import torch
from guidance_problems import SMALL, Problem, limit_of_samples, small_problem
from sampler_support import made, seeded

from unmelt.models import GaussianPrior
from unmelt.samplers import Multistep, Posterior, Sampler
from unmelt.samplers.guidance import CovarianceGuidance, restore


def sampler_of(problem, stepper=None, steps=20):
    guided = CovarianceGuidance(problem.oracle, problem.observation, variance=problem.spectrum)
    return made(guided, stepper or Multistep(), steps)


@pytest.mark.parametrize("observation", ["blur", "mask", "blocks", "motion", "small", "projections"])
@pytest.mark.parametrize("process", ["heat", "isotropic"])
def test_mean_and_std_are_the_posterior_s(process, observation):
    problem, count = small_problem(process, observation), 2000
    # First order still leaves a fourteenth of a variance in so many steps, and six standard errors are a fifth.
    found = restore(sampler_of(problem, steps=120), problem.y[0], count, generator=seeded(9))
    mean, covariance = limit_of_samples(problem)
    variance = covariance.diagonal()
    assert found.samples.shape == (count, *SMALL)
    assert ((found.mean.flatten() - mean).abs() < 6 * (variance / count).sqrt()).all()
    # Six standard errors of a normal's variance; single precision may add 1e-6.
    gap = (found.std.flatten().square() - variance).abs()
    assert (gap < 6 * (2 / count) ** 0.5 * variance + 1e-6).all()


def test_the_misfit_is_that_of_what_is_seen():
    problem = Problem.named("heat", "mask")
    found = restore(sampler_of(problem), problem.y[0], 30, generator=seeded())
    away = (found.samples - problem.y[0])[:, problem.observation.gain != 0]
    assert found.misfit == pytest.approx(away.square().mean().sqrt().item(), rel=1e-5)
    # About the noise, 0.1: 480 numbers, of which samples share some.
    assert found.misfit == pytest.approx(0.1, rel=0.5)


def test_pixels_that_are_known_stay():
    problem = Problem.named("heat", "mask", noise_std=1e-4)
    found = restore(sampler_of(problem), problem.y[0], 30, generator=seeded())
    seen = problem.observation.gain != 0
    # Samples keep to y as nearly as it was observed, and differ elsewhere as the data do.
    assert (found.samples - problem.y[0])[:, seen].abs().max() < 6e-4
    assert found.std[~seen].min() > 0.05


def test_errors_are_root_mean_squares():
    problem = Problem.named("isotropic", "blur")
    found = restore(sampler_of(problem, Posterior(), 3), problem.y[0], 5, generator=seeded())
    original = problem.x[0].float()
    errors = found.errors(original)
    each = torch.stack([(sample - original).square().mean() for sample in found.samples])
    assert errors.sample == pytest.approx(each.mean().sqrt().item(), rel=1e-5)
    assert errors.mean == pytest.approx((found.samples.mean(0) - original).square().mean().sqrt().item(), rel=1e-5)
    assert errors.mean < errors.sample
    with pytest.raises(ValueError, match="original must have shape"):
        found.errors(original[..., :1])
    assert repr(found) == f"Restoration(5 samples of shape (2, 4, 4), std {found.std.square().mean().sqrt():.3g})"
    assert restore(sampler_of(problem, steps=2), problem.y[0], 1).std.isnan().all()


@pytest.mark.parametrize("observation", ["motion", "projections", "mask"])
def test_one_sampler_restores_each_image_with_its_own_mask(observation):
    problem = Problem.named("heat", observation)
    sampler, y = sampler_of(problem), problem.y[0]
    visible = torch.rand(y.shape, generator=seeded(1)) > 0.4
    hidden = torch.where(visible, y, torch.nan)
    found = restore(sampler, hidden, 30, visible=visible, generator=seeded())
    whole = restore(sampler, y, 30, generator=seeded())
    left = problem.y[0].flatten() - found.samples.double().flatten(1) @ problem.h.T
    if observation == "mask":
        visible = visible & (problem.observation.gain != 0)
    assert found.misfit == pytest.approx(left[:, visible.flatten()].square().mean().sqrt().item(), rel=1e-5)
    # About the noise, 0.1, of a few dozen numbers.
    assert found.misfit == pytest.approx(0.1, rel=0.6)
    # What is seen less of is known less well.
    assert found.std.square().mean() > 1.1 * whole.std.square().mean()
    assert found.samples.shape[1:] == (2, 4, 4)
    assert "shape (2, 4, 4)" in repr(found)
    assert found.errors(problem.x[0]).sample > 0
    with pytest.raises(TypeError, match="visible must be boolean.*got torch.uint8: pass visible != 0"):
        restore(sampler, hidden, 2, visible=255 * visible.to(torch.uint8))


def test_holes_are_filled_with_what_is_given():
    problem = Problem.named("heat", "mask")
    filled = problem.observation.filled(problem.y, torch.full_like(problem.x, 7.0))
    seen = problem.observation.gain != 0
    assert torch.equal(filled[:, seen], problem.y[:, seen])
    assert torch.equal(filled[:, ~seen], torch.full_like(filled[:, ~seen], 7.0))
    blocks = Problem.named("heat", "blocks")
    flat = blocks.observation.filled(blocks.y, torch.zeros_like(blocks.x))
    assert torch.allclose(flat[..., ::2], flat[..., 1::2])


def test_what_does_not_fit_is_refused():
    problem = Problem.named("heat", "mask")
    sampler = sampler_of(problem)
    with pytest.raises(ValueError, match="observed must have shape"):
        restore(sampler, problem.y)
    with pytest.raises(ValueError, match="count must be at least 1"):
        restore(sampler, problem.y[0], 0)
    plain = Sampler(problem.oracle, prior=GaussianPrior.fit(problem.process, problem.x.float()))
    with pytest.raises(ValueError, match="must be guided by an observation, got GaussianOracle: wrap it"):
        restore(plain, problem.y[0])
