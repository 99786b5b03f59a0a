"""Churn: how much noise is added before a step, when, and back to which time."""

import math

import pytest
import torch
from gaussian_law import gaussian_oracle
from zoo import EVERY_PROCESS

from unmelt.degradations import EDMSchedule, IsotropicDiffusion
from unmelt.models import OraclePrior
from unmelt.samplers import Churn, HeunSampler, uniform_times


def made(process, churn, steps=10):
    oracle = gaussian_oracle(process)
    return HeunSampler(oracle, steps=steps, churn=churn, prior=OraclePrior(oracle))


@pytest.mark.parametrize("noise", [1.0, 1.007])
@pytest.mark.parametrize("steps", [2, 10, 40])
def test_churn_is_karras_algorithm_2(noise, steps):
    """sigma_hat = (1 + gamma) sigma, gamma = min(S_churn / N, sqrt(2) - 1), and S_noise times the noise in between."""
    process = IsotropicDiffusion((1, 2, 2), EDMSchedule())
    sampler = made(process, Churn(2.0, latest=0.7, noise=noise), steps)
    t, s = torch.tensor([0.6, 0.3], dtype=torch.float64), torch.tensor([0.5, 0.2], dtype=torch.float64)
    c = sampler.coefficients(t, s)
    gamma = min(2.0 / steps, math.sqrt(2) - 1)
    sigma, raised = process.sigma(t), process.sigma(c.raised.flatten())
    # Times are found to 2^-30, at rates of the log-SNR of tens.
    torch.testing.assert_close(raised, (1 + gamma) * sigma, rtol=1e-6, atol=0)
    torch.testing.assert_close(c.spread, noise * (raised**2 - sigma**2).sqrt(), rtol=1e-6, atol=0)
    torch.testing.assert_close(c.fade, torch.ones_like(c.fade), rtol=0, atol=0)


def half_noise(process, t):
    """log(sigma / alpha) per coefficient within the band, (times, coefficients)."""
    return -process.log_snr(t).expand(len(t), *process.shape).flatten(1).clamp(-20, 20) / 2


@pytest.mark.parametrize("name", ["heat", "blurring", "cosine", "rectified flow", "groups"])
def test_churn_raises_the_mean_noise_level_by_its_factor(name):
    """The mean is over coefficients that can be raised, neither all signal nor all noise."""
    process = EVERY_PROCESS[name]
    sampler = made(process, Churn(3.0, latest=0.8))
    t = uniform_times(10)[3:-1]
    raised = sampler.coefficients(t, t / 2).raised.flatten()
    raisable = half_noise(process, t).abs() < 10
    rise = half_noise(process, raised) - half_noise(process, t)
    mean = torch.where(raisable, rise, 0.0).sum(1) / raisable.sum(1)
    # Times are found to 2^-30, at rates of the log-SNR of up to thousands.
    torch.testing.assert_close(mean, torch.full_like(mean, math.log(1.3)), rtol=0, atol=1e-5)


def test_only_steps_within_the_stretch_are_churned():
    sampler = made(EVERY_PROCESS["cosine"], Churn(3.0, earliest=0.35, latest=0.75))
    t = uniform_times(10)[:-1]
    c = sampler.coefficients(t, uniform_times(10)[1:])
    churned = (t >= 0.35) & (t <= 0.75)
    assert torch.equal(c.raised.flatten() > t, churned)
    assert torch.equal(c.spread.flatten() > 0, churned)
    assert torch.equal(c.fade.flatten() < 1, churned)


def test_churn_goes_no_further_than_to_t_1():
    sampler = made(EVERY_PROCESS["cosine"], Churn(100.0))
    t = torch.tensor([1.0, 0.999], dtype=torch.float64)
    raised = sampler.coefficients(t, t - 0.1).raised.flatten()
    assert raised.tolist() == [1.0, 1.0]
