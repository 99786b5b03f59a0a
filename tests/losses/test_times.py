"""Distributions of training times: their formulas, their draws, and what holds for every one of them."""

import copy
import math

import numpy as np
import pytest
import torch
from problems import ALMOST, CPU, EPS, KOLMOGOROV, Wobbly, by_bins, by_levels, distance_from_uniform, trained, uniforms
from scipy import stats
from support import seeded
from torch import nn

from unmelt.degradations import (
    CosineSchedule,
    EDMSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    PredictX,
    RectifiedFlowSchedule,
)
from unmelt.losses import (
    Antithetic,
    DenoisingLoss,
    LevelTimes,
    LogNormalTimes,
    LogSNRTimes,
    LossAwareTimes,
    LowDiscrepancy,
    Stratified,
    UniformTimes,
)
from unmelt.losses.times.base import uniform_numbers
from unmelt.losses.times.loss_aware import LossHistory
from unmelt.losses.times.noise_level import NoiseLevelSampler
from unmelt.models import Denoiser

SHAPE = (1, 2, 2)


def isotropic(schedule):
    return IsotropicDiffusion(SHAPE, schedule)


def truncated(y, low, high, mean=-1.2, std=1.2):
    return torch.from_numpy(stats.truncnorm.cdf(y.numpy(), (low - mean) / std, (high - mean) / std, mean, std))


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


# Each distribution in continuous time, and its distribution function typed once more.
CONTINUOUS = {
    "uniform": (UniformTimes, lambda t: t),
    "log-normal, rectified flow": (
        lambda: LogNormalTimes().bind(isotropic(RectifiedFlowSchedule())),
        lambda t: torch.special.ndtr((torch.logit(t) + 1.2) / 1.2),
    ),
    "log-normal, EDM": (
        lambda: LogNormalTimes().bind(isotropic(EDMSchedule())),
        lambda t: truncated(edm_noise(t), math.log(0.002), math.log(80)),
    ),
    "log-normal, cut on both sides": (
        lambda: LogNormalTimes(mean=0.2, std=2.0).bind(isotropic(CosineSchedule(-2.0, 3.0))),
        lambda t: truncated(cosine_noise(t, -2, 3), -1.5, 1, 0.2, 2.0),
    ),
    "log-normal, its upper tail": (
        lambda: LogNormalTimes(mean=-14.0).bind(isotropic(CosineSchedule(-10.0, 4.0))),
        lambda t: truncated(cosine_noise(t, -10, 4), -2, 5, -14.0),
    ),
    "log-normal, its lower tail": (
        lambda: LogNormalTimes(mean=14.0).bind(isotropic(CosineSchedule(-4.0, 10.0))),
        lambda t: truncated(cosine_noise(t, -4, 10), -5, 2, 14.0),
    ),
    "log-SNR, cosine": (
        lambda: LogSNRTimes().bind(isotropic(CosineSchedule(-10.0, 6.0))),
        lambda t: (cosine_noise(t, -10, 6) + 3) / 8,
    ),
    "log-SNR, heat": (lambda: LogSNRTimes().bind(HeatDissipation(SHAPE, blur_sigma_max=2.0, levels=9)), heat_share),
    "loss history": (lambda: trained(by_bins(5)), in_bins),
}
# Each distribution on levels, and the levels' probabilities.
ON_LEVELS = {
    "uniform": (lambda: LevelTimes(7), torch.full((7,), 1 / 7, dtype=torch.float64)),
    "a hundred": (lambda: LevelTimes(100), torch.full((100,), 1 / 100, dtype=torch.float64)),
    "loss history": (lambda: trained(by_levels(5)), SHARES),
    "no history yet": (lambda: by_levels(7), torch.full((7,), 1 / 7, dtype=torch.float64)),
}
JOINT = [Stratified, LowDiscrepancy, Antithetic]
DISTRIBUTIONS = {f"{name}, in time": build for name, (build, _) in CONTINUOUS.items()}
DISTRIBUTIONS |= {f"{name}, on levels": build for name, (build, _) in ON_LEVELS.items()}
DISTRIBUTIONS |= {kind.__name__: lambda kind=kind: kind().bind(isotropic(CosineSchedule())) for kind in JOINT}

