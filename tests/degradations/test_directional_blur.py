"""Directional blur against convolutions written out in pixels, and the symmetries of angles."""

import math

import numpy as np
import pytest
import torch
from dense_reference import Dense
from hypothesis import given
from hypothesis import strategies as st
from support import draw, refusals

from unmelt.degradations import (
    ConstantNoise,
    CosineSchedule,
    DirectionalBlur,
    FourierBasis,
    GaussianBlur,
    HartleyBasis,
    LogSpacedBlur,
    PowerBlur,
)

ANGLES = st.floats(-400, 400)
# Rounded angles, and products of frequencies up to pi^2 with widths of a few pixels.
ATOL = 1e-12


def blur(shape, width, angle, across=0.0):
    """At t = 1 a blur of that width, without noise."""
    return DirectionalBlur(shape, angle=angle, across=across, blur=PowerBlur(width), noise=ConstantNoise(0.0))


def blurred(x, width, angle, across=0.0):
    return blur(tuple(x.shape[1:]), width, angle, across).degrade(x, 1.0)[0]


def offsets(height, width):
    """Between all pixels, downwards and to the right, (pixels, pixels) each."""
    row, column = (axis.ravel() for axis in np.mgrid[:height, :width])
    return row[:, None] - row, column[:, None] - column


@pytest.mark.parametrize("size", [(9, 12), (11, 7)])
@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 110.0, -20.0])
def test_it_is_the_periodic_convolution_with_a_slanted_gaussian(size, angle):
    """Gaussians at pixels, so wide that sampling them leaves nothing out, repeated over copies of the image."""
    width, across = 4.0, 0.7
    up, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    down, aside = offsets(*size)
    kernel = 0.0
    for copy in np.ndindex(11, 15):
        y, x = down + (copy[0] - 5) * size[0], aside + (copy[1] - 7) * size[1]
        along, over = x * right - y * up, x * up + y * right
        kernel = kernel + np.exp(-((along / width) ** 2) / 2 - (over / (across * width)) ** 2 / 2)
    expected = kernel / (2 * math.pi * width * across * width)
    ours = Dense(blur((1, *size), width, angle, across)).degradation(1.0).numpy()
    # Beyond the copies less than exp(-(30 / 4)^2 / 2) of it; beyond the highest frequency exp(-(2.8 pi)^2 / 2).
    np.testing.assert_allclose(ours, expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0, -60.0])
@pytest.mark.parametrize("width", [0.4, 2.0])
def test_without_a_width_across_it_is_the_mean_along_a_line(angle, width):
    """Of the image that waves interpolate between pixels (sizes are odd), over positions along the line, Gaussian."""
    size = (5, 7)
    up, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    down, aside = offsets(*size)
    places = np.linspace(-9, 9, 721) * width
    shares = np.exp(-((places / width) ** 2) / 2)
    expected = np.zeros(down.shape)
    for place, share in zip(places, shares / shares.sum(), strict=True):
        # A mean weighted by s around each pixel reads the image s further, against which the pixel's own offset counts.
        expected += share * dirichlet(down - place * up, size[0]) * dirichlet(aside + place * right, size[1])
    ours = Dense(blur((1, *size), width, angle)).degradation(1.0).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=ATOL)


