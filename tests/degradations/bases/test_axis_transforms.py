"""Cosine, sine and Fourier bases, along both of their paths."""

import math

import pytest
import scipy.fft
import torch
import torch_dct
from dense_reference import matrix
from hypothesis import given
from hypothesis import strategies as st

from unmelt.degradations.bases import CosineBasis, FourierBasis, SineBasis
from unmelt.testing.strategies import DTYPES, random_images


def cosine(n, size, x):
    return math.sqrt((2 - (n == 0)) / size) * torch.cos(math.pi * n * (x + 0.5) / size)


def sine(n, size, x):
    return math.sqrt((2 - (n == size - 1)) / size) * torch.sin(math.pi * (n + 1) * (x + 0.5) / size)


def fourier(n, size, x):
    k = (n + 1) // 2
    if n == 0 or 2 * k == size:
        return math.sqrt(1 / size) * torch.cos(2 * math.pi * k * x / size)
    return math.sqrt(2 / size) * (torch.cos if n == 2 * k - 1 else torch.sin)(2 * math.pi * k * x / size)


def scipy_fourier(x, axis):
    """The real coefficients from scipy's complex ones."""
    size = x.shape[axis]
    z = torch.from_numpy(scipy.fft.rfft(x.numpy(), axis=axis, norm="ortho")).movedim(axis, 0)
    rows = [z[0].real]
    for k in range(1, size // 2 + 1):
        rows += [z[k].real] if 2 * k == size else [math.sqrt(2) * z[k].real, -math.sqrt(2) * z[k].imag]
    return torch.stack(rows).movedim(0, axis)


def by_scipy(transform):
    return lambda x, axis: torch.from_numpy(transform(x.numpy(), type=2, norm="ortho", axis=axis))


# Each basis, its functions at real x, and one axis of it by scipy.
TRANSFORMS = {
    "cosine": (CosineBasis, cosine, by_scipy(scipy.fft.dct)),
    "sine": (SineBasis, sine, by_scipy(scipy.fft.dst)),
    "Fourier": (FourierBasis, fourier, scipy_fourier),
}
TYPES = [CosineBasis, SineBasis, FourierBasis]
every_transform = pytest.mark.parametrize(("basis_type", "function", "reference"), TRANSFORMS.values(), ids=TRANSFORMS)


def along_fft(basis_type):
    return type(f"Fast{basis_type.__name__}", (basis_type,), {"longest_matrix_axis": 0})


@given(seed=st.integers(0, 99), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3))
@every_transform
def test_both_paths_equal_scipy_on_one_to_three_axes(basis_type, function, reference, sizes, seed):
    x = random_images((2, *sizes), seed=seed)
    expected = x
    for axis in range(-len(sizes), 0):
        expected = reference(expected, axis)
    for path in (basis_type, along_fft(basis_type)):
        basis = path((2, *sizes))
        torch.testing.assert_close(basis.forward(x), expected, rtol=0, atol=1e-13)
        torch.testing.assert_close(basis.inverse(expected), x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 30])
