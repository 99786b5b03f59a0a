"""Grids of times: their formulas, their ends, and what is refused."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import LearnedHeat
from zoo import EVERY_PROCESS

from unmelt.degradations import EDMSchedule, HeatDissipation, IsotropicDiffusion
from unmelt.samplers import BalancedGrid, EndGrid, FixedGrid, KarrasGrid, LogSNRGrid, UniformGrid
from unmelt.samplers.grids import noise_level

SHAPE = (1, 4, 4)
PROCESS = EVERY_PROCESS["cosine"]


@given(steps=st.integers(1, 300), ends=st.tuples(st.floats(0, 0.4), st.floats(0.5, 1)))
def test_uniform_times_fall_by_equal_amounts(steps, ends):
    stop, start = ends
    grid = UniformGrid(steps).times(PROCESS, start=start, stop=stop)
    assert grid.dtype == torch.float64
    assert (grid[0].item(), grid[-1].item()) == (start, stop)
    torch.testing.assert_close(grid.diff(), torch.full((steps,), (stop - start) / steps, dtype=torch.float64))


def test_uniform_grids_take_the_process_s_own_levels_unless_told():
    levels = HeatDissipation(SHAPE, levels=5)
    assert UniformGrid().times(levels).tolist() == [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    assert len(UniformGrid(3).times(levels)) == 4
    assert len(UniformGrid().times(PROCESS)) == 51


def test_a_grid_of_ends_is_next_to_zero_at_the_first_level():
    assert EndGrid().times(HeatDissipation(SHAPE, levels=5)).tolist() == [1.0, 0.2, 0.0]
    assert EndGrid().times(PROCESS).tolist() == [1.0, 0.001, 0.0]
    assert EndGrid(0.3).times(PROCESS, start=0.9, stop=0.4).tolist() == [0.9, 0.4]


# Integers are floats to Python's type checkers, and not to those that look at values.
@pytest.mark.usefixtures("as_in_production")
def test_fixed_grids_are_values_whatever_they_were_made_of():
    given = FixedGrid(torch.tensor([1.0, 0.5, 0.0]))
    assert given == FixedGrid([1, 0.5, 0])
    assert hash(given) == hash(FixedGrid((1.0, 0.5, 0.0)))
    assert repr(given) == "FixedGrid(given=(1.0, 0.5, 0.0))"
    assert given.times(PROCESS, start=0.7).tolist() == [0.7, 0.5, 0.0]


@pytest.mark.parametrize("steps", [1, 2, 18, 60])
def test_karras_grid(steps):
    """Karras et al. (2022), eq. 5: sigma_i = (max^(1/7) + i/(N-1) (min^(1/7) - max^(1/7)))^7."""
    process = IsotropicDiffusion(SHAPE, EDMSchedule())
    # Times at which sigma is as large and as small as the process's own, which lie within the band.
    grid = KarrasGrid(steps).times(process)
    high, low = process.sigma(1.0).item(), process.sigma(0.0).item()
    ramp = torch.arange(steps + 1, dtype=torch.float64) / steps
    expected = (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    torch.testing.assert_close(process.sigma(grid).flatten(), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("name", [name for name in EVERY_PROCESS if name not in ("cold", "no noise")])
def test_equal_steps_of_the_log_snr(name):
    process = EVERY_PROCESS[name]
    grid = LogSNRGrid(12).times(process)
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
    narrow, wide = LogSNRGrid(10, band=(-4.0, 4.0)).times(process), LogSNRGrid(10).times(process)
    assert (narrow - wide).abs().max() > 1e-3


@pytest.mark.parametrize(
    "name", ["blurring", "cosine", "edm", "rectified flow", "linear", "unbounded cosine", "variance preserving blur"]
)
def test_balanced_grids_take_equal_steps_of_the_squashed_log_snr(name):
    process = EVERY_PROCESS[name]
    grid = BalancedGrid(12).times(process)
    assert (grid[0], grid[-1], len(grid)) == (1, 0, 13)
    squashed = torch.tanh(process.at(grid).log_snr / 10).expand(13, *process.shape).flatten(1).mean(1)
    # The inverse is found to 2^-30 in time, and the log-SNR moves by thousands per unit of time at its steepest.
    torch.testing.assert_close(squashed.diff(), squashed.diff().mean().expand(12), rtol=0, atol=1e-5)


def test_a_scale_beyond_all_log_snrs_leaves_them_as_they_are():
    wide, plain = (grid.times(PROCESS, start=0.9, stop=0.1) for grid in (BalancedGrid(5, scale=1e4), LogSNRGrid(5)))
    torch.testing.assert_close(wide, plain, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "grid", [UniformGrid(7), LogSNRGrid(7), BalancedGrid(7), KarrasGrid(7), KarrasGrid(7, rho=1.0)]
)
def test_a_grid_may_start_and_stop_within(grid):
    times = grid.times(PROCESS, start=0.9, stop=0.1)
    assert (len(times), times[0].item(), times[-1].item()) == (8, 0.9, 0.1)
    if grid == KarrasGrid(7, rho=1.0):
        steps = noise_level(PROCESS, times).exp().diff()
        torch.testing.assert_close(steps, steps.mean().expand(7), rtol=1e-6, atol=0)


@pytest.mark.parametrize("grid", [LogSNRGrid(5), BalancedGrid(5), KarrasGrid(5)], ids=str)
def test_a_learned_process_leaves_no_graph_in_the_times(grid):
    process = LearnedHeat()
    times = grid.times(process)
    assert not times.requires_grad
    assert torch.equal(copy.deepcopy(times), times)
