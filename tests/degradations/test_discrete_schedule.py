"""Schedules from tables of betas: exact at every level, to the digits of the first and the last."""

import math

import mpmath as mp
import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st
from support import refusals

from unmelt.degradations import (
    DiscreteSchedule,
    IsotropicDiffusion,
    LinearSchedule,
    PredictEpsilon,
    PredictV,
    SpectralDiffusion,
)
from unmelt.testing import check_process

mp.mp.dps = 60

LINEAR = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
TABLES = {
    "DDPM": LINEAR,
    "tiny": torch.tensor([1e-14, 1e-9, 0.3]),
    "steep": torch.tensor([0.5, 0.999, 1 - 1e-12], dtype=torch.float64),
    "one level": torch.tensor([0.7]),
    "no signal left": torch.tensor([0.1, 0.9, 1.0]),
}
every_table = pytest.mark.parametrize("betas", TABLES.values(), ids=TABLES)


def levels(count):
    return torch.arange(count + 1, dtype=torch.float64) / count


def log(x):
    return -math.inf if x == 0 else float(mp.log(x))


@every_table
def test_it_is_the_product_of_its_table_at_every_level(betas):
    schedule = DiscreteSchedule(betas)
    t = levels(len(betas))
    square, squares = mp.mpf(1), [mp.mpf(1)]
    for beta in betas.double().tolist():
        square *= 1 - mp.mpf(beta)
        squares.append(square)
    # A cumulative sum of K logarithms is rounded K times, and K k / K once.
    close = {"rel": 1e-15 * (len(betas) + 100), "abs": 1e-15}
    assert schedule.log_alpha(t).tolist() == pytest.approx([log(s) / 2 for s in squares], **close)
    assert schedule.log_sigma(t).tolist() == pytest.approx([log(1 - s) / 2 for s in squares], **close)


@every_table
def test_it_falls_between_levels_as_a_share_of_each_beta(betas):
    schedule = DiscreteSchedule(betas)
    t = torch.linspace(0, 1, 7 * len(betas) + 1, dtype=torch.float64)
    log_alpha, log_sigma = schedule.log_alpha(t), schedule.log_sigma(t)
    assert (log_alpha.diff() < 0).all()
    assert (log_sigma.diff() >= 0).all()
    torch.testing.assert_close((2 * log_alpha).exp() + (2 * log_sigma).exp(), torch.ones_like(t), rtol=0, atol=1e-15)
    # Straight lines of alpha^2 from level to level.
    squares = (2 * log_alpha[: 7 * len(betas)]).exp().reshape(-1, 7)
    assert squares.diff(n=2).abs().max() < 1e-15


@given(betas=st.lists(st.floats(1e-10, 0.999), min_size=1, max_size=20), place=st.floats(0, 1))
def test_log_snrs_never_rise(betas, place):
    process = IsotropicDiffusion((1,), DiscreteSchedule(betas))
    t = torch.tensor([place, min(1.0, place + 0.05)], dtype=torch.float64)
    assert process.log_snr(t).flatten().diff() <= 1e-12


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_it_is_their_table_of_alphas(name, rescaled):
    theirs = DDIMScheduler(beta_schedule=name, rescale_betas_zero_snr=rescaled)
    process = IsotropicDiffusion((1,), DiscreteSchedule(theirs.betas))
    assert process.levels == 1000
    squares = process.alpha(levels(1000)[1:]).square().flatten()
    # Theirs are products of a thousand single-precision numbers, each rounded by 2^-24: 6e-5 if all went one way.
    torch.testing.assert_close(squares, theirs.alphas_cumprod.double(), rtol=6e-5, atol=0)
    assert (squares[-1] == 0) == rescaled


def test_many_small_betas_are_the_linear_schedule():
    count = 20_000
    middle = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    schedule, limit = DiscreteSchedule((0.1 + 19.9 * middle) / count), LinearSchedule(0.1, 20.0)
    t = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    # log(1 - beta) = -beta - beta^2 / 2: off by the rate's square over twice the count, integrated.
    torch.testing.assert_close(schedule.log_alpha(t), limit.log_alpha(t), rtol=0, atol=20**2 / count)
    torch.testing.assert_close(schedule.log_sigma(t), limit.log_sigma(t), rtol=0, atol=1e-3)


def test_its_tables_follow_the_process_and_keep_their_precision():
    process = IsotropicDiffusion((1,), DiscreteSchedule(LINEAR)).half()
    assert process.schedule.betas.dtype == torch.float64
    assert not process.state_dict()
    assert process.agrees_with(IsotropicDiffusion((1,), DiscreteSchedule(LINEAR.tolist())))
    assert not process.agrees_with(IsotropicDiffusion((1,), DiscreteSchedule(LINEAR.flip(0))))
    assert "1000 levels, beta 0.0001 to 0.02" in repr(process)
    assert SpectralDiffusion.power_law((1, 4, 4), schedule=DiscreteSchedule(LINEAR)).levels == 1000
    assert IsotropicDiffusion((1,)).levels is None
    assert type("Fifty", (IsotropicDiffusion,), {"levels": 50})((1,)).levels == 50


def test_a_time_that_is_none_is_no_index():
    assert DiscreteSchedule([0.1, 0.2]).log_alpha(torch.tensor([math.nan])).isnan().all()


def test_without_signal_at_the_end_v_is_predicted_and_noise_is_refused():
    process = IsotropicDiffusion((1,), DiscreteSchedule([0.1, 0.9, 1.0]))
    PredictV().require_stable(process)
    with pytest.raises(ValueError, match=r"PredictEpsilon cannot be converted stably.*PredictV"):
        PredictEpsilon().require_stable(process)


@pytest.mark.parametrize("betas", [[0.1, 0.3, 0.5], pytest.param([0.2, 0.6, 1.0], marks=pytest.mark.full)])
def test_all_laws_hold(betas):
    check_process(IsotropicDiffusion((1, 2, 2), DiscreteSchedule(betas)), max_examples=5)


@pytest.mark.usefixtures("as_in_production")
@refusals(
    (lambda: DiscreteSchedule([]), ValueError, r"at least one, got shape \(0,\)"),
    (lambda: DiscreteSchedule(torch.ones(2, 2) / 2), ValueError, r"in a row.*got shape \(2, 2\)"),
    (lambda: DiscreteSchedule(torch.tensor(0.5)), ValueError, r"in a row.*got shape \(\)"),
    (lambda: DiscreteSchedule([0.1, 0.0]), ValueError, r"\(0, 1\].*got 0 for level 2"),
    (lambda: DiscreteSchedule([-0.1]), ValueError, r"\(0, 1\].*got -0.1 for level 1"),
    (lambda: DiscreteSchedule([0.1, 1.5]), ValueError, r"\(0, 1\].*got 1.5 for level 2"),
    (lambda: DiscreteSchedule([math.nan]), ValueError, r"\(0, 1\].*got nan"),
    (lambda: DiscreteSchedule([0.1, math.inf]), ValueError, r"\(0, 1\].*got inf"),
    (lambda: DiscreteSchedule([0.1, 1.0, 0.2]), ValueError, "beta is 1 at level 2 of 3.*only the last"),
)
def test_wrong_tables_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