continuous = pytest.mark.parametrize(("build", "cdf"), CONTINUOUS.values(), ids=CONTINUOUS)
on_levels = pytest.mark.parametrize(("build", "probabilities"), ON_LEVELS.values(), ids=ON_LEVELS)
each_distribution = pytest.mark.parametrize("build", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)


class TestInContinuousTime:
    @continuous
    def test_the_distribution_function_is_the_one_written_down(self, build, cdf):
        # Inside, where the formulas as printed keep their digits: near t = 1 a tangent of almost pi / 2 loses five.
        t = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)
        # A tail cut ten standard deviations out multiplies errors of y by 10.
        torch.testing.assert_close(build().cdf(t), cdf(t), rtol=1e-9, atol=1e-11)

    @continuous
    def test_draws_follow_it(self, build, cdf):
        t = build().sample(20_000, device=CPU, generator=seeded(7))
        assert t.dtype == torch.float64
        assert t.min() > 0
        assert t.max() <= 1
        assert distance_from_uniform(cdf(t)) < KOLMOGOROV / 20_000**0.5

    @continuous
    def test_quantiles_are_its_inverse(self, build, cdf):
        distribution = build()
        u = torch.cat((uniforms(500), torch.tensor([0.0, EPS, 1e-8, 0.5, ALMOST], dtype=torch.float64)))
        t = distribution.quantile(u)
        assert ((t > 0) & (t <= 1)).all()
        # Sums of a few numbers up to 100 in size, times densities of y of up to 10; spacing of t times dF/dt up to 100.
        torch.testing.assert_close(distribution.cdf(t), u, rtol=0, atol=1e3 * EPS)
        middle = (u > 0.01) & (u < 0.99)
        again = distribution.quantile(distribution.cdf(t[middle]))
        assert ((again - t[middle]).abs() * distribution.density(t[middle]) < 2e3 * EPS).all()
        assert (distribution.quantile(u.sort().values).diff() >= 0).all()

    @continuous
    def test_the_ends_are_where_they_belong(self, build, cdf):
        distribution = build()
        ends = distribution.cdf(torch.tensor([0.0, 1.0], dtype=torch.float64))
        # The cumulative sum of five probabilities is divided by its last.
        assert ends.tolist() == [0.0, 1.0]

    @continuous
    def test_the_density_is_the_slope_and_integrates_to_one(self, build, cdf):
        distribution = build()
        # Not a border of the history's bins, where there is no slope.
        t, h = distribution.quantile(uniforms(200).clamp(0.01, 0.99)), 1e-6
        t = t[((t * 5 - (t * 5).round()).abs() > 1e-4) & (t > 2 * h) & (t < 1 - 2 * h)]
        assert len(t) > 150
        slope = (distribution.cdf(t + h) - distribution.cdf(t - h)) / (2 * h)
        # h^2 F''' / 6, with F''' up to 1e6 times F' where the time of half the distribution is 1e-3; and 1e2 EPS / h.
        torch.testing.assert_close(distribution.density(t), slope, rtol=1e-5, atol=1e-7)
        # Midpoints of 40000 intervals: a jump of the density (log-spaced blur has kinks) by up to 4 counts for half of
        # one.
        points = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000
        assert abs(distribution.density(points).mean().item() - 1) < 5e-5

    @continuous
    def test_any_shape_and_precision_goes_in(self, build, cdf):
        distribution, u = build(), uniforms(6)
        for function, argument in (
            (distribution.quantile, u),
            (distribution.cdf, u),
            (distribution.density, u),
            (distribution.correction, u),
        ):
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
        t = build().sample(count, device=CPU, generator=seeded(7))
        level = (t * levels).round().long()
        # A level is met exactly: the same quotient that a grid of levels has.
        assert torch.equal(t, level.double() / levels)
        counts = torch.bincount(level, minlength=levels + 1)
        assert counts[0] == 0
        # Smaller for one seed in 10^4.
        assert stats.chisquare(counts[1:].numpy(), (count * probabilities).numpy()).pvalue > 1e-4

    @on_levels
    def test_functions_of_levels(self, build, probabilities):
        distribution, levels = build(), len(probabilities)
        t = torch.arange(levels + 1, dtype=torch.float64) / levels
        cumulative = torch.cat((probabilities.new_zeros(1), probabilities.cumsum(0)))
        # Between levels nothing is added, and a level rounded to single precision is still that level.
        for times in (t, t.float(), (t + 0.4 / levels).clamp(max=1.0)):
            torch.testing.assert_close(distribution.cdf(times), cumulative, rtol=0, atol=levels * EPS)
        torch.testing.assert_close(distribution.density(t[1:]), levels * probabilities, rtol=levels * 4 * EPS, atol=0)
        assert torch.equal(distribution.density(t[1:].float()), distribution.density(t[1:]))
        assert distribution.density(t[1:]).mean().item() == pytest.approx(1, abs=levels * EPS)
        # Level 0 and what is between levels is not drawn.
        assert distribution.density(torch.cat((t[:1], t[1:] - 0.3 / levels))).tolist() == [0.0] * (levels + 1)

    @on_levels
    def test_quantiles_pass_the_number_at_their_level_and_not_before(self, build, probabilities):
        distribution, levels = build(), len(probabilities)
        before = distribution.cdf(torch.arange(levels, dtype=torch.float64) / levels)
        # The first number of each level is that level's, and the number before it is the level before's.
        u = torch.cat((uniforms(500), before, torch.tensor([0.0, ALMOST], dtype=torch.float64)))
        t = distribution.quantile(u)
        tolerance = 2 * EPS
        assert ((t > 0) & (t <= 1)).all()
        assert (distribution.cdf(t) > u - tolerance).all()
        assert (distribution.cdf((t - 1 / levels).clamp(min=0.0)) <= u + tolerance).all()
        assert distribution.quantile(torch.tensor([0.0, ALMOST], dtype=torch.float64)).tolist() == [1 / levels, 1.0]

    def test_level_times_keep_their_stream(self):
        expected = torch.randint(1, 8, (50,), generator=seeded(7)).double() / 7
        assert torch.equal(LevelTimes(7).sample(50, device=CPU, generator=seeded(7)), expected)


