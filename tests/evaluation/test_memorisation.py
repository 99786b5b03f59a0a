"""Neighbours against brute force; copies of training images are found, and new images are not taken for copies."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmelt.evaluation import (
    Recogniser,
    assess_memorisation,
    nearest_neighbours,
    neighbours,
)


def some(count, *shape, seed=0, dtype=torch.float32):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def brute(images, among):
    """All distances from differences, in numpy, (images, set)."""
    a, b = (x.flatten(1).double().numpy() for x in (images, among))
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(2))


class TestNeighbours:
    @given(
        images=st.integers(1, 9),
        among=st.integers(1, 9),
        size=st.integers(1, 5),
        rows=st.integers(1, 12),
        seed=st.integers(0, 99),
        data=st.data(),
    )
    def test_they_are_those_of_brute_force_in_blocks_of_any_size(self, images, among, size, rows, seed, data):
        count = data.draw(st.integers(1, among))
        a, b = some(images, 1, size, 2, seed=seed), some(among, 1, size, 2, seed=seed + 1)
        exact = brute(a, b)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(neighbours, "LARGEST_BLOCK", rows * 2 * size)
            found = nearest_neighbours(a, b, count=count)
        # Random numbers are never equally far. Sums of ten squares in float64, in another order.
        np.testing.assert_allclose(found.distances.numpy(), np.sort(exact, 1)[:, :count], rtol=1e-14)
        np.testing.assert_array_equal(found.indices.numpy(), np.argsort(exact, 1)[:, :count])

    def test_a_copy_lies_at_distance_zero_however_large_its_numbers(self):
        # Squares of 5e17 are off by 60 in float64; around the mean they are about 50.
        among = some(500, 3, 4, 4, dtype=torch.float64) + 1e8
        found = nearest_neighbours(among, among, count=2)
        assert torch.equal(found.distances[:, 0], torch.zeros(500, dtype=torch.float64))
        assert torch.equal(found.indices[:, 0], torch.arange(500))
        assert (found.distances[:, 1] > 0).all()

    def test_neighbours_that_products_cannot_tell_apart_are_still_in_order(self):
        """Squares of 1e16, off by 2, of points that lie about 1 apart."""
        among = torch.cat([some(2, 1, dtype=torch.float64) + 1e8, torch.tensor([[-1e8]], dtype=torch.float64)])
        images = some(100, 1, seed=1, dtype=torch.float64) + 1e8
        found, exact = nearest_neighbours(images, among, count=2), brute(images, among)
        np.testing.assert_array_equal(found.indices.numpy(), np.argsort(exact, 1)[:, :2])
        np.testing.assert_array_equal(found.distances.numpy(), np.sort(exact, 1)[:, :2])

    def test_near_copies_in_single_precision_keep_their_distance(self):
        """A distance of 1e-3 between images of size 1e3, where products in float32 would see none."""
        among = some(40, 1, 8, 8) + 100
        moved = among[:5].double()
        moved[:, 0, 0, 0] += 1e-3
        found = nearest_neighbours(moved, among)
        # Differences of numbers around 100, in float64.
        torch.testing.assert_close(
            found.distances[:, 0], torch.full((5,), 1e-3, dtype=torch.float64), rtol=100 * 2**-52 / 1e-3, atol=0
        )

    def test_the_likeliest_copies_come_first(self):
        among = some(6, 2)
        images = among[:4] + torch.tensor([0.3, 0.1, 0.0, 0.2])[:, None]
        found = nearest_neighbours(images, among)
        order = found.order()
        assert order[0] == 2
        assert (found.distances[order, 0].diff() >= 0).all()

    def test_what_has_no_neighbour_is_refused(self):
        with pytest.raises(ValueError, match=r"shape \(1, 2, 2\) lie at no distance from images of \(1, 4\)"):
            nearest_neighbours(some(3, 1, 2, 2), some(3, 1, 4))
        for count in (0, 4):
            with pytest.raises(ValueError, match=f"count must lie in 1..3.*got {count}"):
                nearest_neighbours(some(3, 2), some(3, 2), count=count)
        with pytest.raises(ValueError, match="no images to look for"):
            nearest_neighbours(some(3, 2)[:0], some(3, 2))

    def test_the_recogniser_measures_the_same(self):
        training, images = some(60, 1, 4, 4).abs(), some(20, 1, 4, 4, seed=1)
        recogniser = Recogniser(training, torch.arange(60) % 3)
        # A mean of the same numbers.
        expected = brute(images, training).min(1).mean()
        assert recogniser.assess(images).nearest == pytest.approx(expected, rel=1e-13)


class TestMemorisation:
    def test_all_figures_are_those_of_plain_arithmetic(self):
        training, held_out, samples = (some(n, 1, 3, 3, seed=n) for n in (40, 31, 25))
        found = assess_memorisation(samples, training, held_out, quantile=0.2, copy_ratio=0.9)
        ours, theirs = (np.sort(brute(x, training), 1) for x in (samples, held_out))
        # Weibull's quantile: of m distances the k-th smallest stands for k / (m + 1).
        threshold = np.quantile(theirs[:, 0], 0.2, method="weibull")
        assert found.threshold == pytest.approx(threshold, rel=1e-12)
        near = int((ours[:, 0] < threshold).sum())
        assert 0 < near < 25
        assert found.share == near / 25
        p = (near + 1) / 27
        assert found.share_error == pytest.approx(math.sqrt(p * (1 - p) / 25 + 0.16 / 31), rel=1e-12)
        # Odd numbers of images: the median is one of them.
        assert found.median == pytest.approx(np.median(ours[:, 0]), rel=1e-12)
        assert found.held_out_median == pytest.approx(np.median(theirs[:, 0]), rel=1e-12)
        assert found.ratio == pytest.approx(np.median(ours[:, 0]) / np.median(theirs[:, 0]), rel=1e-12)
        assert found.copies == (ours[:, 0] <= 0.9 * ours[:, 1]).mean()
        assert found.held_out_copies == (theirs[:, 0] <= 0.9 * theirs[:, 1]).mean()
        assert 0 < found.copies < 1
        assert (found.samples, found.held_out, found.quantile) == (25, 31, 0.2)

    def test_copies_of_training_images_are_found(self, digits):
        training, held_out = digits.train, digits.test
        copies = training[:300] + 0.02 * some(300, 1, 8, 8)
        found = assess_memorisation(copies, training, held_out)
        assert found.share == 1
        assert found.copies > 0.9
        assert found.ratio < 0.3
        half = assess_memorisation(torch.cat([copies, held_out[:300]]), training, held_out)
        # Of the other half about 5 %.
        assert abs(half.share - (1 + 0.05) / 2) < 0.05

    def test_new_images_are_not_taken_for_copies(self, digits):
        """Held-out digits in two halves: one stands for samples."""
        training, held_out = digits.train, digits.test
        shuffled = held_out[torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))]
        found = assess_memorisation(shuffled[:180], training, shuffled[180:], quantile=0.2)
        # Four standard errors, 0.042 each by the formula for 180 images on either side.
        assert found.share_error == pytest.approx(0.042, abs=0.006)
        assert abs(found.share - 0.2) < 4 * found.share_error
        assert abs(found.ratio - 1) < 0.2
        assert found.copies < 0.05

    def test_the_standard_error_is_that_of_many_repetitions(self):
        """Samples, held-out and training images of one distribution, drawn anew 400 times."""
        training = some(100, 2)
        found = [
            assess_memorisation(some(80, 2, seed=2 * i + 1), training, some(60, 2, seed=2 * i + 2), quantile=0.2)
            for i in range(400)
        ]
        shares = torch.tensor([f.share for f in found])
        errors = torch.tensor([f.share_error for f in found])
        # The spread of 400 numbers is known to 1 / sqrt(800) = 3.5 %; the formula is one for large numbers, and the
        # quantile of 60 images, between two of them, moves the expected share by up to 1 / 60.
        assert abs(shares.std().item() / errors.mean().item() - 1) < 0.15
        assert abs(shares.mean().item() - 0.2) < 1 / 60 + 4 * shares.std().item() / math.sqrt(400)

    def test_images_far_from_the_training_set_are_not_near_it(self, digits):
        training, held_out = digits.train, digits.test
        found = assess_memorisation(some(50, 1, 8, 8), training, held_out)
        assert found.share == 0
        # Not certain, though.
        assert found.share_error > 0.01
        assert found.ratio > 2
        text = str(found)
        assert "0.0% +-" in text
        assert f"nearest training image at {found.median:.4g}" in text

    def test_copies_of_what_the_training_set_holds_twice_are_copies(self):
        training = some(10, 2).repeat(2, 1)
        found = assess_memorisation(training[:4], training, some(8, 2, seed=1))
        assert found.copies == 1

    def test_impossible_comparisons_are_refused(self):
        training, held_out = some(10, 2), some(8, 2, seed=1)
        for name, value in (("quantile", 0.0), ("quantile", 1.0), ("copy_ratio", math.nan), ("copy_ratio", 1.5)):
            with pytest.raises(ValueError, match=rf"{name} must lie in \(0, 1\), got {value}"):
                assess_memorisation(held_out, training, held_out, **{name: value})
        with pytest.raises(ValueError, match="10 of 10 held-out images are training images"):
            assess_memorisation(held_out, training, training)
        with pytest.raises(ValueError, match="count must lie in 1..1"):
            assess_memorisation(held_out, training[:1], held_out)
        with pytest.raises(ValueError, match="no images"):
            assess_memorisation(held_out[:0], training, held_out)