def dirichlet(x, size):
    """The wave that is 1 at one pixel and 0 at all others, at any real x: a mean of cosines."""
    return 1 / size + sum(2 / size * np.cos(2 * np.pi * n * x / size) for n in range(1, (size + 1) // 2))


def test_a_slanted_blur_is_diagonal_in_plane_waves_and_not_along_the_axes():
    """45 degrees, on an image of even sides: the matrix of the blur between functions of either basis."""
    process = blur((1, 8, 8), 2.0, 45.0)
    off = {}
    for basis in (HartleyBasis((1, 8, 8)), FourierBasis((1, 8, 8))):
        unit = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8)
        operator = basis.forward(process.degrade(basis.inverse(unit), 1.0)[0]).flatten(1)
        off[type(basis)] = (operator - operator.diagonal().diag()).abs().max().item()
    assert off[HartleyBasis] < 1e-14
    assert off[FourierBasis] > 0.3


def test_positive_angles_turn_counter_clockwise():
    """A dot at 45 degrees smears to the upper right and the lower left; rows are counted from the top."""
    dot = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    dot[..., 4, 4] = 1
    image = blurred(dot, 1.5, 45.0)[0, 0]
    assert image[3, 5] > 0.1
    # A line between pixels rings across itself.
    assert image[3, 3].abs() < 0.05
    torch.testing.assert_close(image, image.mT.flip(0, 1), rtol=0, atol=ATOL)
    torch.testing.assert_close(image, image.flip(0, 1), rtol=0, atol=ATOL)


@given(angle=ANGLES, across=st.floats(0, 1))
@pytest.mark.parametrize("size", [(5, 7), (4, 6), (6, 5)])
def test_half_a_turn_changes_nothing_and_mirrors_turn_the_angle(size, angle, across):
    x = draw((2, *size))
    here = blurred(x, 2.0, angle, across)
    torch.testing.assert_close(blurred(x, 2.0, angle + 180, across), here, rtol=0, atol=ATOL)
    torch.testing.assert_close(blurred(x.flip(-2), 2.0, -angle, across).flip(-2), here, rtol=0, atol=ATOL)
    torch.testing.assert_close(blurred(x.flip(-1), 2.0, -angle, across).flip(-1), here, rtol=0, atol=ATOL)
    torch.testing.assert_close(blurred(x.mT, 2.0, 90 - angle, across).mT, here, rtol=0, atol=ATOL)


@pytest.mark.parametrize("size", [(5, 7), (4, 6)])
@pytest.mark.parametrize(
    ("angle", "across", "anisotropy"),
    [(0.0, 0.3, (0.3, 1.0)), (90.0, 0.3, (1.0, 0.3)), (180.0, 0.0, (0.0, 1.0)), (33.0, 1.0, None)],
)
def test_along_an_axis_or_alike_in_all_directions_it_is_gaussian_blur(size, angle, across, anisotropy):
    widths, noise = LogSpacedBlur(0.3, 4.0, 10), CosineSchedule()
    ours = DirectionalBlur((2, *size), angle=angle, across=across, blur=widths, noise=noise)
    theirs = GaussianBlur((2, *size), widths, noise, anisotropy=anisotropy, boundary=FourierBasis)
    x = draw((2, *size))
    assert ours.levels == theirs.levels == 10
    for t in (0.0, 0.05, 0.4, 1.0):
        mine, other = ours.marginal(x, t), theirs.marginal(x, t)
        torch.testing.assert_close(mine.mean, other.mean, rtol=0, atol=ATOL)
        torch.testing.assert_close(mine.spectral_stddev, other.spectral_stddev, rtol=0, atol=0)
        torch.testing.assert_close(ours.blur_sigma(t), theirs.blur_sigma(t), rtol=0, atol=0)


def test_what_does_not_change_along_the_direction_stays_and_frames_are_blurred_apart():
    place = torch.arange(6, dtype=torch.float64)
    stripes = torch.cos(2 * math.pi / 6 * (place[:, None] + place)).expand(1, 2, 3, 6, 6)
    # One row up and one column to the right is the same stripe.
    torch.testing.assert_close(blurred(stripes, 9.0, 45.0), stripes, rtol=0, atol=ATOL)
    assert blurred(stripes, 9.0, -45.0).abs().max() < 1e-6
    frames = draw((2, 3, 6, 6))
    apart = torch.stack([blurred(frame, 2.0, 20.0) for frame in frames.unbind(2)], 2)
    torch.testing.assert_close(blurred(frames, 2.0, 20.0), apart, rtol=0, atol=ATOL)


@refusals(
    (lambda: DirectionalBlur((1, 16)), ValueError, r"two axes behind the channels .* got \(1, 16\): GaussianBlur"),
    (lambda: DirectionalBlur((1, 4, 4), angle=math.nan), ValueError, "angle must be finite .*degrees.* got nan"),
    (lambda: DirectionalBlur((1, 4, 4), across=1.5), ValueError, r"across must lie in \[0, 1\].* got 1.5"),
    (lambda: DirectionalBlur((1, 4, 4), blur=3.0), TypeError, "blur must be a BlurSchedule.* got 3.0"),
    (lambda: DirectionalBlur((1, 4, 4), noise=0.1), TypeError, "noise must be a Schedule.* got 0.1"),
)
@pytest.mark.usefixtures("as_in_production")
def test_wrong_settings_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
