"""Laws of training times: their formulas, their draws, what batches drawn together gain, and learning from losses."""

import copy
import math
from collections import deque
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from unmelt.core.root_finding import invert_distribution
from unmelt.degradations import (
    ColdBlur,
    ConstantNoise,
    CosineSchedule,
    EDMSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    Pixelation,
    RectifiedFlowSchedule,
)
from unmelt.losses import (
    Antithetic,
    DenoisingLoss,
    LevelTimes,
    LogNormalTimes,
    LogSNRTimes,
    LossHistoryBins,
    LossHistoryTimes,
    LowDiscrepancy,
    Stratified,
    UniformTimes,
)
from unmelt.losses.times.base import uniform_numbers
from unmelt.testing.strategies import processes, seeds

SHAPE = (1, 2, 2)
CPU = torch.device("cpu")
EPS = 2.0**-52
# The largest number that torch.rand draws.
ALMOST = 1 - 2.0**-53
# Kolmogorov's distance of n draws exceeds 2.2 / sqrt(n) for one seed in 10^4.
KOLMOGOROV = 2.2


def seeded(seed=7):
    return torch.Generator().manual_seed(seed)


def uniforms(count, seed=7):
    return torch.rand(count, generator=seeded(seed), dtype=torch.float64)


def isotropic(schedule):
    return IsotropicDiffusion(SHAPE, schedule)


def truncated(y, low, high, mean=-1.2, std=1.2):
    return torch.from_numpy(stats.truncnorm.cdf(y.numpy(), (low - mean) / std, (high - mean) / std, mean, std))


def trained(law, cells):
    """A law that has met the loss k + 1 in each cell k, as often as it remembers."""
    middles = (torch.arange(cells, dtype=torch.float64) + 1) / cells - (0.5 / cells if hasattr(law, "bins") else 0)
    for _ in range(law.history):
        law.update(middles, torch.arange(1.0, cells + 1))
    return law


# Probabilities proportional to 1..5, and a share of 0.001 of 1/5 each.
SHARES = 0.999 * torch.arange(1.0, 6, dtype=torch.float64) / 15 + 0.001 / 5


def in_bins(t):
    borders = torch.cat((torch.zeros(1, dtype=torch.float64), SHARES.cumsum(0)))
    return torch.from_numpy(np.interp(t.numpy(), np.linspace(0, 1, 6), borders.numpy()))


def edm_noise(t):
    return 7 * torch.log(0.002 ** (1 / 7) + t * (80 ** (1 / 7) - 0.002 ** (1 / 7)))


def cosine_noise(t, low, high):
    """Half the logarithm of the noise-to-signal ratio of a cosine schedule, from its printed formula."""
    b = math.atan(math.exp(-high / 2))
    return torch.log(torch.tan((math.atan(math.exp(-low / 2)) - b) * t + b))


def heat_share(t):
    """The share of the mean log-SNR's fall that is over, from the process's own tables."""
    process = HeatDissipation(SHAPE, blur_sigma_max=2.0, levels=9)
    y = -process.log_snr(t).mean((1, 2, 3))
    start, end = (-process.log_snr(time).mean() for time in (0.0, 1.0))
    return (y - start) / (end - start)


# Each law in continuous time, and its distribution function typed once more.
CONTINUOUS = {
    "uniform": (UniformTimes, lambda t: t),
    "log-normal, rectified flow": (
        lambda: LogNormalTimes(isotropic(RectifiedFlowSchedule())),
        lambda t: torch.special.ndtr((torch.logit(t) + 1.2) / 1.2),
    ),
    "log-normal, EDM": (
        lambda: LogNormalTimes(isotropic(EDMSchedule())),
        lambda t: truncated(edm_noise(t), math.log(0.002), math.log(80)),
    ),
    "log-normal, cut on both sides": (
        lambda: LogNormalTimes(isotropic(CosineSchedule(-2.0, 3.0)), mean=0.2, std=2.0),
        lambda t: truncated(cosine_noise(t, -2, 3), -1.5, 1, 0.2, 2.0),
    ),
    "log-normal, its upper tail": (
        lambda: LogNormalTimes(isotropic(CosineSchedule(-10.0, 4.0)), mean=-14.0),
        lambda t: truncated(cosine_noise(t, -10, 4), -2, 5, -14.0),
    ),
    "log-normal, its lower tail": (
        lambda: LogNormalTimes(isotropic(CosineSchedule(-4.0, 10.0)), mean=14.0),
        lambda t: truncated(cosine_noise(t, -4, 10), -5, 2, 14.0),
    ),
    "log-SNR, cosine": (
        lambda: LogSNRTimes(isotropic(CosineSchedule(-10.0, 6.0))),
        lambda t: (cosine_noise(t, -10, 6) + 3) / 8,
    ),
    "log-SNR, heat": (lambda: LogSNRTimes(HeatDissipation(SHAPE, blur_sigma_max=2.0, levels=9)), heat_share),
    "loss history": (lambda: trained(LossHistoryBins(5), 5), in_bins),
}
# Each law on levels, and the levels' probabilities.
ON_LEVELS = {
    "uniform": (lambda: LevelTimes(7), torch.full((7,), 1 / 7, dtype=torch.float64)),
    "a hundred": (lambda: LevelTimes(100), torch.full((100,), 1 / 100, dtype=torch.float64)),
    "loss history": (lambda: trained(LossHistoryTimes(5), 5), SHARES),
    "no history yet": (lambda: LossHistoryTimes(7), torch.full((7,), 1 / 7, dtype=torch.float64)),
}
JOINT = [Stratified, LowDiscrepancy, Antithetic]
LAWS = {f"{name}, in time": build for name, (build, _) in CONTINUOUS.items()}
LAWS |= {f"{name}, on levels": build for name, (build, _) in ON_LEVELS.items()}
LAWS |= {kind.__name__: lambda kind=kind: kind(UniformTimes()) for kind in JOINT}

