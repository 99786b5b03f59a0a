"""Heun's method beside that of Karras et al. (2022); churn: how much noise is added before a step, when, up to when."""

import math

import pytest
import torch
from gaussian_distributions import gaussian_oracle
from sampler_support import latents, made
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    EDMSchedule,
    IsotropicDiffusion,
    LinearGaussianProcess,
    PixelBasis,
    RectifiedFlowSchedule,
)
from unmelt.models import GaussianOracle, MixtureOracle, OraclePrior
from unmelt.samplers import Churn, Follow, Heun, Multistep, UniformGrid, Variable
from unmelt.samplers.stepper import Problem

GRID = UniformGrid(10).times(EVERY_PROCESS["cosine"])


def shares(process, churn, t, s, steps=10):
    """What steps from `t` to `s` are made of, in a run of so many."""
    sampler = made(gaussian_oracle(process), Heun(churn=churn), steps)
    problem = Problem(process, sampler.denoiser.prediction, sampler.times, denoise_last=True)
    found = sampler.stepper.coefficients(problem, process.at(t), process.at(s))
    return found, found.churn.later.flatten()


@pytest.mark.parametrize("times", [(0.7, 0.4), (1.0, 0.9), (0.4, 0.0)])
@pytest.mark.parametrize("name", ["cosine", "edm", "blurring"])
def test_following_the_noise_is_karras_algorithm_1(name, times):
    """Per coefficient: y = u / alpha moves by the mean of its slopes d = (y - x_hat) / (sigma / alpha) at both ends."""
    process, (t, s) = EVERY_PROCESS[name], times
    oracle = gaussian_oracle(process)
    sampler = made(oracle, Heun(follow=Follow.NOISE), 2)
    z = latents(shape=process.shape)
    basis = process.basis
    (alpha, alpha_s), (sigma, sigma_s) = ([f(time) for time in times] for f in (process.alpha, process.sigma))

    def slope(y, time, alpha, ratio):
        estimate = oracle(basis.inverse(alpha * y), time)
        return (y - basis.forward(estimate)) / ratio

    y, ratio, ratio_s = basis.forward(z) / alpha, sigma / alpha, sigma_s / alpha_s
    d = slope(y, t, alpha, ratio)
    if s == 0:
        # What the last step returns is the estimate.
        expected = oracle(z, t)
    else:
        moved = y + (ratio_s - ratio) * d
        expected = basis.inverse(alpha_s * (y + (ratio_s - ratio) * (d + slope(moved, s, alpha_s, ratio_s)) / 2))
    size = max(1.0, expected.abs().max().item())
    # Rounding, by 1 / alpha as large as the noise-to-signal ratio at t = 1, up to 1e5.
    torch.testing.assert_close(sampler.step(z, t, s), expected, rtol=0, atol=1e-10 * size)


def test_narrow_modes_and_many_steps_favour_the_noise():
    """As docs/concepts/sampling.md says: the largest error of 64 samples of two Gaussians."""
    means = torch.tensor([[1.0, 1.0, -1.0, 1.0], [-1.0, 0.5, 1.0, -1.0]], dtype=torch.float64).reshape(2, 1, 2, 2)
    process = IsotropicDiffusion((1, 2, 2), RectifiedFlowSchedule())
    oracle = MixtureOracle(process, torch.tensor([0.4, 0.6], dtype=torch.float64), means, torch.tensor(0.04))
    z = latents(64, shape=process.shape)

    def end(stepper, steps):
        return made(oracle, stepper, steps).sample(64, initial=z)

    exact = end(Multistep(order=3), 1000)
    data, noise = ((end(Heun(follow=follow), 80) - exact).abs().max().item() for follow in (Follow.DATA, Follow.NOISE))
    assert 3 < data / noise < 4


@pytest.mark.parametrize("noise", [1.0, 1.007])
@pytest.mark.parametrize("steps", [2, 10, 40])
def test_churn_is_karras_algorithm_2(noise, steps):
    """sigma_hat = (1 + gamma) sigma, gamma = min(S_churn / N, sqrt(2) - 1), and S_noise times the noise in between."""
    process = IsotropicDiffusion((1, 2, 2), EDMSchedule())
    t, s = torch.tensor([0.6, 0.3], dtype=torch.float64), torch.tensor([0.5, 0.2], dtype=torch.float64)
    found, churned = shares(process, Churn(2.0, latest=0.7, noise=noise), t, s, steps)
    gamma = min(2.0 / steps, math.sqrt(2) - 1)
    before, after = process.sigma(t), process.sigma(churned)
    # Times are found to 2^-30, at rates of the log-SNR of tens.
    torch.testing.assert_close(after, (1 + gamma) * before, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.churn.spread, noise * (after**2 - before**2).sqrt(), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.churn.fade, torch.ones_like(found.churn.fade), rtol=0, atol=0)


