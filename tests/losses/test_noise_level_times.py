"""Distributions of the noise level: any process, ends without noise or signal, and cut distributions."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from problems import ALMOST, CPU, EPS, uniforms
from scipy import stats
from support import seeded

from unmelt.degradations import (
    CosineSchedule,
    IsotropicDiffusion,
    LinearSchedule,
    RectifiedFlowSchedule,
)
from unmelt.losses import LogNormalTimes, LogSNRTimes
from unmelt.testing.strategies import processes, seeds

SHAPE = (1, 2, 2)


def isotropic(schedule):
    return IsotropicDiffusion(SHAPE, schedule)


def covered(sampler):
    return sampler.of.covered(sampler.lowest, sampler.highest)


def truncated(y, low, high, mean=-1.2, std=1.2):
    return torch.from_numpy(stats.truncnorm.cdf(y.numpy(), (low - mean) / std, (high - mean) / std, mean, std))


class TestNoiseLevels:
    @settings(max_examples=40)
    @given(process=processes(), normal=st.booleans(), seed=seeds())
    def test_any_process_with_a_finite_mean_log_snr(self, process, normal, seed):
        probes = process.log_snr(
            torch.tensor([2.0**-53, ALMOST], dtype=torch.float64) if normal else torch.tensor([0.0, 1.0])
        )
        means = probes.flatten(1).mean(1)
        assume(bool(means.isfinite().all()) and means[0] - means[1] > 0.01)
        distribution = (LogNormalTimes(0.0, 3.0) if normal else LogSNRTimes()).bind(process)
        u = uniforms(20, seed)
        t = distribution.quantile(u)
        width = 2.0**-29
        assert (distribution.cdf((t - width).clamp(min=0.0)) <= u).all()
        assert (distribution.cdf((t + width).clamp(max=1.0)) >= u).all()
        y = -process.log_snr(t).expand(-1, *process.shape).mean(tuple(range(1, 1 + len(process.shape)))) / 2
        if normal:
            low, high = (stats.norm.cdf(end / 3) for end in (distribution.lowest, distribution.highest))
            share = (torch.special.ndtr(y / 3) - low) / (high - low)
        else:
            share = (y - distribution.lowest) / (distribution.highest - distribution.lowest)
        # Subtracting distribution functions here costs what the share of the normal distribution in the range says.
        torch.testing.assert_close(
            distribution.cdf(t), share, rtol=0, atol=1e-12 / (covered(distribution) if normal else 1.0)
        )

    @pytest.mark.parametrize(
        "schedule",
        [RectifiedFlowSchedule(), LinearSchedule(), LinearSchedule(0.0, 20.0)],
        ids=["flow", "vp", "vp from 0"],
    )
    def test_ends_without_noise_or_signal_cost_nothing(self, schedule):
        distribution = LogNormalTimes().bind(isotropic(schedule))
        assert covered(distribution) == pytest.approx(1, abs=1e-3)
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        assert distribution.cdf(ends).tolist() == [0.0, 1.0]
        assert distribution.density(ends).isfinite().all()
        # Only above is anything left out, so the median of the whole distribution is where that much of it lies below.
        t = distribution.quantile(torch.tensor([0.5 / covered(distribution)], dtype=torch.float64))
        assert distribution.log_noise(t).item() == pytest.approx(-1.2, abs=1e-12)

    def test_a_distribution_wider_than_times_are_precise_is_cut_at_the_times_next_to_the_ends(self):
        distribution = LogNormalTimes(std=20.0).bind(isotropic(RectifiedFlowSchedule()))
        # log(t / (1 - t)) at 2^-53 from either end.
        end = 53 * math.log(2)
        t = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)
        # A few numbers up to 40 in size, over 20.
        torch.testing.assert_close(
            distribution.cdf(t), truncated(torch.logit(t), -end, end, std=20.0), rtol=0, atol=40 * EPS
        )
        assert distribution.cdf(torch.tensor([0.0, 2.0**-60, 1.0], dtype=torch.float64)).tolist() == [0.0, 0.0, 1.0]

    def test_the_distribution_is_cut_and_not_clamped(self):
        """A range with 5 % of the distribution to its left: no time is drawn more often for that."""
        distribution = LogNormalTimes().bind(isotropic(CosineSchedule(-20.0, 2 * (1.2 + 1.645 * 1.2))))
        assert covered(distribution) == pytest.approx(0.95, abs=1e-4)
        t = distribution.sample(20_000, device=CPU, generator=seeded(7))
        # 3.3 standard errors of a probability that is the width of this bin times the density at its middle.
        share, expected = (t < 0.01).double().mean(), distribution.density(torch.tensor(0.005).double()) * 0.01
        assert abs(share - expected) < 4 * (expected / 20_000).sqrt()