continuous = pytest.mark.parametrize(("build", "cdf"), CONTINUOUS.values(), ids=CONTINUOUS)
on_levels = pytest.mark.parametrize(("build", "probabilities"), ON_LEVELS.values(), ids=ON_LEVELS)
each_law = pytest.mark.parametrize("build", LAWS.values(), ids=LAWS)


def distance_from_uniform(u):
    """Kolmogorov's distance between draws and the uniform law."""
    place = (torch.arange(len(u), dtype=torch.float64) + 0.5) / len(u)
    return (u.sort().values - place).abs().max() + 0.5 / len(u)


class TestInContinuousTime:
    @continuous
    def test_the_distribution_function_is_the_one_written_down(self, build, cdf):
        # Inside, where the formulas as printed keep their digits: near t = 1 a tangent of almost pi / 2 loses five.
        t = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)
        # A tail cut ten standard deviations out multiplies errors of y by 10.
        torch.testing.assert_close(build().cdf(t), cdf(t), rtol=1e-9, atol=1e-11)

    @continuous
    def test_draws_follow_it(self, build, cdf):
        t = build().sample(20_000, device=CPU, generator=seeded())
        assert t.dtype == torch.float64
        assert t.min() > 0
        assert t.max() <= 1
        assert distance_from_uniform(cdf(t)) < KOLMOGOROV / 20_000**0.5

    @continuous
    def test_quantiles_are_its_inverse(self, build, cdf):
        law = build()
        u = torch.cat((uniforms(500), torch.tensor([0.0, EPS, 1e-8, 0.5, ALMOST], dtype=torch.float64)))
        t = law.quantile(u)
        assert ((t > 0) & (t <= 1)).all()
        # Sums of a few numbers up to 100 in size, times densities of y of up to 10; spacing of t times dF/dt up to 100.
        torch.testing.assert_close(law.cdf(t), u, rtol=0, atol=1e3 * EPS)
        middle = (u > 0.01) & (u < 0.99)
        again = law.quantile(law.cdf(t[middle]))
        assert ((again - t[middle]).abs() * law.density(t[middle]) < 2e3 * EPS).all()
        assert (law.quantile(u.sort().values).diff() >= 0).all()

    @continuous
    def test_the_ends_are_where_they_belong(self, build, cdf):
        law = build()
        ends = law.cdf(torch.tensor([0.0, 1.0], dtype=torch.float64))
        # The cumulative sum of five probabilities is divided by its last.
        assert ends.tolist() == [0.0, 1.0]

    @continuous
    def test_the_density_is_the_slope_and_integrates_to_one(self, build, cdf):
        law = build()
        # Not a border of the history's bins, where there is no slope.
        t, h = law.quantile(uniforms(200).clamp(0.01, 0.99)), 1e-6
        t = t[((t * 5 - (t * 5).round()).abs() > 1e-4) & (t > 2 * h) & (t < 1 - 2 * h)]
        assert len(t) > 150
        slope = (law.cdf(t + h) - law.cdf(t - h)) / (2 * h)
        # h^2 F''' / 6, with F''' up to 1e6 times F' where the time of half the law is 1e-3; and 1e2 EPS / h.
        torch.testing.assert_close(law.density(t), slope, rtol=1e-5, atol=1e-7)
        # Midpoints of 40000 intervals: a jump of the density (log-spaced blur has kinks) by up to 4 counts for half of
        # one.
        points = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000
        assert abs(law.density(points).mean().item() - 1) < 5e-5

    @continuous
    def test_any_shape_and_precision_goes_in(self, build, cdf):
        law, u = build(), uniforms(6)
        for function, argument in ((law.quantile, u), (law.cdf, u), (law.density, u), (law.correction, u)):
            whole = function(argument)
            assert torch.equal(function(argument.reshape(2, 3)), whole.reshape(2, 3))
            single = function(argument[0])
            assert single.shape == ()
            torch.testing.assert_close(single, whole[0], rtol=1e-12, atol=1e-15)
            assert function(argument.float()).dtype == torch.float64


