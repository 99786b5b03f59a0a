"""Plane waves: their functions and frequencies, and the kernels that are diagonal in them."""

import itertools
import math

import pytest
import torch
from dense_reference import matrix
from hypothesis import given
from hypothesis import strategies as st
from support import refusals, seeded

from unmelt.degradations.bases import CosineBasis, FourierBasis, HartleyBasis, ProductBasis
from unmelt.testing.strategies import random_images

SIZES = [(1,), (2,), (7,), (8,), (3, 4), (5, 5), (4, 6), (2, 3, 4), (3, 3, 5)]
every_size = pytest.mark.parametrize("sizes", SIZES, ids=str)
# Sums over at most 40 products, each rounded by 2e-16 times numbers up to 1.
ATOL = 1e-13


def pixels(sizes):
    """The indices of all pixels, (pixels, axes)."""
    return torch.tensor([*itertools.product(*map(range, sizes))])


def symmetric_kernel(sizes, seed=0):
    """Random numbers that are the same at opposite offsets, positive and negative."""
    kernel = torch.randn(sizes, generator=seeded(seed), dtype=torch.float64)
    return kernel + kernel.flip([*range(len(sizes))])


def convolution(kernel, sizes):
    """The matrix of a periodic convolution, written out: entry (i, j) is the kernel at i - j from its middle."""
    dense = torch.zeros((math.prod(sizes),) * 2, dtype=torch.float64)
    middle = torch.tensor(kernel.shape) // 2
    place, wrap = pixels(sizes), torch.tensor(sizes)
    strides = torch.tensor([math.prod(sizes[i + 1 :]) for i in range(len(sizes))])
    for offset in pixels(kernel.shape):
        to = ((place + offset - middle) % wrap * strides).sum(1)
        dense[to, torch.arange(len(place))] += kernel[tuple(offset)]
    return dense


def off_diagonal(operator):
    return (operator - operator.diagonal().diag()).abs().max().item()


