"""Grids of times: their formulas, their ends, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zoo import EVERY_PROCESS

from unmelt.degradations import EDMSchedule, HeatDissipation, IsotropicDiffusion
from unmelt.samplers import (
    karras_times,
    level_times,
    log_snr_times,
    uniform_times,
)
from unmelt.samplers.grids import noise_level

SHAPE = (1, 4, 4)


@given(steps=st.integers(1, 300), ends=st.tuples(st.floats(0, 0.4), st.floats(0.5, 1)))
def test_uniform_times_fall_by_equal_amounts(steps, ends):
    stop, start = ends
    grid = uniform_times(steps, start=start, stop=stop)
    assert grid.dtype == torch.float64
    assert (grid[0].item(), grid[-1].item()) == (start, stop)
    torch.testing.assert_close(grid.diff(), torch.full((steps,), (stop - start) / steps, dtype=torch.float64))


def test_levels_are_the_process_s_own():
    assert level_times(HeatDissipation(SHAPE, levels=5)).tolist() == [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    with pytest.raises(ValueError, match="is continuous and has no levels: take uniform_times"):
        level_times(IsotropicDiffusion(SHAPE))


@pytest.mark.parametrize("steps", [1, 2, 18, 60])
def test_karras_grid(steps):
    """Karras et al. (2022), eq. 5: sigma_i = (max^(1/7) + i/(N-1) (min^(1/7) - max^(1/7)))^7."""
    process = IsotropicDiffusion(SHAPE, EDMSchedule())
    # Times at which sigma is as large and as small as the process's own, which lie within the band.
    grid = karras_times(process, steps)
    high, low = process.sigma(1.0).item(), process.sigma(0.0).item()
    ramp = torch.arange(steps + 1, dtype=torch.float64) / steps
    expected = (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    torch.testing.assert_close(process.sigma(grid).flatten(), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("name", [name for name in EVERY_PROCESS if name not in ("cold", "no noise")])
def test_equal_steps_of_the_log_snr(name):
    process = EVERY_PROCESS[name]
    grid = log_snr_times(process, 12)
    level = noise_level(process, grid)
    # Times are found to 2^-30 where the log-SNR has kinks or jumps, and it changes there by up to some thousands per
    # unit of time.
    steps = level.diff()
    torch.testing.assert_close(steps, steps.mean().expand(12), rtol=1e-4, atol=1e-5)
    assert bool((grid.diff() < 0).all())
    assert (grid[0].item(), grid[-1].item()) == (1.0, 0.0)


def test_the_noise_level_is_a_mean_of_log_snrs_within_the_band():
    process = EVERY_PROCESS["blurring"]
    times = torch.tensor([0.0, 0.3, 0.9], dtype=torch.float64)
    for band in ((-20.0, 20.0), (-1.0, 2.0)):
        log_snr = process.log_snr(times).clamp(*band)
        expected = -log_snr.expand(3, *process.shape).flatten(1).mean(1) / 2
        torch.testing.assert_close(noise_level(process, times, band=band), expected, rtol=1e-12, atol=1e-12)
    narrow, wide = log_snr_times(process, 10, band=(-4.0, 4.0)), log_snr_times(process, 10)
    assert (narrow - wide).abs().max() > 1e-3


def test_a_grid_may_start_and_stop_within():
    process = EVERY_PROCESS["cosine"]
    for make in (log_snr_times, karras_times):
        grid = make(process, 7, start=0.9, stop=0.1)
        assert (len(grid), grid[0].item(), grid[-1].item()) == (8, 0.9, 0.1)
    grid = karras_times(process, 7, rho=1.0, start=0.9, stop=0.1)
    steps = noise_level(process, grid).exp().diff()
    torch.testing.assert_close(steps, steps.mean().expand(7), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: uniform_times(0), "steps must be at least 1, got 0"),
        (lambda p: uniform_times(3, start=0.5, stop=0.5), "got start=0.5 and stop=0.5"),
        (lambda p: uniform_times(3, start=1.5), "got start=1.5"),
        (lambda p: log_snr_times(p, 0), "steps must be at least 1, got 0"),
        (lambda p: log_snr_times(p, 3, stop=-0.1), "stop=-0.1"),
        (lambda p: log_snr_times(p, 3, band=(1.0, -1.0)), "band must be two log-SNRs, the lower one first"),
        (lambda p: log_snr_times(p, 3, band=(30.0, 40.0)), "does not change between t = 0.0 and 1.0: take uniform"),
        (lambda p: karras_times(p, 3, rho=0.0), "rho must be a positive number, such as 7, got 0.0"),
        (lambda p: log_snr_times(EVERY_PROCESS["geometric"], 4, start=1.0, stop=0.6), "does not change"),
    ],
)
def test_grids_that_cannot_be_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make(EVERY_PROCESS["cosine"])