class TestOnLevels:
    @on_levels
    def test_draws_follow_the_probabilities(self, build, probabilities):
        count, levels = 20_000, len(probabilities)
        t = build().sample(count, device=CPU, generator=seeded())
        level = (t * levels).round().long()
        # A level is met exactly: the same quotient that a grid of levels has.
        assert torch.equal(t, level.double() / levels)
        counts = torch.bincount(level, minlength=levels + 1)
        assert counts[0] == 0
        # Smaller for one seed in 10^4.
        assert stats.chisquare(counts[1:].numpy(), (count * probabilities).numpy()).pvalue > 1e-4

    @on_levels
    def test_functions_of_levels(self, build, probabilities):
        law, levels = build(), len(probabilities)
        t = torch.arange(levels + 1, dtype=torch.float64) / levels
        cumulative = torch.cat((probabilities.new_zeros(1), probabilities.cumsum(0)))
        # Between levels nothing is added, and a level rounded to single precision is still that level.
        for times in (t, t.float(), (t + 0.4 / levels).clamp(max=1.0)):
            torch.testing.assert_close(law.cdf(times), cumulative, rtol=0, atol=levels * EPS)
        torch.testing.assert_close(law.density(t[1:]), levels * probabilities, rtol=levels * 4 * EPS, atol=0)
        assert torch.equal(law.density(t[1:].float()), law.density(t[1:]))
        assert law.density(t[1:]).mean().item() == pytest.approx(1, abs=levels * EPS)
        # Level 0 and what is between levels is not drawn.
        assert law.density(torch.cat((t[:1], t[1:] - 0.3 / levels))).tolist() == [0.0] * (levels + 1)

    @on_levels
    def test_quantiles_pass_the_number_at_their_level_and_not_before(self, build, probabilities):
        law, levels = build(), len(probabilities)
        before = law.cdf(torch.arange(levels, dtype=torch.float64) / levels)
        # The first number of each level is that level's, and the number before it is the level before's.
        u = torch.cat((uniforms(500), before, torch.tensor([0.0, ALMOST], dtype=torch.float64)))
        t = law.quantile(u)
        tolerance = 2 * EPS
        assert ((t > 0) & (t <= 1)).all()
        assert (law.cdf(t) > u - tolerance).all()
        assert (law.cdf((t - 1 / levels).clamp(min=0.0)) <= u + tolerance).all()
        assert law.quantile(torch.tensor([0.0, ALMOST], dtype=torch.float64)).tolist() == [1 / levels, 1.0]

    def test_level_times_keep_their_stream(self):
        expected = torch.randint(1, 8, (50,), generator=seeded()).double() / 7
        assert torch.equal(LevelTimes(7).sample(50, device=CPU, generator=seeded()), expected)


class TestInversion:
    """Functions of every shape: the answer's neighbours 2^-30 away are on its two sides."""

    FUNCTIONS: ClassVar = {
        "straight": lambda t: t,
        "late": lambda t: t**30,
        "early": lambda t: 1 - (1 - t) ** 30,
        "at once": lambda t: t ** (1 / 30),
        "steep": lambda t: (torch.tanh(5e4 * (t - 0.3)) + 1) / 2,
        "kink": lambda t: torch.where(t < 0.7, t / 7, 0.1 + 3 * (t - 0.7)),
        "jump": lambda t: torch.where(t < 0.2, t / 2, 0.6 + (t - 0.2) / 2),
        "plateau": lambda t: (2 * t).clamp(max=0.5) + (2 * t - 1.5).clamp(min=0),
    }

    @pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
    @pytest.mark.parametrize("device", [CPU, torch.device("meta")], ids=str)
    def test_it_is_found_in_a_bounded_number_of_steps(self, function, device):
        u = torch.cat((torch.linspace(0, ALMOST, 400, dtype=torch.float64), torch.tensor([EPS, 1e-9]).double()))
        calls = []
        t = invert_distribution(lambda t: calls.append(1) or function(t), u.to(device))
        assert t.device == device
        # 30 halvings of [0, 1], the eight rounds given away, and one.
        assert len(calls) <= 39
        if device == CPU:
            width = 2.0**-30
            assert ((t > 0) & (t <= 1)).all()
            assert (function((t - width).clamp(min=0.0)) <= u).all()
            assert (function((t + width).clamp(max=1.0)) >= u).all()
        else:
            # Nothing is read that would make the device wait, or a meta tensor raise.
            assert len(calls) == 39

    def test_smooth_functions_need_few_and_are_inverted_to_the_last_digits(self):
        u, calls = uniforms(400), []
        t = invert_distribution(lambda t: calls.append(1) or t + torch.sin(torch.pi * t) / 4, u)
        # Bisection makes 30 steps to 2^-30.
        assert len(calls) < 20
        # w^2 F'' / 8 is below 1e-18 * pi^2.
        torch.testing.assert_close(t + torch.sin(torch.pi * t) / 4, u, rtol=0, atol=4 * EPS)