class TestEveryDistribution:
    @each_distribution
    def test_a_generator_makes_draws_repeatable_and_leaves_the_global_one_alone(self, build):
        distribution, before = build(), torch.get_rng_state()
        first, again, other = (distribution.sample(9, device=CPU, generator=seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(before, torch.get_rng_state())

    @each_distribution
    def test_without_a_generator_torch_s_own_is_used(self, build):
        distribution = build()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            first = distribution.sample(9, device=CPU)
            torch.manual_seed(3)
            assert torch.equal(distribution.sample(9, device=CPU), first)
            assert not torch.equal(distribution.sample(9, device=CPU), first)

    @each_distribution
    def test_another_device_is_served_by_the_generators_own_and_never_waited_for(self, build):
        """On the meta device there are no values: reading one raises."""
        distribution, meta = build(), torch.device("meta")
        if isinstance(distribution, nn.Module):
            distribution = distribution.to(meta)
        if isinstance(distribution, NoiseLevelSampler):
            distribution.process.to(meta)
        here, there = seeded(7), seeded(7)
        build().sample(9, device=CPU, generator=here)
        t = distribution.sample(9, device=meta, generator=there)
        assert t.device == meta
        assert t.shape == (9,)
        assert torch.equal(here.get_state(), there.get_state())
        for function in (distribution.cdf, distribution.density, distribution.correction):
            assert function(t).device == meta
        distribution.update(t, torch.ones(9, device=meta))

    def test_numbers_for_a_device_without_float64_are_drawn_as_coarse_as_they_end(self, monkeypatch):
        """A number of 53 bits just below 1 would be rounded up to 1, which has no quantile."""

        def precision(device):
            return torch.float32 if device.type == "meta" else torch.float64

        monkeypatch.setattr("unmelt.losses.times.base.schedule_dtype", precision)
        here, there = seeded(7), seeded(7)
        assert uniform_numbers(9, device=torch.device("meta"), generator=there).dtype == torch.float32
        # A number of 24 bits uses up half as much of the generator's stream as one of 53.
        torch.rand(9, generator=here, dtype=torch.float32)
        assert torch.equal(here.get_state(), there.get_state())

    @each_distribution
    def test_a_loss_is_only_corrected_under_importance_sampling(self, build):
        distribution = build()
        t = distribution.sample(30, device=CPU, generator=seeded(7))
        expected = torch.ones_like(t)
        if isinstance(distribution, LossHistory):
            expected = 1 / distribution.density(t)
        assert torch.equal(distribution.correction(t), expected)

    @each_distribution
    def test_only_histories_learn(self, build):
        distribution, t = build(), torch.full((40,), 1.0, dtype=torch.float64)
        before = distribution.density(t)
        distribution.update(t, torch.linspace(1, 99, 40))
        learns = isinstance(distribution, LossHistory) and bool(distribution.seen.min() >= 10)
        assert torch.equal(distribution.density(t), before) != learns


HEAT, COSINE = HeatDissipation(SHAPE, blur_sigma_max=2.0, levels=9), IsotropicDiffusion(SHAPE)
VALUES = [
    UniformTimes(),
    LevelTimes(),
    LevelTimes(4),
    LogSNRTimes(),
    LogNormalTimes(0.5, 2.0),
    LossAwareTimes(bins=7, history=3, uniform=0.1),
    Stratified(),
    LowDiscrepancy(LogSNRTimes()),
    Antithetic(LossAwareTimes()),
]


class TestValues:
    @pytest.mark.parametrize("value", VALUES, ids=str)
    def test_they_are_printed_as_they_are_written_and_equal_if_alike(self, value):
        names = {type(v).__name__: type(v) for v in VALUES}
        again = eval(repr(value), names)  # noqa: S307  # of this test's own text
        assert again == value
        assert hash(again) == hash(value)
        assert sum(other == value for other in VALUES) == 1

    @pytest.mark.parametrize("value", VALUES, ids=str)
    def test_binding_one_leaves_it_as_it_is(self, value):
        before = repr(value)
        first, second = value.bind(HEAT), value.bind(HEAT)
        t = first.sample(50, device=CPU, generator=seeded(7))
        assert torch.equal(t, second.sample(50, device=CPU, generator=seeded(7)))
        for _ in range(30):
            first.update(t, t.exp())
        assert repr(value) == before
        # What one loss learns is not another's.
        assert torch.equal(second.density(t), value.bind(HEAT).density(t))

    def test_levels_are_the_process_s_where_it_has_them(self):
        for value in (LevelTimes(), LossAwareTimes(), Stratified(), Antithetic(LossAwareTimes())):
            assert value.bind(HEAT).number_of_levels() == 9
        assert LevelTimes(4).bind(HEAT).number_of_levels() == 4
        for value in (UniformTimes(), LogSNRTimes(), Stratified(UniformTimes())):
            assert value.bind(HEAT).number_of_levels() is None
        for value in (LossAwareTimes(), Stratified()):
            assert value.bind(COSINE).number_of_levels() is None
        assert LossAwareTimes(bins=7).bind(COSINE).cells == 7

    def test_a_loss_saves_and_moves_what_it_learns_without_rounding(self):
        loss = DenoisingLoss(a_denoiser(), times=Stratified(LossAwareTimes(history=1)))
        t = torch.arange(1, 10, dtype=torch.float64) / 9
        loss.times.update(t, torch.full((9,), 1.2345678))
        assert {name for name in loss.state_dict() if name.startswith("times")} == {"times.of.losses", "times.of.seen"}
        half = copy.deepcopy(loss).half()
        assert torch.equal(half.times.of.losses, loss.times.of.losses)
        assert copy.deepcopy(loss).to("meta").times.of.losses.device.type == "meta"
        other = DenoisingLoss(a_denoiser(), times=Stratified(LossAwareTimes(history=1)))
        other.load_state_dict(loss.state_dict())
        assert torch.equal(other.times.of.losses, loss.times.of.losses)

    def test_a_copied_loss_takes_its_noise_levels_along(self):
        """The sampler asks the process of the loss that holds it, wherever that goes."""
        loss = DenoisingLoss(a_denoiser(), times=LogSNRTimes())
        copied = copy.deepcopy(loss)
        assert loss.times.process is loss.denoiser.process
        assert copied.times.process is copied.denoiser.process
        assert copied.to("meta").times.process.device.type == "meta"


def a_denoiser():
    return Denoiser(Wobbly(), HEAT, prediction=PredictX())
