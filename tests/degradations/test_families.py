"""Each family against its paper's formulas, and heat against the heat equation itself."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    PixelBasis,
)
from unmelt.testing.strategies import random_images


def test_heat_levels_are_the_released_ones():
    """Level 0 unblurred, then K widths evenly spaced in their logarithm: the configuration files' blur_schedule."""
    process = HeatDissipation((3, 32, 32), blur_sigma_max=24.0, blur_sigma_min=0.5, levels=200)
    released = np.concatenate([[0.0], np.exp(np.linspace(np.log(0.5), np.log(24.0), 200))])
    widths = process.blur_sigma(torch.arange(201, dtype=torch.float64) / 200)
    np.testing.assert_allclose(widths.numpy(), released, rtol=1e-12)


@given(t=st.floats(1e-6, 1))
def test_heat_fades_every_frequency_by_its_eigenvalue(t):
    process = HeatDissipation((2, 5, 7), blur_sigma_max=6.0, levels=20, sigma=0.03)
    n, m = np.arange(5)[:, None], np.arange(7)
    rate = (np.pi * n / 5) ** 2 + (np.pi * m / 7) ** 2
    tau = process.blur_sigma(t).item() ** 2 / 2
    np.testing.assert_allclose(process.log_alpha(t).numpy(), -rate * tau, rtol=1e-12)
    assert process.sigma(t).item() == pytest.approx(0.03, rel=1e-12)
    assert process.alpha(t)[..., 0, 0].item() == 1.0


def test_heat_width_is_continuous_where_the_levels_begin():
    process = HeatDissipation((1, 8, 8), blur_sigma_min=0.5, levels=10)
    below, at, above = process.blur_sigma(torch.tensor([0.1 - 1e-9, 0.1, 0.1 + 1e-9], dtype=torch.float64)).tolist()
    assert below == pytest.approx(at, rel=1e-6)
    assert above == pytest.approx(at, rel=1e-6)
    assert process.blur_sigma(0.0).item() == 0.0


def smooth_image(size):
    """A smooth function on the unit square with no symmetry, sampled at pixel centres."""
    grid = (np.arange(size) + 0.5) / size
    return np.exp(-6 * (grid[:, None] - 0.3) ** 2) * (1 + 0.5 * np.cos(np.pi * 2 * grid[None])) + grid[None] ** 2


def heat_at(size, tau_unit):
    """Unmelt's solution at time tau_unit on the unit square: a blur width in units of 1 / size."""
    width = math.sqrt(2 * tau_unit) * size
    process = HeatDissipation((1, size, size), blur_sigma_max=width, blur_sigma_min=width / 2, levels=2)
    return process.degrade(torch.from_numpy(smooth_image(size))[None, None], 1.0)[0][0, 0].numpy()


def finite_differences(size, tau_unit):
    """The heat equation with insulated edges by explicit five-point differences on the same grid."""
    u = smooth_image(size)
    steps = math.ceil(tau_unit * size**2 / 0.2)
    dt = tau_unit * size**2 / steps
    for _ in range(steps):
        padded = np.pad(u, 1, mode="edge")
        laplacian = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2] - 4 * u
        u = u + dt * laplacian
    return u


def test_heat_solves_the_heat_equation_as_the_grid_refines():
    """Differences to the finite-difference solution fall with the square of the pixel's size."""
    errors = {size: np.abs(heat_at(size, 0.01) - finite_differences(size, 0.01)).max() for size in (16, 32, 64)}
    # Second order: halving the pixel divides the error by four. Edges where the slope is not zero start rougher.
    assert errors[32] < errors[16] / 3
    assert errors[64] < errors[32] / 3
    assert errors[64] < 2e-4


@pytest.mark.parametrize("shape", [(48, 48), (40, 56)])
@pytest.mark.parametrize("width", [2.0, 4.0])
def test_heat_equals_scipys_gaussian_filter_with_reflecting_boundary(shape, width):
    x = np.random.default_rng(0).random(shape)
    process = HeatDissipation((1, *shape), blur_sigma_max=width, blur_sigma_min=width / 2, levels=2)
    ours = process.degrade(torch.from_numpy(x)[None, None], 1.0)[0][0, 0].numpy()
    # scipy samples the Gaussian at pixels instead of cutting it off at the highest cosine; the kernels differ by the
    # Gaussian's spectrum beyond half the sampling rate, 2 exp(-(pi width)^2 / 2), and by its tail beyond 12 widths.
    aliasing = 2 * math.exp(-((math.pi * width) ** 2) / 2)
    theirs = gaussian_filter(x, width, mode="reflect", truncate=12.0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=4 * aliasing + 1e-12)