@every_transform
def test_basis_functions_are_the_written_ones(basis_type, function, reference, size):
    pixels = torch.arange(size, dtype=torch.float64)
    expected = torch.stack([function(n, size, pixels) for n in range(size)], 1)
    for path in (basis_type, along_fft(basis_type)):
        # Angles reach 100, off by as many roundings.
        torch.testing.assert_close(matrix(path((size,))), expected, rtol=0, atol=2e-14)


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@every_transform
def test_eigenvalues_are_those_of_the_second_derivative(basis_type, function, reference, size):
    (eigenvalues,) = basis_type((size,)).axis_eigenvalues()
    assert eigenvalues.dtype == torch.float64
    for n in range(size):
        x = torch.linspace(-1, size, 13, dtype=torch.float64, requires_grad=True)
        # Times a one that depends on x, so that constants have derivatives, too.
        value = function(n, size, x) * (0 * x + 1)
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), x)
        torch.testing.assert_close(-curvature, eigenvalues[n] * value.detach(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [3, 7, 8])
@pytest.mark.parametrize(
    ("basis_type", "outside"), list(zip(TYPES, ["mirrored", "negative", "other end"], strict=True))
)
def test_second_differences_are_diagonal_with_each_basis_boundary(basis_type, outside, size):
    laplacian = 2 * torch.eye(size, dtype=torch.float64)
    laplacian -= torch.diag(torch.ones(size - 1), 1) + torch.diag(torch.ones(size - 1), -1)
    # The pixel outside either end is the one at the end (no slope), its negative (zero between), or the other end.
    for end in (0, size - 1):
        match outside:
            case "mirrored":
                laplacian[end, end] -= 1
            case "negative":
                laplacian[end, end] += 1
            case "other end":
                laplacian[end, size - 1 - end] -= 1
    basis = basis_type((size,))
    v = matrix(basis)
    # A wave of frequency w has second difference -4 sin^2(w / 2), where its second derivative is -w^2.
    differences = 4 * (basis.laplacian_eigenvalues().sqrt() / 2).sin() ** 2
    torch.testing.assert_close(laplacian @ v, v * differences, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [1024, 1025])
@pytest.mark.parametrize("dtype", DTYPES)
@every_transform
def test_long_axes_use_the_fast_transform_and_agree_with_scipy(basis_type, function, reference, dtype, size):
    basis = basis_type((1, 3, size))
    assert max(table.numel() for table in basis.buffers()) == 9
    x = random_images((1, 3, size), dtype=dtype)
    expected = reference(reference(x.double(), -1), -2)
    bound = 32 * torch.finfo(dtype).eps * math.sqrt(size)
    torch.testing.assert_close(basis.forward(x).double(), expected, rtol=0, atol=bound)
    torch.testing.assert_close(basis.inverse(basis.forward(x)), x, rtol=0, atol=bound)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((basis.forward(x) * expected.to(dtype)).sum(), x)
    torch.testing.assert_close(gradient, x.detach(), rtol=0, atol=bound)


@pytest.mark.parametrize("basis_type", TYPES)
def test_axes_next_to_the_crossover_take_either_path(basis_type):
    longest = basis_type.longest_matrix_axis
    names = [{*dict(basis_type((size,)).named_buffers())} - {"device_marker"} for size in (longest, longest + 1)]
    assert names == [{f"axis_{longest}", f"axis_{longest}_single"}, set()]


@pytest.mark.parametrize("axes", [1, 2, 3])
@every_transform
def test_axes_chooses_the_trailing_axes(basis_type, function, reference, axes):
    expected = x = random_images((4, 5, 6))
    for axis in range(-axes, 0):
        expected = reference(expected, axis)
    torch.testing.assert_close(basis_type((4, 5, 6), axes).forward(x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("basis_type", TYPES)
def test_settings_tell_bases_apart(basis_type):
    # Of equal tables, and of none.
    for size in (4, 1025):
        shape = (size, size, size)
        assert basis_type(shape, 2).agrees_with(basis_type(shape))
        assert not basis_type(shape, 1).agrees_with(basis_type(shape, 2))
        assert not any(basis_type(shape).agrees_with(other(shape)) for other in TYPES if other is not basis_type)


@pytest.mark.parametrize("basis_type", TYPES)
def test_laplacian_eigenvalues_add_up_over_axes(basis_type):
    basis = basis_type((3, 4, 6))
    rows, columns = basis.axis_eigenvalues()
    total = basis.laplacian_eigenvalues()
    assert total.shape == (4, 6)
    torch.testing.assert_close(total, rows[:, None] + columns, rtol=0, atol=0)


def test_eigenvalues_are_those_of_the_neumann_laplacian():
    eigenvalues = CosineBasis((3, 4, 6)).laplacian_eigenvalues()
    assert eigenvalues[0, 0] == 0
    # A cosine of n half-waves over 6 pixels has second derivative -(pi n / 6)^2 times itself.
    assert eigenvalues[0, 5].item() == pytest.approx((math.pi * 5 / 6) ** 2, rel=1e-15)
    assert eigenvalues[3, 5].item() == pytest.approx((math.pi * 3 / 4) ** 2 + (math.pi * 5 / 6) ** 2, rel=1e-15)


@given(seed=st.integers(0, 99), height=st.integers(1, 40), width=st.integers(1, 40))
def test_cosine_basis_equals_torch_dct(height, width, seed):
    x = random_images((3, height, width), seed=seed, dtype=torch.float32)
    expected = torch_dct.dct_2d(x.double(), norm="ortho").float()
    # Coefficients reach sqrt(H W) for images in [0, 1].
    bound = 8 * torch.finfo(torch.float32).eps * math.sqrt(height * width)
    torch.testing.assert_close(CosineBasis((3, height, width)).forward(x), expected, rtol=0, atol=bound)


@given(seed=st.integers(0, 99), height=st.integers(1, 9), width=st.integers(1, 9), down=st.integers(0, 9))
def test_what_fades_by_fourier_eigenvalue_commutes_with_shifts(seed, height, width, down):
    basis = FourierBasis((1, height, width))
    x = random_images((1, height, width), seed=seed)
    fade = (-0.3 * basis.laplacian_eigenvalues()).exp()

    def blur(x):
        return basis.inverse(fade * basis.forward(x))

    torch.testing.assert_close(blur(x.roll((down, 2), (-2, -1))), blur(x).roll((down, 2), (-2, -1)), rtol=0, atol=1e-13)