class TestNoiseLevels:
    @settings(max_examples=40)
    @given(process=processes(), normal=st.booleans(), seed=seeds())
    def test_any_process_with_a_finite_mean_log_snr(self, process, normal, seed):
        probes = process.log_snr(
            torch.tensor([2.0**-53, ALMOST], dtype=torch.float64) if normal else torch.tensor([0.0, 1.0])
        )
        means = probes.flatten(1).mean(1)
        assume(bool(means.isfinite().all()) and means[0] - means[1] > 0.01)
        law = LogNormalTimes(process, mean=0.0, std=3.0) if normal else LogSNRTimes(process)
        u = uniforms(20, seed)
        t = law.quantile(u)
        width = 2.0**-29
        assert (law.cdf((t - width).clamp(min=0.0)) <= u).all()
        assert (law.cdf((t + width).clamp(max=1.0)) >= u).all()
        y = -process.log_snr(t).expand(-1, *process.shape).mean(tuple(range(1, 1 + len(process.shape)))) / 2
        if normal:
            low, high = (stats.norm.cdf(end / 3) for end in (law.lowest, law.highest))
            share = (torch.special.ndtr(y / 3) - low) / (high - low)
        else:
            share = (y - law.lowest) / (law.highest - law.lowest)
        # Subtracting distribution functions here costs what the share of the normal law in the range says.
        torch.testing.assert_close(law.cdf(t), share, rtol=0, atol=1e-12 / getattr(law, "covered", 1.0))

    @pytest.mark.parametrize(
        "schedule",
        [RectifiedFlowSchedule(), LinearSchedule(), LinearSchedule(0.0, 20.0)],
        ids=["flow", "vp", "vp from 0"],
    )
    def test_ends_without_noise_or_signal_cost_nothing(self, schedule):
        law = LogNormalTimes(isotropic(schedule))
        assert law.covered == pytest.approx(1, abs=1e-3)
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        assert law.cdf(ends).tolist() == [0.0, 1.0]
        assert law.density(ends).isfinite().all()
        # Only above is anything left out, so the median of the whole law is where that much of it lies below.
        t = law.quantile(torch.tensor([0.5 / law.covered], dtype=torch.float64))
        assert law.log_noise(t).item() == pytest.approx(-1.2, abs=1e-12)

    def test_a_law_wider_than_times_are_precise_is_cut_at_the_times_next_to_the_ends(self):
        law = LogNormalTimes(isotropic(RectifiedFlowSchedule()), std=20.0)
        # log(t / (1 - t)) at 2^-53 from either end.
        end = 53 * math.log(2)
        t = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)
        # A few numbers up to 40 in size, over 20.
        torch.testing.assert_close(law.cdf(t), truncated(torch.logit(t), -end, end, std=20.0), rtol=0, atol=40 * EPS)
        assert law.cdf(torch.tensor([0.0, 2.0**-60, 1.0], dtype=torch.float64)).tolist() == [0.0, 0.0, 1.0]

    def test_the_law_is_cut_and_not_clamped(self):
        """A range with 5 % of the law to its left: no time is drawn more often for that."""
        law = LogNormalTimes(isotropic(CosineSchedule(-20.0, 2 * (1.2 + 1.645 * 1.2))))
        assert law.covered == pytest.approx(0.95, abs=1e-4)
        t = law.sample(20_000, device=CPU, generator=seeded())
        # 3.3 standard errors of a probability that is the width of this bin times the density at its middle.
        share, expected = (t < 0.01).double().mean(), law.density(torch.tensor(0.005).double()) * 0.01
        assert abs(share - expected) < 4 * (expected / 20_000).sqrt()

    def test_refusals_say_what_to_do(self):
        with pytest.raises(ValueError, match="infinite at t = 0, without noise.*log_snr_min=-10.0.*LogNormalTimes"):
            LogSNRTimes(isotropic(RectifiedFlowSchedule()))
        for law in (LogNormalTimes, LogSNRTimes):
            with pytest.raises(ValueError, match=r"ColdBlur is infinite not only at t = 0 but.*UniformTimes\(\)"):
                law(ColdBlur(SHAPE))
            with pytest.raises(ValueError, match=r"Pixelation is infinite not only at t = 1 but.*UniformTimes\(\)"):
                law(Pixelation((1, 4, 4)))
            with pytest.raises(ValueError, match=r"IsotropicDiffusion is constant, 9.21034, .*UniformTimes\(\)"):
                law(isotropic(ConstantNoise(0.01)))
        with pytest.raises(ValueError, match=r"from -5 to 5, where a normal law of mean 1000.0 and .* 1.2 has nothing"):
            LogNormalTimes(isotropic(CosineSchedule()), mean=1000.0)
        for mean, std in ((0.0, 0.0), (0.0, -1.0), (math.inf, 1.0), (0.0, math.nan)):
            with pytest.raises(ValueError, match=f"std positive and finite, got {mean} and {std}"):
                LogNormalTimes(isotropic(CosineSchedule()), mean, std)


