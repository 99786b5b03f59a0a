"""What holds for every basis. What is special to one is tested in bases/."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from dense_reference import matrix
from hypothesis import given
from hypothesis import strategies as st

from unmelt.degradations.bases import (
    CosineBasis,
    EigenBasis,
    FourierBasis,
    HaarBasis,
    HartleyBasis,
    MatrixBasis,
    PCABasis,
    PixelBasis,
    ProductBasis,
    SineBasis,
)
from unmelt.testing.strategies import DTYPES, random_images, shapes


class FastCosineBasis(CosineBasis):
    longest_matrix_axis = 0


class FastSineBasis(SineBasis):
    longest_matrix_axis = 0


class FastFourierBasis(FourierBasis):
    longest_matrix_axis = 0


def square(n):
    return torch.randn(n, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def rotation(n):
    return torch.linalg.qr(square(n)).Q


def product(shape):
    channels, height, width = shape
    return ProductBasis(MatrixBasis((channels,), rotation(channels)), CosineBasis((height,)), SineBasis((width,)))


# What makes a basis from a shape (channels, height, width); the basis says what its own shape is.
MAKERS = {
    "pixel": PixelBasis,
    "cosine": CosineBasis,
    "sine": SineBasis,
    "Fourier": FourierBasis,
    "cosine by FFT": FastCosineBasis,
    "sine by FFT": FastSineBasis,
    "Fourier by FFT": FastFourierBasis,
    "Hartley": HartleyBasis,
    "Haar": lambda shape: HaarBasis((shape[0], 2 * shape[1], 2 * shape[2])),
    "matrix": lambda shape: MatrixBasis(shape, rotation(shape[1] * shape[2])),
    "eigen": lambda shape: EigenBasis(shape, square(shape[2]) + square(shape[2]).T),
    # At the larger shapes fewer samples than numbers in each.
    "PCA": lambda shape: PCABasis(random_images(shape, batch=20)),
    "product": product,
}
every_basis = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def tolerance(dtype, shape):
    # A sum of N products is off by about sqrt(N) roundings for each axis; 8 leaves room for the worst entry of many.
    # Bases of all axes flattened have sums as long as the axes' product.
    return 8 * torch.finfo(dtype).eps * math.sqrt(math.prod(shape))


@given(shape=shapes(largest=9), dtype=st.sampled_from(DTYPES))
@every_basis
def test_basis_is_orthonormal(make, shape, dtype):
    basis = make(shape)
    n = math.prod(basis.shape)
    v = basis.inverse(torch.eye(n, dtype=dtype).reshape(n, *basis.shape)).reshape(n, n)
    torch.testing.assert_close(v @ v.T, torch.eye(n, dtype=dtype), rtol=0, atol=tolerance(dtype, basis.shape))


@given(size=st.integers(1, 33), dtype=st.sampled_from(DTYPES))
@pytest.mark.parametrize("kind", [CosineBasis, SineBasis, FourierBasis])
def test_the_operators_of_an_axis_are_those_of_its_functions(kind, size, dtype):
    gains = torch.rand(3, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    v = kind.matrix_of(size).mT
    expected = (v * gains[:, None]) @ v.mT
    found = kind((size,)).axis_operators(gains, dtype)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance(dtype, (size,)))


@given(shape=shapes(largest=9), seed=st.integers(0, 99), dtype=st.sampled_from(DTYPES))
@every_basis
def test_forward_is_the_transpose_and_undoes_inverse(make, shape, seed, dtype):
    basis = make(shape)
    x = random_images(basis.shape, seed=seed, dtype=dtype)
    dense = x.double().flatten(1) @ matrix(basis)
    u = basis.forward(x)
    assert u.dtype == dtype
    torch.testing.assert_close(u.flatten(1).double(), dense, rtol=0, atol=4 * tolerance(dtype, basis.shape))
    torch.testing.assert_close(basis.inverse(u), x, rtol=0, atol=4 * tolerance(dtype, basis.shape))


@every_basis
def test_gradients_are_exact_adjoints(make):
    basis = make((2, 5, 6))
    x, y = (random_images(basis.shape, seed=seed).requires_grad_() for seed in (0, 1))
    for transform, transpose in ((basis.forward, basis.inverse), (basis.inverse, basis.forward)):
        (gradient,) = torch.autograd.grad((transform(x) * y.detach()).sum(), x)
        torch.testing.assert_close(gradient, transpose(y).detach(), rtol=0, atol=1e-12)


@every_basis
def test_transforms_leave_their_argument_and_take_any_leading_axes(make):
    basis = make((2, 3, 4))
    x = torch.stack([random_images(basis.shape, seed=seed, batch=3) for seed in (0, 1)])
    kept = x.clone()
    for transform in (basis.analyse, basis.synthesise):
        together = transform(x)
        for i, j in ((0, 0), (1, 2)):
            torch.testing.assert_close(transform(x[i, j]), together[i, j], rtol=0, atol=1e-14)
    torch.testing.assert_close(x, kept, rtol=0, atol=0)


# Short axes are matrix products, an axis of 130 an FFT.
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 130)], ids=str)
@every_basis
def test_signals_may_lie_in_memory_in_any_order(make, shape):
    basis = make(shape)
    x = random_images(basis.shape, batch=3)
    for transform in (basis.forward, basis.inverse):
        expected = transform(x)
        for order in itertools.permutations(range(x.ndim)):
            stored = x.permute(order).contiguous().permute([order.index(axis) for axis in range(x.ndim)])
            torch.testing.assert_close(transform(stored), expected, rtol=0, atol=tolerance(x.dtype, basis.shape))


@every_basis
def test_the_order_of_axes_in_memory_does_not_matter(make):
    basis = make((3, 5, 6))
    x = random_images(basis.shape)
    for transform in (basis.forward, basis.inverse):
        expected = transform(x)
        for order in itertools.permutations(range(4)):
            kept = x.permute(order).contiguous().permute([order.index(axis) for axis in range(4)])
            torch.testing.assert_close(transform(kept), expected, rtol=0, atol=1e-14)


@every_basis
def test_a_batch_may_be_empty(make):
    basis = make((2, 3, 4))
    x = torch.empty(0, *basis.shape)
    assert basis.inverse(basis.forward(x)).shape == x.shape


@every_basis
def test_copies_and_twins_agree(make):
    basis = make((2, 3, 4))
    x = random_images(basis.shape)
    for twin in (basis, pickle.loads(pickle.dumps(basis)), copy.deepcopy(basis), make((2, 3, 4))):
        assert basis.agrees_with(twin)
        torch.testing.assert_close(twin.forward(x), basis.forward(x), rtol=0, atol=0)
    assert not basis.agrees_with(make((2, 3, 2)))
    others = [other((2, 3, 4)) for other in MAKERS.values() if other is not make]
    assert not any(basis.agrees_with(other) or other.agrees_with(basis) for other in others)


@every_basis
def test_tables_are_moved_but_never_rounded(make):
    basis = make((2, 3, 4))
    tables = {name: table.clone() for name, table in basis.named_buffers()}
    basis.half()
    assert basis.state_dict() == {}
    for name, table in basis.named_buffers():
        torch.testing.assert_close(table, tables[name], rtol=0, atol=0)
    basis.to("meta")
    x = torch.empty(2, *basis.shape, device="meta")
    assert basis.inverse(basis.forward(x)).shape == x.shape
    for name, table in basis.named_buffers():
        assert (table.device.type, table.dtype) == ("meta", tables[name].dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_basis
def test_half_precision_is_transformed_in_single(make, dtype):
    basis = make((1, 8, 8))
    x = random_images(basis.shape).to(dtype)
    u = basis.forward(x)
    assert u.dtype == torch.float32
    torch.testing.assert_close(u, basis.forward(x.float()), rtol=0, atol=0)


@every_basis
def test_autocast_does_not_touch_the_transform(make):
    basis = make((3, 8, 8))
    x = random_images(basis.shape, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u = basis.forward(x)
        restored = basis.inverse(u)
    assert u.dtype == torch.float32
    torch.testing.assert_close(u, basis.forward(x), rtol=0, atol=0)
    torch.testing.assert_close(restored, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("basis", "octaves"),
    [
        # Half waves 0, 1, 2, ... along the axis; the lowest is one.
        (CosineBasis((3, 9)), [0, 1, 2, 2, 3, 3, 3, 3, 4]),
        # Half waves 1, 2, 3, ...
        (SineBasis((3, 8)), [1, 2, 2, 3, 3, 3, 3, 4]),
        # Waves 0, 1, 1, 2, 2, ..., a cosine and a sine of each.
        (FourierBasis((3, 8)), [0, 1, 1, 2, 2, 2, 2, 3]),
        # Waves 0, 1, 2, 3, 4, -3, -2, -1.
        (HartleyBasis((3, 8)), [0, 1, 2, 2, 3, 2, 2, 1]),
        (CosineBasis((3, 1)), [0]),
        # m half waves down four pixels and n to the right over two, in units of the lowest: sqrt(m^2 + 4 n^2).
        (CosineBasis((3, 4, 2)), [[0, 2], [1, 2], [2, 2], [2, 2]]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_octaves_begin_at_powers_of_two_times_the_lowest_frequency(basis, octaves):
    assert basis.octaves().tolist() == octaves


def test_an_octave_holds_its_lowest_frequency_and_not_the_next_one_s():
    """Frequencies 1, 2, 3, ...: the octave is how many binary digits the number has."""
    for size in range(2, 200):
        assert CosineBasis((1, size)).octaves().tolist() == [n.bit_length() for n in range(size)]
