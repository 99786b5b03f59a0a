"""The methods that have names are four values of `coupling`: each against its own paper's formula."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    Deterministic,
    Eta,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    Markov,
)
from unmelt.testing.strategies import ordered_times, random_images

SHAPE = (2, 4, 3)


def pair(seed):
    return random_images(SHAPE, seed=seed), random_images(SHAPE, seed=seed + 1)


def squared(process, t):
    """alpha^2 and sigma^2 of an isotropic process, as numbers."""
    return process.alpha(t).item() ** 2, process.sigma(t).item() ** 2


@given(times=ordered_times(2), seed=st.integers(0, 99))
def test_markov_is_ddpms_posterior(times, seed):
    """Ho et al. (2020), eq. 6 and 7, with alpha_bar = alpha^2 and beta = 1 - alpha_bar_t / alpha_bar_s."""
    s, t = times
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-8.0, 8.0))
    x, z = pair(seed)
    bar_s, bar_t = squared(process, s)[0], squared(process, t)[0]
    beta = 1 - bar_t / bar_s
    mean = (math.sqrt(bar_s) * beta * x + math.sqrt(bar_t / bar_s) * (1 - bar_s) * z) / (1 - bar_t)
    variance = (1 - bar_s) / (1 - bar_t) * beta
    q = process.posterior(z, x, s, t, Markov())
    torch.testing.assert_close(q.mean, mean, rtol=1e-9, atol=1e-11)
    assert q.spectral_stddev.item() ** 2 == pytest.approx(variance, rel=1e-8)


@given(times=ordered_times(2), eta=st.floats(0, 1), seed=st.integers(0, 99))
def test_eta_is_the_ddim_family(times, eta, seed):
    """Song, Meng & Ermon (2021), eq. 12 and 16, with their alpha our alpha^2."""
    s, t = times
    process = IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0))
    x, z = pair(seed)
    (a_s, v_s), (a_t, v_t) = squared(process, s), squared(process, t)
    noise = (z - math.sqrt(a_t) * x) / math.sqrt(v_t)
    deviation = eta * math.sqrt(v_s / v_t) * math.sqrt(1 - a_t / a_s)
    mean = math.sqrt(a_s) * x + math.sqrt(max(v_s - deviation**2, 0.0)) * noise
    q = process.posterior(z, x, s, t, Eta(eta))
    torch.testing.assert_close(q.mean, mean, rtol=1e-7, atol=1e-8)
    assert q.spectral_stddev.item() == pytest.approx(deviation, rel=1e-7, abs=1e-12)


@given(times=ordered_times(2), seed=st.integers(0, 99))
def test_the_ends_of_the_ddim_family(times, seed):
    s, t = times
    process = BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
    x, z = pair(seed)
    for eta, coupling in ((Eta(0.0), Deterministic()), (Eta(1.0), Markov())):
        ours, named = process.posterior(z, x, s, t, eta), process.posterior(z, x, s, t, coupling)
        torch.testing.assert_close(ours.mean, named.mean, rtol=1e-9, atol=1e-9)
        ours_std, named_std = (q.spectral_stddev.expand_as(x) for q in (ours, named))
        torch.testing.assert_close(ours_std, named_std, rtol=1e-9, atol=1e-12)


@given(level=st.integers(1, 20), seed=st.integers(0, 99))
def test_independent_is_inverse_heat_dissipations_step(level, seed):
    """Rissanen et al. (2023), eq. 3: u_{k-1} ~ N(A_{k-1} u_0, sigma^2), whatever u_k is."""
    process = HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=20, sigma=0.01)
    x, z = pair(seed)
    q = process.posterior(z, x, (level - 1) / 20, level / 20, Independent())
    torch.testing.assert_close(q.mean, process.degrade(x, (level - 1) / 20)[0], rtol=0, atol=1e-12)
    assert q.spectral_stddev.item() == pytest.approx(0.01, rel=1e-12)


@given(times=ordered_times(2), sigma=st.sampled_from([0.0, 0.02]), seed=st.integers(0, 99))
def test_deterministic_at_constant_noise_is_cold_diffusions_improved_step(times, sigma, seed):
    """Bansal et al. (2023), algorithm 2: z_s = z_t - D(x, t) + D(x, s); without noise at all, too."""
    s, t = times
    process = HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=20, sigma=sigma)
    x, z = pair(seed)
    at_t, at_s = process.degrade(x, t, s)
    q = process.posterior(z, x, s, t, Deterministic())
    torch.testing.assert_close(q.mean, z - at_t + at_s, rtol=0, atol=1e-12)
    assert q.spectral_stddev.max().item() == 0


@settings(max_examples=50)
@given(times=ordered_times(2), seed=st.integers(0, 99))
def test_markov_is_blurring_diffusions_denoise_step(times, seed):
    """Hoogeboom & Salimans (2023), section 4.2, per frequency, without the clipping of its terms:

    sigma_{t->s}^2 = (1 / sigma_s^2 + alpha_{t|s}^2 / sigma_{t|s}^2)^-1,
    mu_{t->s} = sigma_{t->s}^2 (alpha_{t|s} / sigma_{t|s}^2 u_t + alpha_s / sigma_s^2 u_x).
    """
    s, t = times
    process = BlurringDiffusion(SHAPE, blur_sigma_max=2.0, schedule=CosineSchedule(-6.0, 6.0))
    x, z = pair(seed)
    a_s, a_t, v_s, v_t = process.alpha(s), process.alpha(t), process.sigma(s) ** 2, process.sigma(t) ** 2
    step = a_t / a_s
    step_variance = v_t - step**2 * v_s
    variance = 1 / (1 / v_s + step**2 / step_variance)
    u_x, u_t = process.basis.forward(x), process.basis.forward(z)
    mean = variance * (step / step_variance * u_t + a_s / v_s * u_x)
    q = process.posterior(z, x, s, t)
    torch.testing.assert_close(q.spectral_mean, mean, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(q.spectral_stddev**2, variance, rtol=1e-8, atol=0)
