import math

import pytest
import scipy.fft
import torch
import torch_dct
from dense_reference import matrix
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, images, shapes

from unmelt.degradations import CosineBasis, PixelBasis

BASES = [PixelBasis, CosineBasis]


def tolerance(dtype, shape):
    # A sum of N products is off by about sqrt(N) roundings for each axis; 8 leaves room for the worst entry of many.
    return 8 * torch.finfo(dtype).eps * math.sqrt(sum(shape))


@given(shape=shapes(largest=9), dtype=st.sampled_from(DTYPES))
@pytest.mark.parametrize("basis_type", BASES)
def test_basis_is_orthonormal(basis_type, shape, dtype):
    basis = basis_type(shape)
    n = math.prod(shape)
    v = basis.inverse(torch.eye(n, dtype=dtype).reshape(n, *shape)).reshape(n, n)
    torch.testing.assert_close(v @ v.T, torch.eye(n, dtype=dtype), rtol=0, atol=tolerance(dtype, shape))


@given(shape=shapes(largest=9), seed=st.integers(0, 99), dtype=st.sampled_from(DTYPES))
@pytest.mark.parametrize("basis_type", BASES)
def test_forward_is_the_transpose_and_undoes_inverse(basis_type, shape, seed, dtype):
    basis = basis_type(shape)
    x = images(shape, seed=seed, dtype=dtype)
    dense = x.double().flatten(1) @ matrix(basis)
    u = basis.forward(x)
    assert u.dtype == dtype
    torch.testing.assert_close(u.flatten(1).double(), dense, rtol=0, atol=4 * tolerance(dtype, shape))
    torch.testing.assert_close(basis.inverse(u), x, rtol=0, atol=4 * tolerance(dtype, shape))


@given(seed=st.integers(0, 99), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_cosine_basis_equals_scipy_on_one_to_three_axes(sizes, seed):
    basis = CosineBasis((2, *sizes))
    x = images((2, *sizes), seed=seed)
    axes = tuple(range(2, 2 + len(sizes)))
    expected = torch.from_numpy(scipy.fft.dctn(x.numpy(), norm="ortho", axes=axes))
    torch.testing.assert_close(basis.forward(x), expected, rtol=0, atol=1e-13)
    restored = torch.from_numpy(scipy.fft.idctn(x.numpy(), norm="ortho", axes=axes))
    torch.testing.assert_close(basis.inverse(x), restored, rtol=0, atol=1e-13)


@given(seed=st.integers(0, 99), height=st.integers(1, 40), width=st.integers(1, 40))
def test_cosine_basis_equals_torch_dct(height, width, seed):
    x = images((3, height, width), seed=seed, dtype=torch.float32)
    expected = torch_dct.dct_2d(x.double(), norm="ortho").float()
    # Coefficients reach sqrt(H W) for images in [0, 1].
    bound = 8 * torch.finfo(torch.float32).eps * math.sqrt(height * width)
    torch.testing.assert_close(CosineBasis((3, height, width)).forward(x), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_axes_use_the_fast_transform_and_agree_with_scipy(dtype):
    x = images((1, 3, 1025), dtype=dtype)
    basis = CosineBasis((1, 3, 1025))
    assert "cosines_1025" not in dict(basis.named_buffers())
    expected = torch.from_numpy(scipy.fft.dctn(x.double().numpy(), norm="ortho", axes=(2, 3)))
    bound = 32 * torch.finfo(dtype).eps * math.sqrt(1025)
    torch.testing.assert_close(basis.forward(x).double(), expected, rtol=0, atol=bound)
    torch.testing.assert_close(basis.inverse(basis.forward(x)), x, rtol=0, atol=bound)


def test_gradients_are_exact_adjoints():
    for size in (7, 600):
        basis = CosineBasis((1, size))
        x, y = (images((1, size), seed=seed).requires_grad_() for seed in (0, 1))
        (gradient,) = torch.autograd.grad((basis.forward(x) * y.detach()).sum(), x)
        torch.testing.assert_close(gradient, basis.inverse(y).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_axes_chooses_the_trailing_axes(axes):
    shape = (4, 5, 6)
    x = images(shape)
    expected = scipy.fft.dctn(x.numpy(), norm="ortho", axes=tuple(range(4 - axes, 4)))
    torch.testing.assert_close(CosineBasis(shape, axes).forward(x), torch.from_numpy(expected), rtol=0, atol=1e-13)


def test_eigenvalues_are_those_of_the_neumann_laplacian():
    eigenvalues = CosineBasis((3, 4, 6)).laplacian_eigenvalues()
    assert eigenvalues.shape == (4, 6)
    assert eigenvalues[0, 0] == 0
    # A cosine of n half-waves over 6 pixels has second derivative -(pi n / 6)^2 times itself.
    assert eigenvalues[0, 5].item() == pytest.approx((math.pi * 5 / 6) ** 2, rel=1e-15)
    assert eigenvalues[3, 5].item() == pytest.approx((math.pi * 3 / 4) ** 2 + (math.pi * 5 / 6) ** 2, rel=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_transformed_in_single(dtype):
    basis = CosineBasis((1, 16, 16))
    x = images((1, 16, 16)).to(dtype)
    u = basis.forward(x)
    assert u.dtype == torch.float32
    torch.testing.assert_close(u, basis.forward(x.float()), rtol=0, atol=0)


def test_autocast_does_not_touch_the_transform():
    basis = CosineBasis((3, 16, 16))
    x = images((3, 16, 16), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u = basis.forward(x)
        restored = basis.inverse(u)
    assert u.dtype == torch.float32
    torch.testing.assert_close(u, basis.forward(x), rtol=0, atol=0)
    torch.testing.assert_close(restored, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("axes", [0, 4, -1])
def test_impossible_axes_are_refused(axes):
    with pytest.raises(ValueError, match=f"axes must be between 1 and 3.*got {axes}"):
        CosineBasis((3, 4, 4), axes)


@pytest.mark.parametrize("shape", [(), (3, 0, 4)])
def test_empty_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="every size at least 1"):
        CosineBasis(shape)


@pytest.mark.usefixtures("as_in_production")
def test_a_shape_that_is_no_sequence_of_integers_is_refused():
    with pytest.raises(TypeError, match="sequence of integers"):
        PixelBasis((3, 4.0, 4))