def half_noise(process, t):
    """log(sigma / alpha) per coefficient within the band, (times, coefficients)."""
    return -process.log_snr(t).expand(len(t), *process.shape).flatten(1).clamp(-20, 20) / 2


@pytest.mark.parametrize("name", ["heat", "blurring", "cosine", "rectified flow", "groups"])
def test_churn_raises_the_mean_noise_level_by_its_factor(name):
    """The mean is over coefficients that can be raised, neither all signal nor all noise."""
    process, t = EVERY_PROCESS[name], GRID[3:-1]
    _, churned = shares(process, Churn(3.0, latest=0.8), t, t / 2)
    raisable = half_noise(process, t).abs() < 10
    rise = half_noise(process, churned) - half_noise(process, t)
    mean = torch.where(raisable, rise, 0.0).sum(1) / raisable.sum(1)
    # Times are found to 2^-30, at rates of the log-SNR of up to thousands.
    torch.testing.assert_close(mean, torch.full_like(mean, math.log(1.3)), rtol=0, atol=1e-5)


def test_only_steps_within_the_stretch_are_churned_and_none_beyond_t_1():
    t = GRID[:-1]
    found, later = shares(EVERY_PROCESS["cosine"], Churn(3.0, earliest=0.35, latest=0.75), t, GRID[1:])
    churned = (t >= 0.35) & (t <= 0.75)
    assert torch.equal(later > t, churned)
    assert torch.equal(found.churn.spread.flatten() > 0, churned)
    assert torch.equal(found.churn.fade.flatten() < 1, churned)
    t = torch.tensor([1.0, 0.999], dtype=torch.float64)
    assert shares(EVERY_PROCESS["cosine"], Churn(100.0), t, t - 0.1)[1].tolist() == [1.0, 1.0]


def test_sigma_over_alpha_is_the_variable_that_noise_is_followed_in():
    """At t = 1 too, where there is no signal and the data is followed instead."""
    process = EVERY_PROCESS["rectified flow"]
    oracle, z = gaussian_oracle(process), latents(shape=process.shape)
    default, named = (
        made(oracle, Heun(follow=Follow.NOISE, variable=variable), 4).sample(len(z), initial=z)
        for variable in (None, Variable.NOISE_RATIO)
    )
    torch.testing.assert_close(default, named, rtol=0, atol=0)


class Faint(LinearGaussianProcess):
    """alpha = e^-800 at t = 1: 0 in float64, where its logarithm is a number."""

    def __init__(self):
        super().__init__(PixelBasis((1, 2, 2)))

    def log_alpha(self, t):
        return -800 * t

    def log_sigma(self, t):
        return 0 * t


@pytest.mark.parametrize("stepper", [Heun(follow=Follow.NOISE), Multistep(follow=Follow.NOISE)], ids=str)
def test_a_signal_that_underflows_is_not_taken_for_none(stepper):
    oracle = GaussianOracle(Faint(), torch.zeros(()), torch.ones(()))
    with pytest.raises(ValueError, match="too little signal"):
        made(oracle, stepper, 1, prior=OraclePrior(oracle))


class Rising(LinearGaussianProcess):
    """The log-SNR falls from each of the times 0, 1/2 and 1 to the next, and rises in between."""

    def __init__(self):
        super().__init__(PixelBasis((1, 2, 2)))

    def log_alpha(self, t):
        return -t + 0.5 * torch.sin(2 * torch.pi * t).square()

    def log_sigma(self, t):
        return 0 * t


@pytest.mark.parametrize("stepper", [Heun(), Multistep(order=2)], ids=str)
def test_a_log_snr_that_rises_between_a_grid_s_times_is_refused(stepper):
    oracle = GaussianOracle(Rising(), torch.zeros(()), torch.ones(()))
    with pytest.raises(ValueError, match="the log-SNR rises"):
        made(oracle, stepper, 2, prior=OraclePrior(oracle)).sample(2)
