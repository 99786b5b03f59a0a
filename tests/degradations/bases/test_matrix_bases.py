"""Bases given as a matrix, found as its eigenvectors, or found from data."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from dense_reference import matrix
from hypothesis import given
from hypothesis import strategies as st

from unmelt.degradations.bases import (
    CosineBasis,
    EigenBasis,
    MatrixBasis,
    PCABasis,
    pca,
)
from unmelt.testing.strategies import random_images


def square(n, seed=0, dtype=torch.float64):
    return torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rotation(n, dtype=torch.float64):
    return torch.linalg.qr(square(n, dtype=dtype)).Q


def path_graph(n):
    """The Laplacian of n nodes in a row."""
    between = torch.diag(torch.ones(n - 1, dtype=torch.float64), 1)
    neighbours = between + between.T
    return torch.diag(neighbours.sum(0)) - neighbours


# ---- any matrix ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("numbers", "axes"), [(5, 1), (20, 2), (60, 3)])
def test_columns_are_the_basis_functions_of_the_trailing_axes(numbers, axes):
    v = rotation(numbers)
    basis = MatrixBasis((3, 4, 5), v)
    assert basis.axes == axes
    x = random_images((3, 4, 5))
    expected = (x.reshape(-1, numbers) @ v).reshape(x.shape)
    torch.testing.assert_close(basis.forward(x), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(basis.inverse(expected), x, rtol=0, atol=1e-13)


def test_a_double_matrix_is_kept_bit_for_bit_and_apart_from_its_argument():
    v = rotation(40)
    kept = v.clone()
    basis = MatrixBasis((40,), v)
    v.zero_()
    torch.testing.assert_close(basis.matrix, kept, rtol=0, atol=0)
    torch.testing.assert_close(basis.matrix_single, kept.float(), rtol=0, atol=0)


def test_an_exact_single_matrix_is_kept_bit_for_bit():
    permutation = torch.eye(7)[torch.tensor([3, 1, 0, 2, 6, 4, 5])]
    torch.testing.assert_close(MatrixBasis((7,), permutation).matrix, permutation.double(), rtol=0, atol=0)


@pytest.mark.parametrize("n", [3, 40, 200])
def test_a_single_matrix_is_made_orthonormal_in_double(n):
    v = rotation(n, dtype=torch.float32)
    off = (v.double().T @ v.double() - torch.eye(n)).abs().max().item()
    assert off > 1e-8
    used = MatrixBasis((n,), v).matrix
    torch.testing.assert_close(used.T @ used, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-13)
    # The nearest orthonormal matrix is no further away than the matrix was off, in the sum of all squares.
    assert torch.linalg.norm(used - v.double()).item() < n * off


def test_matrices_tell_bases_apart():
    v, w = rotation(4), rotation(4).flip(1)
    assert MatrixBasis((4, 4), v).agrees_with(MatrixBasis((4, 4), v))
    assert not MatrixBasis((4, 4), v).agrees_with(MatrixBasis((4, 4), w))
    assert not MatrixBasis((4, 4), v).agrees_with(MatrixBasis((2, 4), v))


# ---- eigenvectors --------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 30), seed=st.integers(0, 99), scale=st.floats(1e-3, 1e3))
def test_eigenvectors_are_those_of_scipy(n, seed, scale):
    a = scale * square(n, seed)
    a = a + a.T
    basis = EigenBasis((2, n), a)
    v, eigenvalues = basis.matrix, basis.eigenvalues()
    # Backward error of a symmetric eigenproblem: a few roundings of the largest eigenvalue.
    bound = 64 * torch.finfo(torch.float64).eps * torch.linalg.matrix_norm(a, 2).item()
    torch.testing.assert_close(a @ v, v * eigenvalues, rtol=0, atol=bound)
    torch.testing.assert_close(eigenvalues, torch.from_numpy(scipy.linalg.eigvalsh(a.numpy())), rtol=0, atol=bound)
    assert (eigenvalues.diff() >= 0).all()
    largest = v.gather(0, v.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


def test_of_entries_equally_large_the_first_is_positive():
    # Eigenvectors (1, 1) and (1, -1), whichever entry rounding makes the larger.
    for sign in (1.0, -1.0):
        v = EigenBasis((2,), torch.tensor([[2.0, sign], [sign, 2.0]])).matrix
        assert (v[0] > 0).all()


@pytest.mark.parametrize("n", [2, 9, 32])
def test_a_path_graph_has_the_cosine_basis(n):
    # Neumann's second differences: a wave of frequency w has eigenvalue 4 sin^2(w / 2).
    basis, cosines = EigenBasis((n,), path_graph(n)), CosineBasis((n,))
    torch.testing.assert_close(matrix(basis).abs(), matrix(cosines).abs(), rtol=0, atol=1e-12)
    # A cosine is as large at one end as at the other, up to rounding: the first end is the one made positive.
    v = matrix(basis)
    first = (v.abs() > (1 - 1e-6) * v.abs().amax(0)).int().argmax(0, keepdim=True)
    assert (v.gather(0, first) > 0).all()
    expected = 4 * (cosines.laplacian_eigenvalues().sqrt() / 2).sin() ** 2
    torch.testing.assert_close(basis.eigenvalues(), expected, rtol=0, atol=1e-13)


def test_eigenvalues_have_the_shape_of_the_transformed_axes():
    basis = EigenBasis((2, 3, 4), path_graph(12))
    assert basis.eigenvalues().shape == (3, 4)
    x = random_images((2, 3, 4))
    applied = basis.inverse(basis.eigenvalues() * basis.forward(x))
    torch.testing.assert_close(applied.flatten(2), x.flatten(2) @ path_graph(12), rtol=0, atol=1e-13)


def test_matrices_that_are_not_symmetric_are_refused():
    a = torch.tensor([[1.0, 2.0], [2.5, 1.0]])
    with pytest.raises(ValueError, match=r"symmetric, but differs from its transpose by 0.5 .*\(A \+ A.T\) / 2"):
        EigenBasis((2,), a)
    with pytest.raises(ValueError, match="transpose by nan"):
        EigenBasis((2,), a * math.nan)
    rounded = square(20, dtype=torch.float32) @ square(20, dtype=torch.float32).T
    assert EigenBasis((20,), rounded).agrees_with(EigenBasis((20,), rounded))


# ---- principal components ------------------------------------------------------------------------------------------


@given(count=st.integers(2, 40), seed=st.integers(0, 99))
def test_coefficients_of_the_data_are_uncorrelated(count, seed):
    data = random_images((2, 3, 4), batch=count, seed=seed) @ square(4, seed)
    basis = PCABasis(data)
    u = basis.forward(data).flatten(1)
    variances = basis.variances()
    assert variances.shape == (2, 3, 4)
    covariance = torch.from_numpy(np.cov(u.numpy(), rowvar=False))
    bound = 64 * torch.finfo(torch.float64).eps * variances.max().item()
    torch.testing.assert_close(covariance, torch.diag(variances.flatten()), rtol=0, atol=bound)
    assert (variances.flatten().diff() <= 0).all()
    assert (variances >= 0).all()
    # Fewer samples than numbers: no variance beyond their span, in a basis that is complete all the same.
    torch.testing.assert_close(
        variances.flatten()[count - 1 :], torch.zeros(max(0, 25 - count)).double(), atol=bound, rtol=0
    )
    torch.testing.assert_close(basis.mean(), data.mean(0), rtol=0, atol=1e-14)


def test_components_are_those_of_the_singular_value_decomposition():
    data = random_images((6,), batch=30)
    _, singular, components = np.linalg.svd((data - data.mean(0)).numpy(), full_matrices=False)
    basis = PCABasis(data)
    torch.testing.assert_close(basis.variances().numpy(), singular**2 / 29, rtol=1e-12, atol=0)
    torch.testing.assert_close(basis.matrix.abs().numpy(), abs(components.T), rtol=0, atol=1e-12)
    largest = basis.matrix.gather(0, basis.matrix.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


def test_leading_axes_are_further_samples():
    data = random_images((5, 3, 4), batch=7)
    basis, stacked = PCABasis(data, axes=2), PCABasis(data.flatten(0, 1))
    assert basis.shape == (5, 3, 4)
    assert basis.variances().shape == basis.mean().shape == (3, 4)
    torch.testing.assert_close(basis.matrix, stacked.matrix, rtol=0, atol=0)
    torch.testing.assert_close(basis.forward(data).flatten(0, 1), stacked.forward(data.flatten(0, 1)))


def test_data_taken_in_parts_gives_the_same(monkeypatch):
    data = random_images((3, 4), batch=50, dtype=torch.float32)
    whole = PCABasis(data)
    monkeypatch.setattr(pca, "_CHUNK", 7)
    parts = PCABasis(data)
    for name, table in whole.named_buffers():
        torch.testing.assert_close(
            getattr(parts, name).double(), table.double(), rtol=0, atol=1e-7 if "single" in name else 1e-12
        )
