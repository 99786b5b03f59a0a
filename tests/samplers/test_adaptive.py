"""The adaptive sampler: up and back again, and latents that are known in closed form."""

import pytest
import torch
from gaussian_law import gaussian_oracle, marginals
from zoo import EVERY_PROCESS

from unmelt.degradations import Deterministic
from unmelt.models import EmpiricalOracle, OraclePrior
from unmelt.samplers import AdaptiveSampler, PosteriorSampler
from unmelt.samplers.probability_flow import FlowField, solve

TRIED = ["heat", "blurring", "cosine", "rectified flow", "edm", "variance preserving blur", "power law", "groups"]


def made(process, tolerance=1e-8, **settings):
    oracle = gaussian_oracle(process)
    return AdaptiveSampler(oracle, rtol=tolerance, atol=tolerance, prior=OraclePrior(oracle), **settings)


def drawn(oracle, t, count=3):
    """Latents from p(z_t), and what they are in standard deviations from the mean."""
    law = marginals(oracle, torch.tensor([t], dtype=torch.float64)).at(0)
    generator = torch.Generator().manual_seed(4)
    shares = torch.randn((count, *oracle.process.shape), generator=generator, dtype=torch.float64)
    return oracle.process.basis.inverse(law.mean + law.stddev * shares), shares


def where(oracle, t, shares):
    law = marginals(oracle, torch.tensor([t], dtype=torch.float64)).at(0)
    return oracle.process.basis.inverse(law.mean + law.stddev * shares)


@pytest.mark.parametrize("name", TRIED)
def test_the_flow_of_gaussian_data_keeps_standard_deviations(name):
    """Up to t = 1 by `encode` and down by `sample`: a latent stays as many standard deviations from the mean."""
    sampler = made(EVERY_PROCESS[name])
    oracle = sampler.denoiser
    z, shares = drawn(oracle, 0.2)
    encoded = sampler.encode(z, t=0.2)
    top = where(oracle, 1.0, shares)
    # Some hundred steps of 1e-8 relative to latents, whose noise is up to 80.
    torch.testing.assert_close(encoded, top, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sampler.sample(3, initial=top, stop=0.2), z, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["blurring", "rectified flow"])
def test_encoding_and_sampling_are_inverse(name):
    """For data that is not Gaussian, too."""
    process = EVERY_PROCESS[name]
    data = torch.randn((5, *process.shape), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    oracle = EmpiricalOracle(process, data)
    sampler = AdaptiveSampler(oracle, rtol=1e-8, atol=1e-8, prior=OraclePrior(oracle))
    z = process.marginal(data[:2], 0.4).sample(generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(sampler.sample(2, initial=sampler.encode(z, t=0.4), stop=0.4), z, rtol=0, atol=1e-4)


def test_the_solver_goes_down_as_it_goes_up():
    process = EVERY_PROCESS["cosine"]
    oracle = gaussian_oracle(process)
    z, shares = drawn(oracle, 0.7)
    (down,) = solve(FlowField(oracle, 1000), (process.basis.forward(z),), 0.7, 0.3, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(process.basis.inverse(down), where(oracle, 0.3, shares), rtol=1e-6, atol=1e-6)
    (same,) = solve(FlowField(oracle, 1000), (down,), 0.3, 0.3, rtol=1e-9, atol=1e-9)
    assert torch.equal(same, down)


def test_tighter_tolerances_take_more_calls_and_leave_smaller_errors():
    errors, calls = [], []
    for tolerance in (1e-3, 1e-5, 1e-7):
        sampler = made(EVERY_PROCESS["cosine"], tolerance)
        z, shares = drawn(sampler.denoiser, 1.0)
        found = sampler.sample(3, initial=z, stop=0.2)
        errors.append((found - where(sampler.denoiser, 0.2, shares)).abs().max().item())
        calls.append(sampler.report.calls)
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert calls[0] < calls[1] < calls[2]
    assert sampler.report.evaluations == 3 * sampler.report.calls


def test_a_step_is_what_a_run_does():
    sampler = made(EVERY_PROCESS["cosine"])
    z, _ = drawn(sampler.denoiser, 0.6)
    stepped = sampler.step(z, 0.6, 0.2)
    torch.testing.assert_close(stepped, sampler.sample(3, initial=z, start=0.6, stop=0.2), rtol=0, atol=1e-7)
    finer = PosteriorSampler(sampler.denoiser, steps=2000, coupling=Deterministic(), prior=sampler.prior)
    torch.testing.assert_close(stepped, finer.sample(3, initial=z, start=0.6, stop=0.2), rtol=0, atol=5e-3)


def test_it_gives_up_after_as_many_calls_as_it_is_allowed():
    sampler = made(EVERY_PROCESS["cosine"], most_calls=20)
    with pytest.raises(RuntimeError, match=r"most_calls=20\).*raise rtol and atol, or most_calls"):
        sampler.sample(2)
    assert sampler.report.calls >= 20


def test_latents_without_noise_are_not_encoded():
    with pytest.raises(ValueError, match="has no noise in some coefficient at t = 0.0.*encode at a later time"):
        made(EVERY_PROCESS["rectified flow"]).encode(torch.zeros(1, 2, 4, 6), t=0.0)
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\), from where the flow is to go to 1, got 1.0"):
        made(EVERY_PROCESS["rectified flow"]).encode(torch.zeros(1, 2, 4, 6), t=1.0)
