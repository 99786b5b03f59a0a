"""Adaptive steps: up and back again, and latents that are known in closed form."""

import pytest
import torch
from gaussian_distributions import gaussian_oracle, marginals
from sampler_support import heat, made
from zoo import EVERY_PROCESS

from unmelt.degradations import Deterministic
from unmelt.models import EmpiricalOracle, OraclePrior
from unmelt.samplers import Adaptive, EndGrid, Posterior, Sampler, encode
from unmelt.samplers.probability_flow import FlowField, solve

TRIED = ["heat", "blurring", "cosine", "rectified flow", "edm", "variance preserving blur", "power law", "groups"]


def solved(process, tolerance=1e-8, **settings):
    return made(gaussian_oracle(process), Adaptive(tolerance, tolerance, **settings))


def where(oracle, t, shares):
    """Latents at so many standard deviations from the mean of p(z_t)."""
    marginal = marginals(oracle, torch.tensor([t], dtype=torch.float64)).at(0)
    return oracle.process.basis.inverse(marginal.mean + marginal.stddev * shares)


def drawn(oracle, t, count=3):
    """Latents from p(z_t), and what they are in standard deviations from the mean."""
    generator = torch.Generator().manual_seed(4)
    shares = torch.randn((count, *oracle.process.shape), generator=generator, dtype=torch.float64)
    return where(oracle, t, shares), shares


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ("blurring", "edm") else pytest.mark.full) for n in TRIED]
)
def test_the_flow_of_gaussian_data_keeps_standard_deviations(name):
    """Up to t = 1 by `encode` and down by `sample`: a latent stays as many standard deviations from the mean."""
    sampler = solved(EVERY_PROCESS[name])
    z, shares = drawn(sampler.denoiser, 0.2)
    encoded = encode(sampler, z, t=0.2)
    top = where(sampler.denoiser, 1.0, shares)
    # Some hundred steps of 1e-8 relative to latents, whose noise is up to 80.
    torch.testing.assert_close(encoded, top, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sampler.sample(3, initial=top, stop=0.2), z, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [pytest.param("blurring", marks=pytest.mark.full), "rectified flow"])
def test_encoding_and_sampling_are_inverse(name):
    """For data that is not Gaussian, too."""
    process = EVERY_PROCESS[name]
    data = torch.randn((5, *process.shape), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sampler = made(EmpiricalOracle(process, data), Adaptive(1e-8, 1e-8))
    z = process.marginal(data[:2], 0.4).sample(generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(sampler.sample(2, initial=encode(sampler, z, t=0.4), stop=0.4), z, rtol=0, atol=1e-4)


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
        sampler = solved(EVERY_PROCESS["cosine"], tolerance)
        z, shares = drawn(sampler.denoiser, 1.0)
        found, stats, _ = sampler.run(3, initial=z, stop=0.2, keep_path=False)
        errors.append((found - where(sampler.denoiser, 0.2, shares)).abs().max().item())
        calls.append(stats.calls)
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert calls[0] < calls[1] < calls[2]
    assert stats.evaluations == 3 * stats.calls


def test_the_last_jump_sets_the_error_and_the_grid_moves_it():
    """No tolerance makes up for the estimate at level 1, which is far from that at t = 0 under 20 levels of heat."""
    oracle = gaussian_oracle(heat(levels=20, sigma=0.1))
    z, shares = drawn(oracle, 0.2)
    wanted = oracle(where(oracle, 0.0, shares), 0.0)

    def error(tolerance, grid=None):
        sampler = Sampler(oracle, Adaptive(tolerance, tolerance), grid=grid, prior=OraclePrior(oracle))
        return (sampler.sample(3, initial=z, start=0.2) - wanted).abs().max().item()

    loose, tight = error(1e-4), error(1e-6)
    # The solver's own part is some hundred times its tolerance: a hundredth of the error at most.
    assert tight == pytest.approx(loose, rel=0.01)
    assert error(1e-6, EndGrid(0.01)) < tight / 10


def test_a_step_is_what_a_run_does():
    sampler = solved(EVERY_PROCESS["cosine"])
    z, _ = drawn(sampler.denoiser, 0.6)
    stepped = sampler.step(z, 0.6, 0.2)
    torch.testing.assert_close(stepped, sampler.sample(3, initial=z, start=0.6, stop=0.2), rtol=0, atol=1e-7)
    finer = made(sampler.denoiser, Posterior(Deterministic()), 2000)
    torch.testing.assert_close(stepped, finer.sample(3, initial=z, start=0.6, stop=0.2), rtol=0, atol=5e-3)


def test_it_gives_up_after_as_many_calls_as_it_is_allowed():
    sampler = solved(EVERY_PROCESS["cosine"], most_calls=20)
    with pytest.raises(RuntimeError, match=r"most_calls=20\).*raise rtol and atol, or most_calls") as stopped:
        sampler.sample(2)
    assert stopped.value.partial.stats.calls >= 20
