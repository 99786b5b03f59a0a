"""Times drawn together: each alone has the distribution, and their means vary less."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import ALMOST, CPU, EPS, KOLMOGOROV, distance_from_uniform
from scipy import stats
from support import seeded

from unmelt.degradations import IsotropicDiffusion
from unmelt.losses import Antithetic, LevelTimes, LossAwareTimes, LowDiscrepancy, Stratified, UniformTimes
from unmelt.testing.strategies import seeds

PROCESS = IsotropicDiffusion((1, 2, 2))
JOINT = [Stratified, LowDiscrepancy, Antithetic]


class TestJointly:
    @pytest.mark.parametrize("kind", JOINT)
    @pytest.mark.parametrize(
        "distribution", [UniformTimes(), LevelTimes(4), LossAwareTimes(3)], ids=["time", "levels", "bins"]
    )
    def test_each_time_alone_has_the_distribution(self, kind, distribution):
        generator, sampler = seeded(7), kind(distribution).bind(PROCESS)
        drawn = torch.stack([sampler.sample(5, device=CPU, generator=generator) for _ in range(3000)])
        for example in drawn.T:
            if isinstance(distribution, LevelTimes):
                counts = torch.bincount((example * 4).round().long(), minlength=5)[1:]
                assert stats.chisquare(counts.numpy()).pvalue > 1e-4
            else:
                assert distance_from_uniform(example) < KOLMOGOROV / 3000**0.5

    @pytest.mark.parametrize("kind", [Stratified, LowDiscrepancy])
    @given(batch=st.integers(1, 40), seed=seeds())
    def test_each_part_has_one(self, kind, batch, seed):
        u = kind().uniforms(batch, device=CPU, generator=seeded(seed))
        # A number may round to the border of its part.
        parts = (u * batch + 4 * batch * EPS).floor().sort().values
        assert parts.tolist() == list(range(batch))

    def test_strata_are_filled_independently_and_a_grid_is_rigid(self):
        place = Stratified().uniforms(1000, device=CPU, generator=seeded(7)) * 1000 % 1
        assert distance_from_uniform(place) < KOLMOGOROV / 1000**0.5
        grid = LowDiscrepancy().uniforms(1000, device=CPU, generator=seeded(7)) * 1000 % 1
        # u, made of two rounded terms, and then 1000 u are rounded.
        assert grid.max() - grid.min() < 4000 * EPS

    @given(batch=st.integers(1, 9), seed=seeds())
    def test_pairs_mirror_each_other(self, batch, seed):
        u = Antithetic().uniforms(batch, device=CPU, generator=seeded(seed))
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
        u = kind().uniforms(batch, device=CPU)
        assert ((u >= 0) & (u < 1)).all()
        assert kind(LevelTimes(3)).bind(PROCESS).sample(batch, device=CPU).max() <= 1

    @pytest.mark.parametrize("kind", JOINT)
    def test_means_vary_as_much_as_they_should(self, kind):
        """The mean of t^2 over a batch of 16: unbiased, and of the variance that a little algebra gives."""
        n, repeats, generator = 16, 4000, seeded(7)
        means = torch.stack(
            [kind().bind(PROCESS).sample(n, device=CPU, generator=generator).square().mean() for _ in range(repeats)]
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
    def test_all_else_is_that_distribution_s(self, kind):
        joint = kind(LossAwareTimes(history=1)).sampler(PROCESS, 4)
        distribution = joint.of
        t = torch.arange(1, 5, dtype=torch.float64) / 4
        joint.update(t, torch.tensor([1.0, 2.0, 3.0, 4.0]))
        assert distribution.seen.tolist() == [1, 1, 1, 1]
        for name in ("cdf", "density", "correction"):
            assert torch.equal(getattr(joint, name)(t), getattr(distribution, name)(t))
        assert torch.equal(joint.quantile(t - 0.1), distribution.quantile(t - 0.1))
