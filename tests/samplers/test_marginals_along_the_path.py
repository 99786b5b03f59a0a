"""With a denoiser that knows the data, every latent of a run has its marginal q(z_t | x), whatever the grid.

And with one whose estimate is a line in time, methods of second order are exact on every grid.
"""

import math

import pytest
import torch
from gaussian_law import Impulses, gaussian_oracle, law_of, marginals
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    Deterministic,
    Eta,
    Independent,
    Markov,
    ReverseSDE,
)
from unmelt.models import AbstractDenoiser, GaussianOracle, OraclePrior
from unmelt.samplers import (
    Churn,
    End,
    ExponentialSDESampler,
    HeunSampler,
    MultistepSampler,
    PosteriorSampler,
    PredictorCorrectorSampler,
    Variable,
)

NOISY = [name for name in EVERY_PROCESS if name not in ("cold", "no noise")]
# Euler and Maruyama's is the one method that does not solve the linear part exactly.
SAMPLERS = {
    **{
        str(coupling): (PosteriorSampler, {"coupling": coupling})
        for coupling in (Markov(), Deterministic(), Eta(0.4), ReverseSDE(0.5), ReverseSDE(1.5), Independent())
    },
    "heun": (HeunSampler, {}),
    "heun log-snr": (HeunSampler, {"variable": Variable.LOG_SNR}),
    "churn": (HeunSampler, {"churn": Churn(1.0)}),
    "multistep": (MultistepSampler, {"order": 3}),
    "multistep log-snr": (MultistepSampler, {"order": 3, "variable": Variable.LOG_SNR, "corrector": False}),
    "sde": (ExponentialSDESampler, {}),
    "sde more": (ExponentialSDESampler, {"eta": 1.5, "variable": Variable.LOG_SNR}),
    "langevin": (PredictorCorrectorSampler, {"size": 0.7, "corrections": 2}),
}


def omniscient(process, seed):
    """Gaussian data without variance: its mean is the data, and the denoiser says so."""
    mean = torch.randn(process.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return GaussianOracle(process, mean, torch.zeros((), dtype=torch.float64))


def grids():
    inner = st.lists(st.floats(0.01, 0.99), min_size=0, max_size=5, unique=True)
    spread = inner.filter(
        lambda times: all(b - a > 1e-3 for a, b in zip(sorted(times), sorted(times)[1:], strict=False))
    )
    return spread.map(lambda times: torch.tensor([1.0, *sorted(times, reverse=True), 0.0], dtype=torch.float64))


@pytest.mark.parametrize("sampler", SAMPLERS)
@settings(max_examples=20)
@given(name=st.sampled_from(NOISY), times=grids(), seed=st.integers(0, 99), end=st.sampled_from(End))
def test_every_latent_has_its_marginal(sampler, name, times, seed, end):
    kind, chosen = SAMPLERS[sampler]
    oracle = omniscient(EVERY_PROCESS[name], seed)
    law = law_of(kind(oracle, times=times, prior=OraclePrior(oracle), end=end, **chosen))
    true = marginals(oracle, times)
    steps = len(times) - 1
    scale = true.stddev.max().item()
    # Sums of a few products per step, of numbers up to the largest noise. Extrapolation has weights that add up to 1
    # but may be large where grids are uneven, by the ratio of neighbouring steps, squared for the third order.
    uneven = (times.diff().abs().max() / times.diff().abs().min()).item() ** 2 if "multistep" in sampler else 1.0
    close = {"rtol": 0, "atol": 1e-12 * max(1.0, scale) * uneven}
    torch.testing.assert_close(law.mean[:steps], true.mean[:steps], **close)
    torch.testing.assert_close(law.stddev[:steps], true.stddev[:steps], **close)
    last = (oracle.mean, torch.zeros_like(oracle.mean)) if end is End.ESTIMATE else (true.mean[-1], true.stddev[-1])
    torch.testing.assert_close(law.mean[-1], last[0], **close)
    torch.testing.assert_close(law.stddev[-1], last[1], **close)


class Line(AbstractDenoiser):
    """An estimate that moves along a straight line in time, whatever the latent."""

    def forward(self, z_t, t):
        generator = torch.Generator().manual_seed(5)
        offset, rate = torch.randn((2, *self.process.shape), generator=generator, dtype=torch.float64)
        return (offset + rate * t).expand_as(z_t)


SECOND_ORDER = {
    "heun": lambda d, times, prior: HeunSampler(d, times=times, prior=prior),
    "multistep": lambda d, times, prior: MultistepSampler(d, times=times, prior=prior),
    "sde": lambda d, times, prior: ExponentialSDESampler(d, times=times, prior=prior, eta=0.7),
}


@pytest.mark.parametrize("sampler", SECOND_ORDER)
@pytest.mark.parametrize("name", ["blurring", "cosine", "rectified flow", "power law", "heat flow"])
def test_an_estimate_on_a_line_is_integrated_exactly(sampler, name):
    """On an uneven grid as on a fine one; the multistep sampler by its corrector, which mends the first step too."""
    process = EVERY_PROCESS[name]
    prior = OraclePrior(omniscient(process, 0))
    z = torch.randn((1, *process.shape), generator=torch.Generator().manual_seed(6), dtype=torch.float64)

    def final(inner):
        times = torch.tensor([1.0, *inner, 0.0], dtype=torch.float64)
        still = Impulses(1, torch.zeros(2, *process.shape, dtype=torch.float64))
        return SECOND_ORDER[sampler](Line(process), times, prior).sample(1, initial=z, start=0.8, stop=0.2, noise=still)

    # Sixteen nodes are exact to rounding while a log-SNR changes by less than some 20 in a step.
    torch.testing.assert_close(final([0.7, 0.45]), final([k / 50 for k in range(49, 0, -1)]), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["blurring", "cosine", "heat"])
def test_langevin_steps_are_made_at_the_time_that_the_predictor_went_to(name):
    """Without noise they are u <- e^-d u + (1 - e^-d) alpha_s u_hat(u, s)."""
    process, size = EVERY_PROCESS[name], 0.3
    oracle = gaussian_oracle(process)
    prior, run = OraclePrior(oracle), {"start": 0.7, "stop": 0.4}
    z = torch.randn((1, *process.shape), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    still = Impulses(1, torch.zeros(2, *process.shape, dtype=torch.float64))
    times = torch.tensor([1.0, 0.0], dtype=torch.float64)
    sampler = PredictorCorrectorSampler(oracle, times=times, size=size, corrections=2, prior=prior)
    found = sampler.sample(1, initial=z, noise=still, **run)
    expected = PosteriorSampler(oracle, times=times, prior=prior).sample(1, initial=z, noise=still, **run)
    alpha = process.alpha(0.4)
    for _ in range(2):
        held = process.basis.inverse(alpha * process.basis.forward(oracle(expected, 0.4)))
        expected = math.exp(-size) * expected - math.expm1(-size) * held
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
