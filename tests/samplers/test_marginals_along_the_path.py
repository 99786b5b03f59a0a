"""With a denoiser that knows the data, every latent of a run has its marginal q(z_t | x), whatever the grid.

And with one whose estimate is a line in time, methods of second order are exact on every grid.
"""

import math

import pytest
import torch
from gaussian_distributions import distribution, gaussian_oracle, marginals
from hypothesis import given, settings
from hypothesis import strategies as st
from sampler_support import Silence, latents, made
from zoo import EVERY_PROCESS

from unmelt.degradations import Deterministic, Eta, Independent, ReverseSDE
from unmelt.models import AbstractDenoiser, GaussianOracle, OraclePrior
from unmelt.samplers import Churn, Follow, Heun, Multistep, Posterior, PredictorCorrector, Variable

NOISY = [name for name in EVERY_PROCESS if name not in ("cold", "no noise")]
LOG_SNR = Variable.LOG_SNR
STEPPERS = [
    Posterior(),
    *map(Posterior, (Deterministic(), Eta(0.4), ReverseSDE(0.5), ReverseSDE(1.5), Independent())),
    Heun(),
    Heun(variable=LOG_SNR),
    Heun(churn=Churn(1.0)),
    Heun(eta=1.0),
    Heun(eta=1.5, variable=LOG_SNR),
    Multistep(order=3),
    Multistep(order=3, variable=LOG_SNR, corrector=False),
    Multistep(order=3, follow=Follow.EITHER),
    Multistep(order=3, eta=1.0),
    PredictorCorrector(size=0.7, corrections=2),
]


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


@pytest.mark.parametrize("stepper", STEPPERS, ids=str)
@settings(max_examples=12)
@given(name=st.sampled_from(NOISY), times=grids(), seed=st.integers(0, 99), denoise_last=st.booleans())
def test_every_latent_has_its_marginal(stepper, name, times, seed, denoise_last):
    oracle = omniscient(EVERY_PROCESS[name], seed)
    found = distribution(made(oracle, stepper, times=times, denoise_last=denoise_last))
    true = marginals(oracle, times)
    steps = len(times) - 1
    scale = true.stddev.max().item()
    # Sums of a few products per step, of numbers up to the largest noise. Extrapolation has weights that add up to 1
    # but may be large where grids are uneven, by the ratio of neighbouring steps, squared for the third order.
    uneven = (times.diff().abs().max() / times.diff().abs().min()).item() ** 2 if stepper.history else 1.0
    close = {"rtol": 0, "atol": 1e-12 * max(1.0, scale) * uneven}
    torch.testing.assert_close(found.mean[:steps], true.mean[:steps], **close)
    torch.testing.assert_close(found.stddev[:steps], true.stddev[:steps], **close)
    last = (oracle.mean, torch.zeros_like(oracle.mean)) if denoise_last else (true.mean[-1], true.stddev[-1])
    torch.testing.assert_close(found.mean[-1], last[0], **close)
    torch.testing.assert_close(found.stddev[-1], last[1], **close)


class Line(AbstractDenoiser):
    """An estimate that moves along a straight line in time, whatever the latent."""

    def forward(self, z_t, t, condition=None, given=None):
        generator = torch.Generator().manual_seed(5)
        offset, rate = torch.randn((2, *self.process.shape), generator=generator, dtype=torch.float64)
        return (offset + rate * t).expand_as(z_t)


@pytest.mark.parametrize("stepper", [Heun(), Heun(eta=0.7), Multistep()], ids=str)
@pytest.mark.parametrize("name", ["blurring", "cosine", "rectified flow", "power law", "heat flow"])
def test_an_estimate_on_a_line_is_integrated_exactly(stepper, name):
    """On an uneven grid as on a fine one; of several steps by the corrector, which corrects the first step too."""
    process = EVERY_PROCESS[name]
    z = latents(1, seed=6, shape=process.shape)

    def final(inner):
        sampler = made(Line(process), stepper, times=[1.0, *inner, 0.0], prior=OraclePrior(omniscient(process, 0)))
        return sampler.sample(1, initial=z, start=0.8, stop=0.2, noise=Silence())

    # Sixteen nodes are exact to rounding while a log-SNR changes by less than some 20 in a step.
    torch.testing.assert_close(final([0.7, 0.45]), final([k / 50 for k in range(49, 0, -1)]), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["blurring", "cosine", "heat"])
@pytest.mark.parametrize("predictor", [Posterior(), Heun()], ids=str)
def test_langevin_steps_are_made_at_the_time_that_the_predictor_went_to(name, predictor):
    """Without noise they are u <- e^-d u + (1 - e^-d) alpha_s u_hat(u, s)."""
    process, size = EVERY_PROCESS[name], 0.3
    oracle = gaussian_oracle(process)
    run = {"initial": latents(1, seed=6, shape=process.shape), "noise": Silence(), "start": 0.7, "stop": 0.4}
    found = made(oracle, PredictorCorrector(predictor, corrections=2, size=size), 1).sample(1, **run)
    expected = made(oracle, predictor, 1).sample(1, **run)
    alpha = process.alpha(0.4)
    for _ in range(2):
        held = process.basis.inverse(alpha * process.basis.forward(oracle(expected, 0.4)))
        expected = math.exp(-size) * expected - math.expm1(-size) * held
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
