"""The data's spectrum: streaming equals numpy on all of the data, however it is cut into batches."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zoo import draw

from unmelt.degradations import (
    CosineBasis,
    DataSpectrum,
    FourierBasis,
    PixelBasis,
    SpectrumEstimator,
    estimate_spectrum,
)

SHAPE = (2, 3, 4)


def moments(basis, data):
    """Mean and unbiased variance of the coefficients over all data at once, by numpy."""
    u = basis.forward(data.double()).numpy()
    return u.mean(0), u.var(0, ddof=1)


def agrees(spectrum, data, *, rtol=1e-12):
    mean, variance = moments(spectrum.basis, data)
    scale = max(1.0, spectrum.basis.forward(data.double()).abs().max().item())
    # The mean is a sum of numbers of size `scale`; variances are sums of squares without cancellation.
    np.testing.assert_allclose(spectrum.mean.numpy(), mean, rtol=0, atol=1e-14 * scale)
    np.testing.assert_allclose(spectrum.variance.numpy(), variance, rtol=rtol, atol=0)
    assert spectrum.count == len(data)
    assert spectrum.mean.dtype == spectrum.variance.dtype == torch.float64


@given(
    cuts=st.lists(st.integers(0, 17), max_size=6), seed=st.integers(0, 99), dtype=st.sampled_from(["single", "double"])
)
def test_any_split_into_batches_gives_the_moments_of_all_data(cuts, seed, dtype):
    data = draw(SHAPE, batch=17, seed=seed)
    data = data.float() if dtype == "single" else data
    estimator = SpectrumEstimator(CosineBasis(SHAPE))
    edges = [0, *sorted(cuts), 17]
    # Equal edges make empty batches, neighbouring ones batches of one.
    for start, stop in pairwise(edges):
        estimator.update(data[start:stop])
    agrees(estimator.spectrum(), data)


@given(seed=st.integers(0, 99), order=st.permutations(range(5)))
def test_the_order_of_batches_does_not_matter(seed, order):
    batches = draw(SHAPE, batch=20, seed=seed).split(4)
    basis = FourierBasis(SHAPE)
    agrees(estimate_spectrum(basis, [batches[i] for i in order]), torch.cat(batches))


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_a_large_offset_costs_no_digits_of_the_variance(batch_size):
    """1e6 + N(0, 1e-4): sums of squares, 1e12 each, would have lost a variance of 1e-8 altogether."""
    noise = 1e-4 * draw((3,), batch=2000)
    data = 1e6 + noise
    # The data itself, as it is stored, keeps 1e6 eps = 1e-10 of 1e-4; its exact variance is that of what is stored.
    exact = (data - 1e6).numpy().var(0, ddof=1)
    spectrum = estimate_spectrum(PixelBasis((3,)), data, batch_size=batch_size)
    # Means of numbers of size 1e6 are off by some 1e-10. That, times how far apart means of batches are (1e-4 at most,
    # for batches of one), is the error of each merger, of either sign, in a variance of 1e-8.
    np.testing.assert_allclose(spectrum.variance.numpy(), exact, rtol=1e-6)


def test_tensors_and_iterables_of_batches_are_the_same_data():
    data, basis = draw(SHAPE, batch=30), CosineBasis(SHAPE)
    whole = estimate_spectrum(basis, data)
    for spectrum in (
        estimate_spectrum(basis, data, batch_size=4),
        estimate_spectrum(basis, data.split(11)),
        estimate_spectrum(basis, (row[None] for row in data)),
    ):
        torch.testing.assert_close(spectrum.mean, whole.mean, rtol=0, atol=1e-14)
        torch.testing.assert_close(spectrum.variance, whole.variance, rtol=1e-12, atol=0)
        assert spectrum.count == 30
    assert whole.basis is basis


def test_a_spectrum_can_be_read_while_more_data_comes():
    data, estimator = draw(SHAPE, batch=12), SpectrumEstimator(CosineBasis(SHAPE))
    for end in (4, 8, 12):
        estimator.update(data[end - 4 : end])
        agrees(estimator.spectrum(), data[:end])


def test_gradients_are_not_kept():
    data = draw(SHAPE, batch=5).requires_grad_()
    assert not estimate_spectrum(CosineBasis(SHAPE), data).variance.requires_grad


def still_spectrum():
    """A border that never changes: coefficients without variance."""
    data = draw((6,), batch=8)
    data[:, :2] = 0.5
    return estimate_spectrum(PixelBasis((6,)), data)


def test_floored_raises_small_variances_only():
    spectrum = still_spectrum()
    floored = spectrum.floored(1e-3)
    assert isinstance(floored, DataSpectrum)
    assert floored.require_variance() is floored.variance
    assert floored.variance[:2].tolist() == [1e-3, 1e-3]
    assert torch.equal(floored.variance[2:], spectrum.variance[2:])
    assert torch.equal(floored.mean, spectrum.mean)
    assert (floored.basis, floored.count) == (spectrum.basis, 8)
    assert not spectrum.variance[:2].any()
