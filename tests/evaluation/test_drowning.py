"""When frequencies drown: closed forms for heat and isotropic noise, and the order of families."""

import math

import numpy as np
import pytest
import torch

from unmelt.degradations import (
    CosineBasis,
    DataSpectrum,
    EqualSNR,
    FlippedSNR,
    FourierBasis,
    HeatDissipation,
    IsotropicDiffusion,
    Pixelation,
    SpectralDiffusion,
    estimate_spectrum,
)
from unmelt.evaluation import power_spectrum
from unmelt.evaluation.drowning import drowning, latent_variances
from unmelt.evaluation.spectrum_figures import draw_drowning

SHAPE = (1, 8, 8)


def falling(basis, exponent=2.0):
    """A spectrum that falls with frequency."""
    frequency = basis.laplacian_eigenvalues().sqrt()
    variance = (frequency + frequency[frequency > 0].min()) ** -exponent
    return DataSpectrum(basis, torch.zeros(SHAPE, dtype=torch.float64), variance.expand(SHAPE).contiguous(), 10)


def test_isotropic_noise_reaches_a_variance_when_the_schedule_says_so():
    process = IsotropicDiffusion(SHAPE)
    spectrum = falling(CosineBasis(SHAPE))
    found = drowning(process, spectrum)
    # log-SNR(t) = -2 log tan(a t + b), clipped to [-10, 10]; the variance of the data is added.
    b = math.atan(math.exp(-5))
    a = math.atan(math.exp(5)) - b
    basis = spectrum.basis
    by_position = basis.laplacian_eigenvalues().sqrt() / (2 * math.pi)
    for position, at in zip(found.bands.positions.tolist(), found.drowned_at.tolist(), strict=True):
        variance = spectrum.variance[0][(by_position - position).abs() < 1e-5].median().item()
        exact = (math.atan(math.sqrt(variance)) - b) / a
        # A straight line over 1 / 512 of the time: the log-SNR bends by less than 2 a^2 / sin^2 there.
        assert at == pytest.approx(exact, abs=1e-4)


def test_heat_drowns_a_frequency_when_its_signal_is_down_to_the_noise():
    process, spectrum = HeatDissipation(SHAPE, sigma=0.05, blur_sigma_max=6.0), falling(CosineBasis(SHAPE))
    found = drowning(process, spectrum)
    assert found.drowned_at[0] == math.inf
    assert bool((found.drowned_at[1:].diff() < 0).all())
    t = found.drowned_at[3]
    group = (process.basis.laplacian_eigenvalues().sqrt() / (2 * math.pi) - found.bands.positions[3]).abs() < 1e-5
    signal = (process.alpha(t)[0].expand(SHAPE)[0][group] ** 2 * spectrum.variance[0][group]).median()
    assert float(signal) == pytest.approx(0.05**2, rel=1e-3)


def test_noise_of_the_data_s_spectrum_drowns_all_at_once_and_flipped_noise_turns_the_order_round():
    spectrum = falling(FourierBasis(SHAPE))
    equal = drowning(SpectralDiffusion(SHAPE, EqualSNR(spectrum)), spectrum).drowned_at
    assert float(equal.max() - equal.min()) < 1e-9
    flipped = drowning(SpectralDiffusion(SHAPE, FlippedSNR(spectrum)), spectrum).drowned_at
    assert flipped[0] < flipped[-1]


def test_what_is_below_the_noise_from_the_start_drowns_at_0():
    process = HeatDissipation(SHAPE, sigma=1.0)
    spectrum = falling(CosineBasis(SHAPE))
    tiny = DataSpectrum(spectrum.basis, spectrum.mean, spectrum.variance * 1e-6, 10)
    assert drowning(process, tiny).drowned_at.tolist() == [0.0] * len(drowning(process, tiny).drowned_at)


def test_variances_of_latents_are_those_of_drawn_ones():
    process = HeatDissipation(SHAPE, sigma=0.3, blur_sigma_max=3.0)
    x = torch.randn(4000, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectrum = estimate_spectrum(process.basis, x)
    found = latent_variances(process, spectrum, torch.tensor([0.0, 0.5]))
    z = process.corrupt(x, torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype), 0.5)
    drawn = estimate_spectrum(process.basis, z).variance[0].numpy()
    frequency = (process.basis.laplacian_eigenvalues().sqrt() / (2 * math.pi)).numpy()
    expected = [drawn[np.isclose(frequency, f, atol=1e-5)].mean() for f in found.positions.tolist()]
    # A variance of 4000 numbers has a relative standard error of 2.2 %; of the mean of one coefficient at least.
    np.testing.assert_allclose((found.signal + found.noise)[1], expected, rtol=0.1)


def test_a_spectrum_of_another_basis_is_refused_where_coefficients_differ():
    spectrum = falling(CosineBasis(SHAPE))
    with pytest.raises(ValueError, match=r"estimate it there, estimate_spectrum\(process.basis, data\)"):
        drowning(Pixelation(SHAPE), spectrum)


@pytest.mark.full
@pytest.mark.parametrize("count", [1, 3])
def test_panels_have_letters_of_one_size_and_the_colours_stand_beside_their_maps(count):
    made = {f"heat {i}": (HeatDissipation(SHAPE), falling(CosineBasis(SHAPE))) for i in range(count)}
    figure = draw_drowning(made, {"images": power_spectrum(torch.rand(20, *SHAPE))})
    figure.draw_without_rendering()
    *panels, bar = figure.axes
    drawn = [axes for axes in figure.axes if axes.axison]
    names = [side.label for axes in drawn for side in (axes.xaxis, axes.yaxis)]
    assert {name.get_size() for name in names if name.get_text()} == {8}
    assert {number.get_size() for axes in drawn for number in axes.get_yticklabels()} == {7}
    last = max(axes.get_position().x1 for axes in panels)
    # A tenth of a panel's width.
    assert 0 < bar.get_position().x0 - last < 0.1 * panels[0].get_position().width