class TestJointly:
    @pytest.mark.parametrize("kind", JOINT)
    @pytest.mark.parametrize("law", [UniformTimes(), LevelTimes(4), LossHistoryBins(3)], ids=["time", "levels", "bins"])
    def test_each_time_alone_has_the_law(self, kind, law):
        generator = seeded()
        drawn = torch.stack([kind(law).sample(5, device=CPU, generator=generator) for _ in range(3000)])
        for example in drawn.T:
            if isinstance(law, LevelTimes):
                counts = torch.bincount((example * 4).round().long(), minlength=5)[1:]
                assert stats.chisquare(counts.numpy()).pvalue > 1e-4
            else:
                assert distance_from_uniform(example) < KOLMOGOROV / 3000**0.5

    @pytest.mark.parametrize("kind", [Stratified, LowDiscrepancy])
    @given(batch=st.integers(1, 40), seed=seeds())
    def test_each_part_has_one(self, kind, batch, seed):
        u = kind(UniformTimes()).uniforms(batch, device=CPU, generator=seeded(seed))
        # A number may round to the border of its part.
        parts = (u * batch + 4 * batch * EPS).floor().sort().values
        assert parts.tolist() == list(range(batch))

    def test_strata_are_filled_independently_and_a_grid_is_rigid(self):
        place = Stratified(UniformTimes()).uniforms(1000, device=CPU, generator=seeded()) * 1000 % 1
        assert distance_from_uniform(place) < KOLMOGOROV / 1000**0.5
        grid = LowDiscrepancy(UniformTimes()).uniforms(1000, device=CPU, generator=seeded()) * 1000 % 1
        # u, made of two rounded terms, and then 1000 u are rounded.
        assert grid.max() - grid.min() < 4000 * EPS

    @given(batch=st.integers(1, 9), seed=seeds())
    def test_pairs_mirror_each_other(self, batch, seed):
        u = Antithetic(UniformTimes()).uniforms(batch, device=CPU, generator=seeded(seed))
        first, second = u[: (batch + 1) // 2], u[(batch + 1) // 2 :]
        assert len(u) == batch
        assert torch.equal(first[: len(second)] + second, torch.full_like(second, ALMOST))
        assert len(u.unique()) == batch

    @pytest.mark.parametrize("kind", JOINT)
    @pytest.mark.parametrize("drawn", [0.0, ALMOST])
    @pytest.mark.parametrize("batch", [1, 2, 3, 7, 128])
    def test_extreme_numbers_stay_below_one(self, kind, drawn, batch, monkeypatch):
        def extreme(count, *, device, generator=None):
            return torch.full((count,), drawn, dtype=torch.float64)

        monkeypatch.setattr("unmelt.losses.times.joint.uniform_numbers", extreme)
        u = kind(UniformTimes()).uniforms(batch, device=CPU)
        assert ((u >= 0) & (u < 1)).all()
        assert kind(LevelTimes(3)).sample(batch, device=CPU).max() <= 1

    @pytest.mark.parametrize("kind", JOINT)
    def test_means_vary_as_much_as_they_should(self, kind):
        """The mean of t^2 over a batch of 16: unbiased, and of the variance that a little algebra gives."""
        n, repeats, generator = 16, 4000, seeded()
        means = torch.stack(
            [kind(UniformTimes()).sample(n, device=CPU, generator=generator).square().mean() for _ in range(repeats)]
        )
        # Of v uniform: var(v^2) = 4/45, cov(v, v^2) = 1/12, var(v) = 1/12.
        expected = {
            Stratified: sum(4 / 45 + j / 3 + j**2 / 3 for j in range(n)) / n**6,
            LowDiscrepancy: (4 / 45 + (n - 1) / 6 + (n - 1) ** 2 / 12) / n**4,
            Antithetic: 1 / 180 / (n / 2),
        }[kind]
        independent = 4 / 45 / n
        assert expected < independent / 7
        # Five standard errors, of a variance whose draws have at most a Gaussian's fourth moment.
        assert abs(means.var().item() / expected - 1) < 5 * (2 / repeats) ** 0.5
        assert abs(means.mean().item() - 1 / 3) < 5 * (expected / repeats) ** 0.5

    @pytest.mark.parametrize("kind", JOINT)
    def test_all_else_is_the_laws(self, kind):
        law = LossHistoryTimes(4, history=1)
        joint = kind(law)
        t = torch.arange(1, 5, dtype=torch.float64) / 4
        joint.update(t, torch.tensor([1.0, 2.0, 3.0, 4.0]))
        assert joint.law.seen.tolist() == [1, 1, 1, 1]
        for name in ("cdf", "density", "correction"):
            assert torch.equal(getattr(joint, name)(t), getattr(law, name)(t))
        assert torch.equal(joint.quantile(t - 0.1), law.quantile(t - 0.1))

    @pytest.mark.usefixtures("as_in_production")
    def test_a_law_is_needed(self):
        with pytest.raises(
            TypeError, match=r"law must be a TimeDistribution, UniformTimes\(\) for example; got the class"
        ):
            Stratified(LevelTimes)


class Reference:
    """The same law in plain Python: a queue for each cell."""

    def __init__(self, cells, history, uniform):
        self.queues = [deque(maxlen=history) for _ in range(cells)]
        self.history, self.uniform = history, uniform

    def update(self, cells, losses):
        for cell, loss in zip(cells, losses, strict=True):
            if math.isfinite(loss):
                self.queues[cell].append(loss)

    def probabilities(self):
        count = len(self.queues)
        weights = [1.0] * count
        if all(len(queue) == self.history for queue in self.queues):
            weights = [math.sqrt(sum(loss**2 for loss in queue) / self.history) for queue in self.queues]
        return torch.tensor(
            [(1 - self.uniform) * w / sum(weights) + self.uniform / count for w in weights], dtype=torch.float64
        )


class TestLossHistory:
    @pytest.mark.parametrize("kind", [LossHistoryTimes, LossHistoryBins])
    @given(
        cells=st.integers(1, 5),
        history=st.integers(1, 4),
        batch=st.integers(0, 30),
        uniform=st.sampled_from([0.001, 0.3, 1.0]),
        seed=seeds(),
    )
    def test_the_last_losses_of_each_cell_in_their_order(self, kind, cells, history, batch, uniform, seed):
        """Batches smaller than the table and ones that fill it several times over, some losses not finite."""
        law, generator = kind(cells, history=history, uniform=uniform), seeded(seed)
        reference = Reference(cells, history, uniform)
        for _ in range(6):
            cell = torch.randint(cells, (batch,), generator=generator)
            t = (cell.double() + (0.5 if kind is LossHistoryBins else 1.0)) / cells
            losses = torch.rand(batch, generator=generator) * 10
            losses[torch.rand(batch, generator=generator) < 0.1] = torch.nan
            losses[torch.rand(batch, generator=generator) < 0.1] = torch.inf
            law.update(t, losses)
            reference.update(cell.tolist(), losses.tolist())
            for k, queue in enumerate(reference.queues):
                kept = law.losses[k][: law.seen[k]]
                assert sorted(kept.tolist()) == sorted(queue)
        # Sums of at most 4 + 5 terms.
        torch.testing.assert_close(law.probabilities(), reference.probabilities(), rtol=20 * EPS, atol=0)
        torch.testing.assert_close(law.density(t), cells * reference.probabilities()[cell], rtol=20 * EPS, atol=0)

    def test_no_place_is_written_twice(self, monkeypatch):
        """On an accelerator it is not defined which of two writes to one place stays."""
        written, scatter = [], torch.Tensor.scatter

        def watched(table, dim, place, values):
            written.extend(place.tolist())
            return scatter(table, dim, place, values)

        law, t = LossHistoryTimes(2, history=3), torch.full((10,), 1.0, dtype=torch.float64)
        monkeypatch.setattr(torch.Tensor, "scatter", watched)
        law.update(t, torch.arange(10.0))
        # Six places, and behind them the one for what does not stay.
        kept = [place for place in written if place < 6]
        assert len(kept) == len(set(kept)) == 3
        assert law.losses[1].tolist() == [9.0, 7.0, 8.0]

    def test_uniform_until_every_history_is_full(self):
        law = LossHistoryTimes(3, history=2)
        everywhere = torch.tensor([1, 2, 3], dtype=torch.float64) / 3
        law.update(everywhere, torch.tensor([1.0, 2.0, 3.0]))
        for _ in range(5):
            law.update(everywhere[:2], torch.tensor([1.0, 2.0]))
        assert torch.equal(law.density(everywhere), torch.ones(3, dtype=torch.float64))
        law.update(everywhere[2:], torch.tensor([3.0]))
        expected = 0.999 * torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64) + 0.001
        torch.testing.assert_close(law.density(everywhere), expected, rtol=10 * EPS, atol=0)

    def test_losses_that_are_all_zero_tell_nothing(self):
        law = LossHistoryTimes(3, history=1)
        t = torch.tensor([1, 2, 3], dtype=torch.float64) / 3
        law.update(t, torch.zeros(3))
        assert torch.equal(law.density(t), torch.ones(3, dtype=torch.float64))

    def test_large_losses_do_not_overflow(self):
        law = trained(LossHistoryTimes(2, history=3), 2)
        t = torch.tensor([0.5, 1.0], dtype=torch.float64)
        for _ in range(3):
            law.update(t, torch.tensor([1e30, 3e30]))
        # Losses are kept in single precision.
        expected = 0.999 * torch.tensor([0.5, 1.5], dtype=torch.float64) + 0.001
        torch.testing.assert_close(law.density(t), expected, rtol=4 * 2.0**-23, atol=0)

    def test_times_that_are_not_drawn_are_ignored_and_have_no_density(self):
        law = LossHistoryTimes(2, history=1)
        strange = torch.tensor([0.0, 0.3, 0.99], dtype=torch.float64)
        law.update(strange, torch.ones(3))
        assert law.seen.tolist() == [0, 0]
        assert law.losses.tolist() == [[0.0], [0.0]]
        assert law.density(strange).tolist() == [0.0] * 3
        assert law.correction(strange).tolist() == [math.inf] * 3
        law.update(torch.tensor([1 / 2], dtype=torch.float32), torch.ones(1))
        assert law.seen.tolist() == [1, 0]

    @pytest.mark.parametrize("build", [lambda: LossHistoryTimes(5), lambda: LossHistoryBins(5)], ids=["levels", "bins"])
    def test_the_corrected_mean_is_the_uniform_one_and_varies_less(self, build):
        law = trained(build(), 5)
        count = 20_000
        t = law.sample(count, device=CPU, generator=seeded())
        # What the law learnt from: the loss k + 1 in cell k.
        losses = (t * 5).ceil() if isinstance(law, LossHistoryBins) else (t * 5).round()
        corrected = law.correction(t) * losses
        # The mean of 1..5 is 3 and its variance 2; losses proportional to the density have none left but for the
        # thousandth that is uniform.
        assert corrected.var() < 0.01
        assert abs(corrected.mean().item() - 3) < 5 * (corrected.var().item() / count) ** 0.5
        # And for a loss that it did not learn: 1 / t^2 - 1 at levels, to five standard errors.
        other = 1 / t**2 - 1 if isinstance(law, LossHistoryTimes) else t.sqrt()
        expected = sum(25 / k**2 - 1 for k in range(1, 6)) / 5 if isinstance(law, LossHistoryTimes) else 2 / 3
        corrected = law.correction(t) * other
        assert abs(corrected.mean().item() - expected) < 5 * (corrected.var().item() / count) ** 0.5
        assert abs(other.mean().item() - expected) > 20 * (other.var().item() / count) ** 0.5

    @pytest.mark.parametrize("build", [lambda: LossHistoryTimes(5), lambda: LossHistoryBins(5)], ids=["levels", "bins"])
    def test_it_survives_saving_and_copying(self, build, tmp_path):
        law = trained(build(), 5)
        torch.save(law.state_dict(), tmp_path / "law.pt")
        loaded = build()
        loaded.load_state_dict(torch.load(tmp_path / "law.pt"))
        copied = copy.deepcopy(law)
        before = law.probabilities()
        law.update(torch.ones(1, dtype=torch.float64), torch.tensor([1e6]))
        assert not torch.equal(law.probabilities(), before)
        for other in (loaded, copied):
            assert torch.equal(other.probabilities(), before)
            # The place in the queue is saved too: the next loss replaces the same one.
            other.update(torch.ones(1, dtype=torch.float64), torch.tensor([1e6]))
            assert torch.equal(other.losses, law.losses)

    def test_the_loss_that_holds_it_saves_and_moves_it_without_rounding(self):
        process = HeatDissipation(SHAPE, levels=5)
        loss = DenoisingLoss(process, times=Stratified(LossHistoryTimes(5, history=1)))
        t = torch.arange(1, 6, dtype=torch.float64) / 5
        loss.times.update(t, torch.full((5,), 1.2345678))
        state = loss.state_dict()
        assert {name.rsplit(".", 1)[1] for name in state} == {"losses", "seen"}
        half = copy.deepcopy(loss).half()
        assert torch.equal(half.times.law.losses, loss.times.law.losses)
        assert nn.Module.to(copy.deepcopy(loss), "meta").times.law.losses.device.type == "meta"

    def test_it_keeps_no_graph_of_the_losses(self):
        law = LossHistoryTimes(2)
        law.update(torch.ones(1, dtype=torch.float64), torch.ones(1, requires_grad=True))
        assert not law.losses.requires_grad
        assert not law.correction(torch.ones(1)).requires_grad

    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: LossHistoryTimes(0), "levels must be at least 1, got 0"),
            (lambda: LossHistoryBins(0), "bins must be at least 1, got 0"),
            (lambda: LossHistoryTimes(4, history=0), "history must be at least 1, got 0"),
            (lambda: LossHistoryTimes(4, uniform=0.0), r"share in \(0, 1\], got 0.0: .*never met again"),
            (lambda: LossHistoryTimes(4, uniform=1.5), r"share in \(0, 1\], got 1.5"),
        ],
    )
    def test_impossible_settings_are_refused(self, build, message):
        with pytest.raises(ValueError, match=message):
            build()

    @pytest.mark.usefixtures("as_in_production")
    def test_one_loss_for_each_time(self):
        with pytest.raises(ValueError, match=r"both have shape \(batch,\), got \(2,\) and \(3,\): one time"):
            LossHistoryTimes(4).update(torch.ones(2), torch.ones(3))