@given(seed=st.integers(0, 99), batch=st.integers(1, 3))
def test_separable_blur_equals_the_transform(seed, batch):
    """HeatDissipation.degrade multiplies blur matrices; the generic path transforms. Both are one operator."""
    process = HeatDissipation((2, 6, 9), blur_sigma_max=5.0, levels=30)
    x = random_images((2, 6, 9), batch=batch, seed=seed)
    t = torch.rand(batch, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    generic = super(HeatDissipation, process).degrade(x, t, 0.4)
    for ours, theirs in zip(process.degrade(x, t, 0.4), generic, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(2, 50), (1, 4, 5, 6)])
def test_heat_runs_on_sound_and_on_volumes(shape):
    process = HeatDissipation(shape, blur_sigma_max=3.0, levels=5)
    x = random_images(shape)
    axes = tuple(range(2, len(shape) + 1))
    blurred = process.degrade(x, 1.0)[0]
    torch.testing.assert_close(blurred.mean(axes), x.mean(axes), rtol=0, atol=1e-13)
    assert blurred.var() < 0.2 * x.var()


@given(t=st.floats(0, 1), low=st.floats(-12, -1), high=st.floats(1, 12))
def test_cosine_schedule_preserves_variance_and_meets_its_ends(t, low, high):
    process = IsotropicDiffusion((1, 2, 2), CosineSchedule(low, high))
    alpha, sigma = process.alpha(t).item(), process.sigma(t).item()
    assert alpha**2 + sigma**2 == pytest.approx(1, abs=1e-14)
    assert process.log_snr(0.0).item() == pytest.approx(high, rel=1e-9)
    assert process.log_snr(1.0).item() == pytest.approx(low, rel=1e-9)
    b = math.atan(math.exp(-high / 2))
    a = math.atan(math.exp(-low / 2)) - b
    assert process.log_snr(t).item() == pytest.approx(-2 * math.log(math.tan(a * t + b)), rel=1e-7, abs=1e-9)


def test_linear_schedule_is_the_limit_of_ddpms_thousand_steps():
    """alpha_bar = prod(1 - beta_i), beta from 1e-4 to 0.02 over 1000 steps (Ho et al., 2020)."""
    process = IsotropicDiffusion((1, 1, 1), LinearSchedule())
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    times = torch.arange(1, 1001, dtype=torch.float64) / 1000
    ours = process.log_alpha(times).flatten().numpy() * 2
    # Two differences of the discrete chain: log(1 - beta) = -beta - beta^2 / 2 fades faster, by up to beta / 2 = 1 %;
    # and a sum of n steps lags the integral by half a step's growth each, 0.01 / 1000 in all per step.
    off = np.abs(ours - np.log(alpha_bar))
    assert (off <= 0.01 * np.abs(ours) + 1.01e-5 * np.arange(1, 1001)).all()
    np.testing.assert_allclose(process.alpha(1.0).item() ** 2 + process.sigma(1.0).item() ** 2, 1, rtol=1e-12)


@given(t=st.floats(0, 1))
def test_blurring_diffusion_has_the_papers_schedule(t):
    process = BlurringDiffusion((3, 6, 4))
    b = math.atan(math.exp(-10 / 2))
    a = math.atan(math.exp(10 / 2)) - b
    log_snr = -2 * math.log(math.tan(a * t + b))
    n, m = np.arange(6)[:, None], np.arange(4)
    rate = (np.pi * n / 6) ** 2 + (np.pi * m / 4) ** 2
    tau = (20 * math.sin(math.pi * t / 2) ** 2) ** 2 / 2
    scaling = np.exp(-rate * tau) * (1 - 0.001) + 0.001
    alpha = math.sqrt(1 / (1 + math.exp(-log_snr))) * scaling
    np.testing.assert_allclose(process.alpha(t)[0, 0].numpy(), alpha, rtol=1e-9)
    assert process.sigma(t).item() == pytest.approx(math.sqrt(1 / (1 + math.exp(log_snr))), rel=1e-9)


def test_blurring_without_blur_is_isotropic_diffusion():
    blurring, isotropic = BlurringDiffusion((1, 4, 4), blur_sigma_max=0.0), IsotropicDiffusion((1, 4, 4))
    for t in (0.0, 0.3, 1.0):
        torch.testing.assert_close(blurring.alpha(t), isotropic.alpha(t).expand(1, 1, 4, 4), rtol=1e-12, atol=0)
        torch.testing.assert_close(blurring.sigma(t), isotropic.sigma(t), rtol=1e-12, atol=0)
    assert isinstance(isotropic.basis, PixelBasis)
