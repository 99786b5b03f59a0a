"""Widths of blurs over time: the papers' curves, tables, blurs one after the other, and blurs fitted to data."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zoo import draw, heat_rates

from unmelt.degradations import (
    ConstantNoise,
    CosineBasis,
    DataSpectrum,
    FourierBasis,
    GaussianBlur,
    LogSpacedBlur,
    PowerBlur,
    SineBasis,
    SineBlur,
    TabulatedBlur,
    blur_pixels,
    equal_variance_blur,
    estimate_spectrum,
    repeated_blur,
)

WIDTHS = st.lists(st.floats(0.05, 3.0), min_size=2, max_size=9)


def rising(increments):
    return np.cumsum(increments)


def grid(levels):
    return torch.arange(levels + 1, dtype=torch.float64) / levels


BLURS = [
    LogSpacedBlur(0.5, 24.0, 200),
    LogSpacedBlur(0.1, 0.2, 2),
    SineBlur(),
    SineBlur(3.0, 1.0),
    SineBlur(3.0, 0.5),
    PowerBlur(5.0),
    PowerBlur(5.0, 2.5),
    TabulatedBlur([0.5, 0.6, 4.0]),
    repeated_blur([1.0, 0.1, 2.0]),
]


@pytest.mark.parametrize("blur", BLURS, ids=lambda blur: f"{type(blur).__name__} {blur.levels}")
def test_every_blur_starts_sharp_and_only_widens(blur):
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    widths = blur.width(t)
    assert widths[0] == 0
    assert (widths.diff() > 0).all()
    # No jumps either: the steepest start here, like the square root of time, gains 3 % of the whole in one step.
    assert widths.diff().max() < 0.05 * widths[-1]
    for shape in ((), (3,), (3, 1, 1)):
        assert blur.width(torch.rand(shape, dtype=torch.float64)).shape == shape


@given(low=st.floats(0.05, 1), ratio=st.floats(1.5, 50), levels=st.integers(2, 60))
def test_log_spaced_levels_are_a_geometric_series(low, ratio, levels):
    widths = LogSpacedBlur(low, low * ratio, levels).width(grid(levels)).numpy()
    expected = low * ratio ** (np.arange(levels) / (levels - 1))
    # Level k / K times K is off by 1e-16 K at most, times a growth per level of log(ratio) / (K - 1).
    np.testing.assert_allclose(widths[1:], expected, rtol=1e-13)
    assert widths[0] == 0


@given(t=st.floats(0, 1), maximum=st.floats(0, 30), power=st.floats(0.5, 4))
def test_sine_and_power_blurs_are_their_formulas(t, maximum, power):
    point = torch.tensor(t, dtype=torch.float64)
    sine, plain = SineBlur(maximum, power).width(point).item(), PowerBlur(maximum, power).width(point).item()
    assert sine == pytest.approx(maximum * math.sin(math.pi * t / 2) ** power, rel=1e-13)
    assert plain == pytest.approx(maximum * t**power, rel=1e-13)


@given(increments=WIDTHS, seed=st.integers(0, 99))
def test_tables_hit_their_levels_and_are_linear_in_the_logarithm_between(increments, seed):
    table = rising(increments)
    levels = len(table)
    blur = TabulatedBlur(table.tolist())
    assert blur.levels == levels
    np.testing.assert_allclose(blur.width(grid(levels)).numpy()[1:], table, rtol=1e-13)
    t = np.random.default_rng(seed).uniform(0, 1, 20)
    between = np.exp(np.interp(t * levels, np.arange(1, levels + 1), np.log(table)))
    expected = np.where(t * levels < 1, t * levels * table[0], between)
    np.testing.assert_allclose(blur.width(torch.from_numpy(t)).numpy(), expected, rtol=1e-12)


@given(low=st.floats(0.05, 1), ratio=st.floats(1.5, 50), levels=st.integers(2, 60))
def test_a_table_of_log_spaced_widths_is_the_log_spaced_blur(low, ratio, levels):
    curve = LogSpacedBlur(low, low * ratio, levels)
    table = TabulatedBlur(curve.width(grid(levels))[1:])
    t = torch.linspace(0, 1, 301, dtype=torch.float64)
    torch.testing.assert_close(table.width(t), curve.width(t), rtol=1e-12, atol=0)


def test_a_wrong_time_that_became_nan_stays_nan_and_indexes_nothing():
    """Off the CPU and in compiled graphs, checks turn wrong times into NaN."""
    widths = TabulatedBlur([0.5, 1.0, 2.0]).width(torch.tensor([math.nan, 1.0], dtype=torch.float64))
    assert widths[0].isnan()
    assert widths[1].item() == pytest.approx(2.0, rel=1e-15)


def test_tables_keep_their_precision_and_leave_no_trace_in_checkpoints():
    blur = TabulatedBlur([0.5, 1.1, 2.0])
    before = blur.width(grid(3))
    assert torch.equal(blur.half().width(grid(3)), before)
    assert not blur.state_dict()


@given(widths=WIDTHS, seed=st.integers(0, 99))
def test_repeated_blur_is_the_blurs_one_after_the_other(widths, seed):
    """Each single blur as a matrix, multiplied up, against the process at every level."""
    size = 7
    waves = CosineBasis.matrix_of(size).numpy()
    process = GaussianBlur((1, size), repeated_blur(widths), ConstantNoise(0.0))
    x = draw((1, size), seed=seed)
    blurred = x.numpy()
    for level, width in enumerate(widths, start=1):
        single = waves.T @ np.diag(np.exp(-heat_rates(size) * width**2 / 2)) @ waves
        blurred = blurred @ single.T
        ours = process.degrade(x, level / len(widths))[0].numpy()
        # Nine products of 7 numbers of size 3; the width's square root and logarithm round by 1e-15.
        np.testing.assert_allclose(ours, blurred, rtol=0, atol=1e-13)


def test_the_default_power_blurs_equal_stretches_of_time_alike():
    """The variance of a blur is then proportional to time: repeated equal blurs."""
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    repeated = repeated_blur([0.5] * 8)
    torch.testing.assert_close(PowerBlur(0.5 * math.sqrt(8)).width(t), repeated.width(t), rtol=1e-13, atol=0)


def test_blur_pixels_is_a_share_of_the_width():
    assert blur_pixels(0.75, 32) == 24.0


# ---- widths fitted to data ----------------------------------------------------------------------------------


def smooth_data(shape, count=40, seed=0):
    """Data whose variance falls with the frequency, as in pictures."""
    basis = CosineBasis(shape)
    amplitudes = 1 / (0.2 + basis.laplacian_eigenvalues())
    return basis.inverse(amplitudes * draw(shape, batch=count, seed=seed)) + 0.3


@pytest.mark.parametrize("shape", [(2, 12), (2, 6, 8), (1, 5, 5)])
@pytest.mark.parametrize("boundary", [CosineBasis, FourierBasis, SineBasis])
@pytest.mark.parametrize(("levels", "alike"), [(2, True), (7, True), (5, False)])
def test_fitted_levels_remove_equal_shares_of_the_variance(shape, boundary, levels, alike):
    """Recomputed on the data itself: degrade it to every level and take its total variance."""
    data = smooth_data(shape)
    widths = None if alike else (0.3, 1.5)[: len(shape) - 1]
    blur = equal_variance_blur(estimate_spectrum(boundary(shape), data), maximum=3.0, levels=levels, anisotropy=widths)
    process = GaussianBlur(shape, blur, ConstantNoise(0.0), anisotropy=widths, boundary=boundary)
    degraded = process.degrade(data, *grid(levels))
    total = np.array([level.var(0).sum().item() for level in degraded])
    assert total[0] == pytest.approx(data.var(0).sum().item(), rel=1e-12)
    # Bisection ends at the last digits of the width's logarithm.
    np.testing.assert_allclose(np.diff(total), (total[-1] - total[0]) / levels, rtol=1e-9)
    assert blur.levels == levels
    assert blur.width(torch.tensor(1.0, dtype=torch.float64)).item() == pytest.approx(3.0, rel=1e-14)


def test_a_fit_to_one_frequency_is_known_in_closed_form():
    """1 - exp(-lambda w^2) = j / K (1 - exp(-lambda w_max^2))."""
    basis = CosineBasis((1, 4))
    variance = torch.zeros(1, 4, dtype=torch.float64)
    variance[0, 2] = 5.0
    rate = heat_rates(4)[2]
    blur = equal_variance_blur(DataSpectrum(basis, torch.zeros_like(variance), variance, 9), maximum=2.0, levels=5)
    shares = np.arange(1, 6) / 5 * -np.expm1(-rate * 4.0)
    np.testing.assert_allclose(blur.width(grid(5)).numpy()[1:], np.sqrt(-np.log1p(-shares) / rate), rtol=1e-12)


def spectrum_of(basis):
    return estimate_spectrum(basis, draw(basis.shape, batch=5))
