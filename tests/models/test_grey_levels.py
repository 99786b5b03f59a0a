"""Levels and their values, what is not on them, and the noise that fills the gaps."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmelt.models import GreyLevels

LEVELS = [2, 17, 256, 65536]
RANGES = [(0.0, 1.0), (-1.0, 1.0), (3.0, 5.0)]
EVERY = [GreyLevels(levels, *bounds) for levels in LEVELS for bounds in RANGES]
EIGHT_BITS = GreyLevels(256, 0.0, 1.0)

every_quantisation = pytest.mark.parametrize("grey_levels", EVERY, ids=str)


def seeded(seed=4):
    return torch.Generator().manual_seed(seed)


def size(grey_levels):
    """The largest number in any arithmetic about levels."""
    return max(abs(grey_levels.low), abs(grey_levels.high))


@every_quantisation
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_those_of_exact_arithmetic(grey_levels, dtype):
    q = grey_levels
    levels = torch.arange(q.count)
    values = q.values(levels, dtype)
    assert values.dtype == dtype
    step = Fraction(q.high - q.low) / (q.count - 1)
    exact = [float(Fraction(q.low) + k * step) for k in range(q.count)]
    # Four roundings in float64 (one of `exact`), and one to the dtype.
    tolerance = (2 * torch.finfo(torch.float64).eps + torch.finfo(dtype).eps / 2) * size(q)
    torch.testing.assert_close(values.double(), torch.tensor(exact, dtype=torch.float64), rtol=0, atol=tolerance)
    assert q.width == pytest.approx(float(step), rel=1e-15)
    assert values[0].item() == pytest.approx(q.low, abs=tolerance)
    assert values[-1].item() == pytest.approx(q.high, abs=tolerance)


def by_share(q, levels, dtype):
    return q.low + (q.high - q.low) * (levels.to(dtype) / (q.count - 1))


def by_width(q, levels, dtype):
    return levels.to(dtype) * q.width + q.low


def by_normalising(q, levels, dtype):
    """Scaled to [0, 1], minus a mean, over a standard deviation."""
    scale = 1 / (q.high - q.low)
    return (levels.to(dtype) / (q.count - 1) - (-q.low * scale)) / scale


def in_single_then_widened(q, levels, dtype):
    return by_share(q, levels, torch.float32).to(dtype)


@every_quantisation
@pytest.mark.parametrize("scaled", [by_share, by_width, by_normalising, in_single_then_widened])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_level_is_recognised_however_it_was_computed(grey_levels, scaled, dtype):
    levels = torch.arange(grey_levels.count)
    indices = grey_levels.indices(scaled(grey_levels, levels, dtype))
    assert indices.dtype == torch.int64
    assert torch.equal(indices, levels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16])
def test_integers_are_levels(dtype):
    x = torch.tensor([[0, 1, 7], [16, 3, 2]]).to(dtype)
    assert torch.equal(GreyLevels(17, -1.0, 1.0).indices(x), x.long())


def test_booleans_are_two_levels():
    binary = GreyLevels(2, -1.0, 1.0)
    assert torch.equal(binary.on_levels(torch.tensor([False, True])), torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 1, 8, 8)])
def test_any_shape_is_kept(shape):
    x = torch.zeros(shape, dtype=torch.uint8)
    assert EIGHT_BITS.indices(x).shape == EIGHT_BITS.values(x).shape == EIGHT_BITS.dequantise(x).shape == shape


def test_on_levels_is_exact_whatever_the_data_was_rounded_to():
    levels = torch.arange(256)
    rounded = in_single_then_widened(EIGHT_BITS, levels, torch.float64)
    assert torch.equal(EIGHT_BITS.on_levels(rounded), levels.double() / 255)
    assert torch.equal(EIGHT_BITS.on_levels(levels), levels.float() / 255)


class TestFilling:
    @pytest.mark.parametrize("levels", LEVELS)
    @pytest.mark.parametrize("bounds", RANGES)
    def test_bins_around_the_levels_fill_the_range(self, levels, bounds):
        low, high = bounds
        q = GreyLevels.bin_centres(levels, low, high)
        # Some roundings of the ends, divided among the levels.
        assert q.width == pytest.approx((high - low) / levels, rel=1e-14)
        assert q.low - q.width / 2 == pytest.approx(low, abs=4 * 2.3e-16 * size(q))
        assert q.high + q.width / 2 == pytest.approx(high, abs=4 * 2.3e-16 * size(q))

    def test_dequantised_bytes_are_k_plus_u_over_256(self):
        x = torch.arange(256, dtype=torch.uint8)
        ours = GreyLevels.bin_centres(256, 0.0, 1.0).dequantise(x, generator=seeded())
        expected = (x + torch.rand(256, generator=seeded())) / 256
        # Two roundings of numbers of at most 1.
        torch.testing.assert_close(ours, expected, rtol=0, atol=2 * torch.finfo(torch.float32).eps)


class TestDequantising:
    @every_quantisation
    def test_noise_is_uniform_over_the_bin(self, grey_levels):
        q, count = grey_levels, 20_000
        levels = torch.randint(q.count, (count,), generator=seeded())
        x = q.values(levels, torch.float64)
        share = (q.dequantise(x, generator=seeded(1)) - x) / q.width + 0.5
        # Off by roundings of the sum, as shares of a level.
        slack = 2 * 2.3e-16 * size(q) / q.width
        assert share.min() >= -slack
        assert share.max() <= 1 + slack
        # Largest distance of an empirical distribution function: 2.2 / sqrt(n) happens once in 10^4 seeds.
        distance = (share.sort().values - (torch.arange(count) + 0.5) / count).abs().max()
        assert distance < 2.2 / math.sqrt(count)
        # It does not depend on the level: a correlation of n pairs is 1 / sqrt(n), six of which never happen.
        assert abs(torch.corrcoef(torch.stack([share, x]))[0, 1].item()) < 6 / math.sqrt(count)

    @every_quantisation
    def test_integers_and_their_values_give_the_same(self, grey_levels):
        levels = torch.randint(grey_levels.count, (3, 5), generator=seeded())
        ours = grey_levels.dequantise(levels, generator=seeded())
        theirs = grey_levels.dequantise(grey_levels.values(levels), generator=seeded())
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)

    def test_a_generator_makes_it_repeatable_and_leaves_the_global_one_alone(self):
        x, before = torch.arange(256), torch.get_rng_state()
        first, again, other = (EIGHT_BITS.dequantise(x, generator=seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(before, torch.get_rng_state())

    @every_quantisation
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_dequantised_data_is_not_taken_for_data_on_the_levels(self, grey_levels, dtype):
        """Of 1000 numbers all would have to land within a tolerance of at most a quarter of a level: (1/2)^1000."""
        levels = torch.randint(grey_levels.count, (1000,), generator=seeded())
        noisy = grey_levels.dequantise(grey_levels.values(levels, dtype), generator=seeded())
        assert noisy.dtype == dtype
        with pytest.raises(ValueError, match="dequantised already.*give the decoder no grey levels"):
            grey_levels.indices(noisy)


@given(levels=st.integers(2, 5000), low=st.floats(-10, 10), extent=st.floats(0.1, 20), seed=st.integers(0, 99))
def test_levels_survive_the_way_to_values_and_back(levels, low, extent, seed):
    q = GreyLevels(levels, low, low + extent)
    indices = torch.randint(levels, (50,), generator=seeded(seed))
    assert torch.equal(q.indices(q.values(indices, torch.float64)), indices)
    # Rounding to float32 moves a value of up to 30 by 2e-6, and 0.1 / 5000 is 2e-5.
    assert torch.equal(q.indices(q.values(indices)), indices)


def test_half_precision_tells_few_levels_apart():
    few = torch.arange(17)
    assert torch.equal(GreyLevels(17, 0.0, 1.0).indices((few / 16).half()), few)