class TestEveryLaw:
    @each_law
    def test_a_generator_makes_draws_repeatable_and_leaves_the_global_one_alone(self, build):
        law, before = build(), torch.get_rng_state()
        first, again, other = (law.sample(9, device=CPU, generator=seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(before, torch.get_rng_state())

    @each_law
    def test_without_a_generator_torch_s_own_is_used(self, build):
        law = build()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            first = law.sample(9, device=CPU)
            torch.manual_seed(3)
            assert torch.equal(law.sample(9, device=CPU), first)
            assert not torch.equal(law.sample(9, device=CPU), first)

    @each_law
    def test_another_device_is_served_by_the_generators_own_and_never_waited_for(self, build):
        """On the meta device there are no values: reading one raises."""
        law, meta = build(), torch.device("meta")
        if isinstance(law, nn.Module):
            law = law.to(meta)
        here, there = seeded(), seeded()
        build().sample(9, device=CPU, generator=here)
        t = law.sample(9, device=meta, generator=there)
        assert t.device == meta
        assert t.shape == (9,)
        assert torch.equal(here.get_state(), there.get_state())
        for function in (law.cdf, law.density, law.correction):
            assert function(t).device == meta
        law.update(t, torch.ones(9, device=meta))

    def test_numbers_for_a_device_without_float64_are_drawn_as_coarse_as_they_end(self, monkeypatch):
        """A number of 53 bits just below 1 would be rounded up to 1, which is no number to take a quantile of."""

        def precision(device):
            return torch.float32 if device.type == "meta" else torch.float64

        monkeypatch.setattr("unmelt.losses.times.base.schedule_dtype", precision)
        here, there = seeded(), seeded()
        assert uniform_numbers(9, device=torch.device("meta"), generator=there).dtype == torch.float32
        # A number of 24 bits uses up half as much of the generator's stream as one of 53.
        torch.rand(9, generator=here, dtype=torch.float32)
        assert torch.equal(here.get_state(), there.get_state())

    @each_law
    def test_a_loss_is_only_corrected_under_importance_sampling(self, build):
        law = build()
        t = law.sample(30, device=CPU, generator=seeded())
        expected = torch.ones_like(t)
        if isinstance(law, (LossHistoryTimes, LossHistoryBins)):
            expected = 1 / law.density(t)
        assert torch.equal(law.correction(t), expected)

    @each_law
    def test_only_histories_learn(self, build):
        law, t = build(), torch.full((40,), 1.0, dtype=torch.float64)
        before = law.density(t)
        law.update(t, torch.linspace(1, 99, 40))
        learns = isinstance(law, (LossHistoryTimes, LossHistoryBins)) and bool(law.seen.min() >= 10)
        assert torch.equal(law.density(t), before) != learns

    @each_law
    @pytest.mark.parametrize("number", [-0.1, 1.5, math.nan])
    def test_what_is_outside_is_refused(self, build, number):
        law = build()
        with pytest.raises(ValueError, match=r"u must lie in \[0, 1\), got (-0.1|1.5|nan): torch.rand draws"):
            law.quantile(torch.tensor([0.5, number], dtype=torch.float64))
        for function in (law.cdf, law.density, law.correction):
            with pytest.raises(ValueError, match=r"t must lie in \[0, 1\] .*got (-0.1|1.5|nan)"):
                function(torch.tensor([0.5, number], dtype=torch.float64))

    @each_law
    def test_one_is_no_quantile(self, build):
        with pytest.raises(ValueError, match=r"u must lie in \[0, 1\), got 1.0"):
            build().quantile(torch.ones(1, dtype=torch.float64))

    @each_law
    @pytest.mark.usefixtures("as_in_production")
    def test_levels_are_not_times(self, build):
        with pytest.raises(TypeError, match="torch.int64: pass level / levels for a level"):
            build().cdf(torch.tensor([3]))