@every_size
def test_basis_functions_are_the_written_ones(sizes):
    i = pixels(sizes)
    # The phases as whole shares of a turn before they are angles of at most three turns.
    turns = sum((i[:, None, a] * i[:, a] % size).double() / size for a, size in enumerate(sizes))
    expected = ((2 * math.pi * turns).cos() + (2 * math.pi * turns).sin()) / math.sqrt(math.prod(sizes))
    torch.testing.assert_close(matrix(HartleyBasis((1, *sizes))), expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_axes_chooses_the_trailing_axes(axes):
    x = random_images((4, 5, 6))
    basis, one = HartleyBasis((4, 5, 6), axes), HartleyBasis((4, 5, 6)[3 - axes :], axes)
    expected = one.forward(x.reshape(-1, *one.shape)).reshape(x.shape)
    torch.testing.assert_close(basis.forward(x), expected, rtol=0, atol=ATOL)
    assert not basis.agrees_with(HartleyBasis((4, 5, 6), axes % 3 + 1))


@every_size
def test_frequencies_are_those_of_the_waves(sizes):
    """A shift by one pixel turns cosine and sine of a wave by its frequency, with the sign of its direction."""
    basis, i = HartleyBasis((1, *sizes)), pixels(sizes)
    frequency = torch.cartesian_prod(*basis.axis_frequencies()).reshape(-1, len(sizes))
    assert (frequency.abs() <= math.pi).all()
    phase = i.double() @ frequency.T
    expected = (phase.cos() + phase.sin()) / math.sqrt(math.prod(sizes))
    # Angles up to 4 pi, rounded once.
    torch.testing.assert_close(matrix(basis), expected, rtol=0, atol=ATOL)
    flat = frequency.square().sum(1).reshape(sizes)
    torch.testing.assert_close(basis.laplacian_eigenvalues(), flat, rtol=1e-14, atol=0)


@every_size
def test_the_laplacians_eigenvalues_are_those_of_the_product_basis_in_another_order(sizes):
    ours, theirs = (basis((1, *sizes)).laplacian_eigenvalues().flatten() for basis in (HartleyBasis, FourierBasis))
    torch.testing.assert_close(ours.sort().values, theirs.sort().values, rtol=1e-14, atol=0)


# ---- kernels --------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 99))
@pytest.mark.parametrize(
    ("sizes", "kernel"), [((7,), (5,)), ((8,), (3,)), ((5, 6), (3, 5)), ((4, 4), (3, 1)), ((3, 4, 5), (3, 3, 5))]
)
def test_every_point_symmetric_kernel_is_diagonal_with_its_eigenvalues(sizes, kernel, seed):
    basis, kernel = HartleyBasis((1, *sizes)), symmetric_kernel(kernel, seed)
    v = matrix(basis)
    eigenvalues = basis.kernel_eigenvalues(kernel, allow_negative=True)
    assert eigenvalues.shape == sizes
    operator = v.T @ convolution(kernel, sizes) @ v
    torch.testing.assert_close(operator, eigenvalues.flatten().diag(), rtol=0, atol=20 * ATOL)


def test_a_slanted_kernel_is_diagonal_in_plane_waves_alone():
    """A Gaussian along the diagonal: products of one-dimensional transforms mix (k, l) with (k, -l)."""
    profile = torch.exp(-torch.linspace(-3, 3, 7, dtype=torch.float64).square() / 2)
    blur = convolution((profile / profile.sum()).diag(), (8, 8))
    bases = [HartleyBasis((8, 8), 2), FourierBasis((8, 8), 2), CosineBasis((8, 8), 2)]
    bases.append(ProductBasis(HartleyBasis((8,)), HartleyBasis((8,))))
    waves, *products = (off_diagonal(matrix(basis).T @ blur @ matrix(basis)) for basis in bases)
    assert waves < 1e-14
    assert all(off > 0.2 for off in products)


def test_zeros_of_the_spectrum_are_zero_and_float32_kernels_are_as_good_as_their_rounding():
    kernel = torch.tensor([0.25, 0.5, 0.25])
    eigenvalues = HartleyBasis((1, 8)).kernel_eigenvalues(kernel)
    expected = (1 + torch.cos(2 * math.pi * torch.arange(8, dtype=torch.float64) / 8)) / 2
    torch.testing.assert_close(eigenvalues, expected, rtol=0, atol=1e-15)
    assert eigenvalues.min() == 0
    assert eigenvalues.dtype == torch.float64
    thirds = torch.tensor([0.1, 1 / 3, 0.1], dtype=torch.float32)
    thirds[0] *= 1 + 1e-7  # the last digit
    assert HartleyBasis((1, 8)).kernel_eigenvalues(thirds).min() > 0


def test_the_centre_of_a_kernel_of_even_size_is_half_of_it():
    eigenvalues = HartleyBasis((1, 3, 6)).kernel_eigenvalues(torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(eigenvalues, torch.ones(3, 6, dtype=torch.float64), rtol=0, atol=1e-15)


PLANE = HartleyBasis((3, 8, 6))


@refusals(
    (
        lambda: PLANE.kernel_eigenvalues(torch.ones(1, 5) / 5),
        ValueError,
        "of at least 0 .* from -0.2 to 1: .*LinearObs",
    ),
    (lambda: PLANE.kernel_eigenvalues(-torch.ones(1, 1)), ValueError, "from -1 to -1"),
    (lambda: PLANE.kernel_eigenvalues(torch.tensor([[0.0, 0.5, 0.5]])), ValueError, "point-symmetric .* one-sided"),
    (lambda: PLANE.kernel_eigenvalues(torch.ones(2, 2)), ValueError, "point-symmetric .* give it odd sizes"),
    (
        lambda: PLANE.kernel_eigenvalues(torch.ones(9, 5)),
        ValueError,
        r"2 axes of sizes up to \(8, 6\), got shape \(9, 5\)",
    ),
    (lambda: PLANE.kernel_eigenvalues(torch.ones(3)), ValueError, r"2 axes .*, got shape \(3,\)"),
    (lambda: PLANE.kernel_eigenvalues(torch.ones(0, 1)), ValueError, r"2 axes .*, got shape \(0, 1\)"),
    (lambda: PLANE.kernel_eigenvalues(torch.full((1, 1), math.nan)), ValueError, "kernel must be finite, got nan"),
    (lambda: PLANE.kernel_eigenvalues(torch.ones(1, 1).long()), TypeError, "torch.int64: pass kernel.double"),
    (lambda: PLANE.directional_eigenvalues((1.0,)), ValueError, r"number for each of the 2 axes, got \(1.0,\)"),
    (lambda: PLANE.directional_eigenvalues((1.0, math.inf)), ValueError, r"finite .* got \(1.0, inf\)"),
)
@pytest.mark.usefixtures("as_in_production")
def test_what_is_no_kernel_or_direction_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_negative_eigenvalues_are_returned_where_they_are_allowed():
    box = torch.ones(3, dtype=torch.float64) / 3
    eigenvalues = HartleyBasis((1, 6)).kernel_eigenvalues(box, allow_negative=True)
    expected = (1 + 2 * torch.cos(2 * math.pi * torch.arange(6, dtype=torch.float64) / 6)) / 3
    torch.testing.assert_close(eigenvalues, expected, rtol=0, atol=1e-15)


# ---- directions -----------------------------------------------------------------------------------------------------


@given(angle=st.floats(-4, 4), seed=st.integers(0, 99))
@every_size
def test_what_fades_by_direction_commutes_with_shifts(sizes, angle, seed):
    """So it is a convolution: on even axes too, where the highest frequency has no sign."""
    basis = HartleyBasis((1, *sizes))
    direction = (math.cos(angle), math.sin(angle), 0.4)[: len(sizes)]
    fade = (-0.3 * basis.directional_eigenvalues(direction)).exp()
    assert fade.shape == sizes
    x, axes = random_images((1, *sizes), seed=seed), [*range(-len(sizes), 0)]
    shift = [1, 2, -1][: len(sizes)]
    shifted = basis.inverse(fade * basis.forward(x.roll(shift, axes)))
    torch.testing.assert_close(shifted, basis.inverse(fade * basis.forward(x)).roll(shift, axes), rtol=0, atol=ATOL)


@given(angle=st.floats(-4, 4))
@every_size
def test_directions_at_right_angles_add_up_to_the_laplacian(sizes, angle):
    basis = HartleyBasis((1, *sizes))
    turn = torch.eye(len(sizes), dtype=torch.float64)
    if len(sizes) > 1:
        c, d = math.cos(angle), math.sin(angle)
        turn[:2, :2] = torch.tensor([[c, -d], [d, c]], dtype=torch.float64)
    eigenvalues = [basis.directional_eigenvalues(direction.tolist()) for direction in turn]
    assert all((part >= 0).all() for part in eigenvalues)
    torch.testing.assert_close(sum(eigenvalues), basis.laplacian_eigenvalues(), rtol=0, atol=ATOL)


@given(down=st.floats(-2, 2), right=st.floats(-2, 2))
@pytest.mark.parametrize("sizes", [(5, 7), (4, 6), (5, 6)])
def test_the_eigenvalue_of_a_direction_is_the_square_of_the_frequency_along_it(sizes, down, right):
    basis = HartleyBasis((1, *sizes))
    rows, columns = (table.tolist() for table in basis.axis_frequencies())
    # A wave without a sign has the mean over both.
    signs = [[(1, -1) if -math.pi in (n, m) else (1,) for m in columns] for n in rows]
    expected = [
        [
            sum((sign * down * n + right * m) ** 2 for sign in signs[i][j]) / len(signs[i][j])
            for j, m in enumerate(columns)
        ]
        for i, n in enumerate(rows)
    ]
    ours = basis.directional_eigenvalues((down, right))
    # Squares of sums up to 4 pi.
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=ATOL)
