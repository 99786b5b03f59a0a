"""Radially averaged spectra: white noise, power laws, Parseval, bands counted by hand, another implementation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn

from unmelt.degradations import CosineBasis, FourierBasis
from unmelt.evaluation import PowerEstimator, octaves, power_spectrum, rings

EPS = torch.finfo(torch.float64).eps


def noise(count, *shape, seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    shape=st.sampled_from([(1, 6, 6), (3, 4, 9), (2, 7), (1, 3, 4, 5)]),
    bands=st.sampled_from([rings, octaves]),
    parts=st.lists(st.integers(0, 4), min_size=1, max_size=5),
)
def test_batches_give_what_all_images_at_once_give(shape, bands, parts):
    x = noise(sum(parts) + 2, *shape)
    found = PowerEstimator(CosineBasis(shape), bands)
    for part in x.split([*parts, 2]):
        found.add(found.powers(part))
    whole = power_spectrum(x, bands=bands)
    assert found.spectrum().images == len(x)
    torch.testing.assert_close(found.spectrum().power, whole.power, rtol=100 * EPS, atol=0)
    torch.testing.assert_close(found.spectrum().error, whole.error, rtol=1e4 * EPS, atol=1e-12)


@pytest.mark.parametrize("bands", [rings, octaves])
@pytest.mark.parametrize("basis", [CosineBasis, FourierBasis])
def test_all_power_is_in_the_bands(bands, basis):
    x = noise(5, 3, 8, 12)
    found = power_spectrum(x, bands=bands, basis=basis)
    assert int(found.coefficients.sum()) == 3 * 8 * 12
    total = (found.power * found.coefficients).sum()
    torch.testing.assert_close(total, x.square().sum() / 5, rtol=1000 * EPS, atol=0)


def test_bands_are_those_of_a_transform_written_by_hand():
    x = noise(4, 1, 7, 9)
    squares = np.mean(dctn(x[:, 0].numpy(), axes=(1, 2), norm="ortho") ** 2, axis=0)
    rows, columns = np.meshgrid(np.arange(7) / 14, np.arange(9) / 18, indexing="ij")
    frequency = np.hypot(rows, columns)
    # The lowest frequency is that of the longer axis, one half-wave in 9 pixels.
    ring = np.rint(frequency * 18)
    found = power_spectrum(x)
    for band, number in enumerate(np.unique(ring)):
        chosen = ring == number
        assert int(found.coefficients[band]) == chosen.sum()
        assert float(found.frequency[band]) == pytest.approx(frequency[chosen].mean(), rel=1e-12)
        assert float(found.power[band]) == pytest.approx(squares[chosen].mean(), rel=1e-12)


def test_octaves_double():
    found = power_spectrum(noise(3, 1, 16, 16), bands=octaves)
    basis = CosineBasis((1, 16, 16))
    frequency = basis.laplacian_eigenvalues().sqrt() / (2 * math.pi)
    octave = octaves(basis)
    for number in range(1, int(octave.max()) + 1):
        low, high = frequency[octave == number].aminmax()
        assert low >= 2 ** (number - 1) / 32 * (1 - 1e-12)
        assert high < 2**number / 32 * (1 + 1e-12)
    assert len(found.power) == int(octave.max()) + 1


def test_white_noise_has_its_variance_everywhere_within_the_error_told():
    found = power_spectrum(2 * noise(3000, 1, 12, 12))
    deviation = (found.power - 4) / found.error
    # Normal to a good approximation: of 17 bands one beyond four standard errors has a probability of 0.1 %.
    assert float(deviation.abs().max()) < 4
    assert 0.5 < float(deviation.square().mean()) < 2
    assert abs(found.power_law().exponent) < 0.05


@pytest.mark.parametrize("exponent", [0.7, 2.0, 3.1])
def test_a_power_law_is_found_again(exponent):
    shape = (1, 32, 32)
    basis = CosineBasis(shape)
    ring, frequency = rings(basis), power_spectrum(noise(2, *shape)).frequency
    amplitude = (3 * frequency[ring] ** -exponent).sqrt()
    amplitude[0, 0] = 100
    law = power_spectrum(basis.inverse(amplitude.expand(2, 1, 32, 32))).power_law()
    assert law.exponent == pytest.approx(exponent, rel=1e-10)
    assert law.scale == pytest.approx(3, rel=1e-10)
    assert float(law(torch.tensor(0.5))) == pytest.approx(law.scale * 0.5**-law.exponent)


def test_ratios_have_the_error_of_both():
    one, other = power_spectrum(noise(500, 1, 8, 8)), power_spectrum(2 * noise(800, 1, 8, 8, seed=1))
    ratio, error = one.ratio_to(other)
    torch.testing.assert_close(ratio, one.power / other.power)
    relative = ((one.error / one.power) ** 2 + (other.error / other.power) ** 2).sqrt()
    torch.testing.assert_close(error, ratio * relative)
    assert float(((ratio - 0.25) / error).abs().max()) < 4
    with pytest.raises(ValueError, match="other bands cannot be compared"):
        one.ratio_to(power_spectrum(noise(5, 1, 9, 8)))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        power_spectrum(noise(1, 1, 8, 8))
    with pytest.raises(ValueError, match="got none"):
        power_spectrum([])
    with pytest.raises(ValueError, match="shape"):
        power_spectrum([noise(2, 1, 8, 8), noise(2, 1, 8, 9)])
    with pytest.raises(ValueError, match="a power law needs two bands with power"):
        power_spectrum(torch.zeros(3, 1, 8, 8)).power_law()
