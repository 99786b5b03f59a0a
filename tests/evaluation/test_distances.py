"""Distances of sets of vectors: against second implementations, brute force, and Gaussians' closed forms."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmelt.evaluation import (
    FeatureStatistics,
    compare_manifolds,
    energy_distance,
    frechet_distance,
    kernel_distance,
)

EPS = torch.finfo(torch.float64).eps


def some(count, size, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exactly(mean, covariance, count, seed=0):
    """Vectors whose sample mean and covariance are these, up to rounding."""
    x = some(count, len(mean), seed)
    x = x - x.mean(0)
    x = torch.linalg.solve_triangular(torch.linalg.cholesky(x.mT @ x / (count - 1)), x.mT, upper=False).mT
    return x @ torch.linalg.cholesky(covariance).mT + mean


class TestStatistics:
    @given(parts=st.lists(st.integers(0, 5), min_size=1, max_size=6), seed=st.integers(0, 99))
    def test_batches_give_what_all_at_once_give(self, parts, seed):
        x = some(max(2, sum(parts)), 3, seed)
        found = FeatureStatistics(3)
        for part in x.split([*parts, len(x) - sum(parts)]):
            found.add(part)
        assert found.count == len(x)
        np.testing.assert_allclose(found.mean, x.numpy().mean(0), atol=100 * EPS)
        np.testing.assert_allclose(found.covariance, np.cov(x.numpy().T), atol=1000 * EPS)

    def test_two_are_merged(self):
        x = some(50, 4)
        one, other = FeatureStatistics.of(x[:20]), FeatureStatistics.of(x[20:])
        one.merge(other)
        assert one.count == 50
        np.testing.assert_allclose(one.covariance, np.cov(x.numpy().T), atol=1000 * EPS)

    def test_a_large_mean_costs_no_digits_of_the_covariance(self):
        x = some(100, 3)
        far = FeatureStatistics(3)
        # A power of two, and numbers that hold beside it.
        x = (x * 2**20).round() / 2**20
        for part in (x + 2**20).split(10):
            far.add(part)
        # Deviations hold to eps of the mean, 2^20; sums of squares would be off by 2^40 eps.
        np.testing.assert_allclose(far.covariance, FeatureStatistics.of(x).covariance, atol=2**20 * 100 * EPS)

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            (torch.zeros(3, 2), r"must have shape \(count, 3\), got \(3, 2\)"),
            (torch.full((2, 3), math.nan), "must be finite"),
        ],
    )
    def test_what_is_no_feature_is_refused_and_changes_nothing(self, features, message):
        found = FeatureStatistics.of(some(5, 3))
        with pytest.raises(ValueError, match=message):
            found.add(features)
        assert found.count == 5
        with pytest.raises(ValueError, match="at least 2 images, got 1"):
            _ = FeatureStatistics.of(some(1, 3)).covariance
        with pytest.raises(ValueError, match="of 2 features cannot be added to those of 3"):
            found.merge(FeatureStatistics(2))


class TestFrechet:
    def test_of_diagonal_covariances_it_is_the_sum_over_coordinates(self):
        m, n = torch.tensor([1.0, 2.0, -1.0]).double(), torch.tensor([0.0, 4.0, -1.0]).double()
        s, t = torch.tensor([1.0, 4.0, 0.5]).double(), torch.tensor([2.0, 1.0, 0.5]).double()
        one = FeatureStatistics.of(exactly(m, torch.diag(s), 40))
        other = FeatureStatistics.of(exactly(n, torch.diag(t), 70, seed=1))
        expected = ((m - n).square() + (s.sqrt() - t.sqrt()).square()).sum().item()
        assert frechet_distance(one, other) == pytest.approx(expected, abs=1e4 * EPS)

    @given(seed=st.integers(0, 99), size=st.integers(1, 6))
    def test_scipy_s_square_root_of_the_product_gives_the_same(self, seed, size):
        x, y = some(20, size, seed) @ some(size, size, seed + 1), some(30, size, seed + 2) + 1
        one, other = FeatureStatistics.of(x), FeatureStatistics.of(y)
        a, b = (np.atleast_2d(np.cov(v.numpy().T)) for v in (x, y))
        mixed = scipy.linalg.sqrtm(a @ b).real
        expected = np.sum((x.mean(0) - y.mean(0)).numpy() ** 2) + np.trace(a + b - 2 * mixed)
        # Of a singular product scipy's root is good to the square root of eps.
        assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert frechet_distance(other, one) == pytest.approx(frechet_distance(one, other), rel=1e-6)

    def test_fewer_images_than_features_do_no_harm(self):
        x, y = some(10, 64), some(12, 64, seed=1)
        a, b = ((v - v.mean(0)) / math.sqrt(len(v) - 1) for v in (x, y))
        # The same trace without any matrix of features by features.
        mixed = torch.linalg.svdvals(a @ b.mT).sum()
        expected = (x.mean(0) - y.mean(0)).square().sum() + a.square().sum() + b.square().sum() - 2 * mixed
        # Roots of eigenvalues that are 0 up to eps: 64 of them, each within sqrt(eps) times the largest.
        found = frechet_distance(FeatureStatistics.of(x), FeatureStatistics.of(y))
        assert found == pytest.approx(expected.item(), abs=64 * math.sqrt(EPS) * 10)

    def test_of_equal_sets_it_is_zero(self):
        found = FeatureStatistics.of(some(40, 8))
        assert 0 <= frechet_distance(found, found) <= 8 * math.sqrt(EPS) * 10

    def test_of_other_features_it_is_refused(self):
        with pytest.raises(ValueError, match="3 and 4 numbers lie at no distance"):
            frechet_distance(FeatureStatistics.of(some(5, 3)), FeatureStatistics.of(some(5, 4)))


class TestKernel:
    def test_one_subset_of_all_is_the_double_sum(self):
        x, y = some(12, 3), some(12, 3, seed=1) + 0.5

        def k(a, b):
            return ((a * b).sum().item() / 3 + 1) ** 3

        found = kernel_distance(x, y, subsets=400, size=6)
        pairs = [(i, j) for i in range(12) for j in range(12)]
        off = [(i, j) for i, j in pairs if i != j]
        expected = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in off) / 132
        expected -= 2 * sum(k(x[i], y[j]) for i, j in pairs) / 144
        # Random halves have the mean of the whole, which is the mean over all pairs.
        assert found.size == 6
        assert abs(found.value - expected) < 4 * found.error

    def test_of_gaussians_it_is_the_closed_form(self):
        size, shift = 4, 0.7
        x, y = some(4000, size), some(4000, size, seed=1)
        y[:, 0] += shift
        m, d = shift**2, size
        same = 1 + 3 / d
        moved = 1 + 3 * m / d + 3 * (d + 2 * m + m**2) / d**2 + (m**3 + 6 * m**2 + 3 * m * d + 6 * m) / d**3
        across = 1 + 3 * (d + m) / d**2
        parts = [
            kernel_distance(a, b, subsets=2, size=200).value for a, b in zip(x.split(400), y.split(400), strict=True)
        ]
        error = np.std(parts, ddof=1) / math.sqrt(len(parts))
        assert abs(np.mean(parts) - (same + moved - 2 * across)) < 4 * error
        assert error < 0.2 * (same + moved - 2 * across)

    def test_of_one_distribution_it_is_zero_in_the_mean_however_few_there_are(self):
        found = [kernel_distance(some(16, 3, seed), some(16, 3, seed + 1000), subsets=2).value for seed in range(300)]
        assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(300)
        assert min(found) < 0

    def test_bad_input_is_refused(self):
        with pytest.raises(ValueError, match="at least 4 images, got 3 and 9"):
            kernel_distance(some(3, 2), some(9, 2))
        with pytest.raises(ValueError, match="with one size"):
            kernel_distance(some(9, 2), some(9, 3))
        with pytest.raises(ValueError, match="must be finite"):
            kernel_distance(some(9, 2) / 0, some(9, 2))


class TestManifold:
    @given(seed=st.integers(0, 99), k=st.integers(1, 4))
    def test_brute_force_finds_the_same(self, seed, k):
        samples, real = (some(count, 2, seed + count).numpy() for count in (13, 17))
        between = np.sqrt(((real[:, None] - samples[None]) ** 2).sum(2))
        radii = []
        for part in (real, samples):
            apart = np.sqrt(((part[:, None] - part[None]) ** 2).sum(2))
            radii.append(np.sort(apart, axis=1)[:, k])
        within = between <= radii[0][:, None]
        found = compare_manifolds(torch.from_numpy(samples), torch.from_numpy(real), neighbours=k)
        assert found.precision == pytest.approx(within.any(0).mean(), abs=1e-12)
        assert found.coverage == pytest.approx(within.any(1).mean(), abs=1e-12)
        assert found.density == pytest.approx(within.sum(0).mean() / k, abs=1e-12)
        assert found.recall == pytest.approx((between <= radii[1]).any(1).mean(), abs=1e-12)

    def test_half_of_the_data_is_precise_and_recalls_half(self):
        real = torch.cat([some(200, 3), some(200, 3, seed=1) + 100])
        found = compare_manifolds(some(400, 3, seed=2), real)
        assert found.precision > 0.9
        assert found.recall == pytest.approx(0.5, abs=0.05)
        assert found.coverage == pytest.approx(0.5, abs=0.05)

    def test_of_one_distribution_coverage_and_density_are_as_expected(self):
        n, k = 200, 5
        found = [compare_manifolds(some(n, 3, seed), some(n, 3, seed + 500), neighbours=k) for seed in range(40)]
        expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
        for name, value in (("coverage", expected), ("density", 1.0)):
            values = [getattr(each, name) for each in found]
            assert abs(np.mean(values) - value) < 4 * np.std(values) / math.sqrt(len(values))

    def test_bad_input_is_refused(self):
        with pytest.raises(ValueError, match="neighbours=5 needs more images than that, got 5 samples"):
            compare_manifolds(some(5, 2), some(9, 2))
        with pytest.raises(ValueError, match="with one size"):
            compare_manifolds(some(9, 2), some(9, 3))


class TestEnergy:
    def test_brute_force_finds_the_same(self):
        x, y = some(7, 4), some(5, 4, seed=1)

        def mean(a, b, *, same=False):
            distances = [
                math.dist(p, q)
                for i, p in enumerate(a.tolist())
                for j, q in enumerate(b.tolist())
                if not same or i != j
            ]
            return sum(distances) / len(distances)

        expected = 2 * mean(x, y) - mean(x, x, same=True) - mean(y, y, same=True)
        assert energy_distance(x, y) == pytest.approx(expected, abs=1e-13)

    def test_of_gaussians_on_a_line_it_is_the_closed_form(self):
        shift = 1.5
        # |a - b| is a folded normal number of variance 2.
        across = 2 / math.sqrt(math.pi) * math.exp(-(shift**2) / 4) + shift * math.erf(shift / 2)
        parts = [energy_distance(some(100, 1, seed), some(100, 1, seed + 99) + shift) for seed in range(40)]
        error = np.std(parts, ddof=1) / math.sqrt(len(parts))
        assert abs(np.mean(parts) - (2 * across - 4 / math.sqrt(math.pi))) < 4 * error

    def test_bad_input_is_refused(self):
        with pytest.raises(ValueError, match="at least 2 of either"):
            energy_distance(some(1, 3), some(5, 3))


def test_blocks_of_any_size_give_the_same(monkeypatch):
    x, y = some(11, 3), some(14, 3, seed=1)
    whole = compare_manifolds(x, y), energy_distance(x, y)
    for module in ("manifold", "energy"):
        monkeypatch.setattr(f"unmelt.evaluation.{module}.LARGEST_BLOCK", 30)
    assert compare_manifolds(x, y) == whole[0]
    # Sums of at most 196 distances in another order.
    assert energy_distance(x, y) == pytest.approx(whole[1], abs=196 * 10 * EPS)
