import math

import pytest
import torch
from dense_reference import matrix
from hypothesis import given
from hypothesis import strategies as st

from unmelt.degradations.bases import (
    CosineBasis,
    FourierBasis,
    HaarBasis,
    HartleyBasis,
    MatrixBasis,
    PixelBasis,
    ProductBasis,
    SineBasis,
    opponent_colours,
)
from unmelt.testing.strategies import random_images

FACTORS = [PixelBasis, CosineBasis, SineBasis, FourierBasis, HaarBasis, HartleyBasis]


@st.composite
def factors(draw):
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    return draw(st.sampled_from(FACTORS))(shape)


@given(bases=st.lists(factors(), min_size=1, max_size=3))
def test_product_is_the_kronecker_product(bases):
    basis = ProductBasis(*bases)
    assert basis.shape == tuple(size for factor in bases for size in factor.shape)
    expected = torch.ones(1, 1, dtype=torch.float64)
    for factor in bases:
        expected = torch.kron(expected, matrix(factor))
    torch.testing.assert_close(matrix(basis), expected, rtol=0, atol=1e-14)
    x = random_images(basis.shape)
    torch.testing.assert_close(basis.forward(x).flatten(1), x.flatten(1) @ expected, rtol=0, atol=1e-12)


def test_products_of_products_are_products():
    a, b, c = CosineBasis((3,)), SineBasis((2, 4), axes=2), FourierBasis((5,))
    nested, flat = ProductBasis(ProductBasis(a, b), c), ProductBasis(a, b, c)
    x = random_images((3, 2, 4, 5))
    torch.testing.assert_close(nested.forward(x), flat.forward(x), rtol=0, atol=0)


def test_colours_and_plane_are_transformed_apart():
    basis = ProductBasis(MatrixBasis((3,), opponent_colours()), CosineBasis((8, 6), axes=2))
    x = random_images((3, 8, 6))
    luminance = x.sum(1, keepdim=True) / math.sqrt(3)
    torch.testing.assert_close(basis.forward(x)[:, :1], CosineBasis((1, 8, 6)).forward(luminance), rtol=0, atol=1e-13)
    grey = x[:, :1].expand_as(x)
    torch.testing.assert_close(basis.forward(grey)[:, 1:], torch.zeros(2, 2, 8, 6).double(), rtol=0, atol=1e-13)


def test_opponent_colours_are_luminance_red_green_and_blue_yellow():
    v = opponent_colours()
    torch.testing.assert_close(v.T @ v, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-15)
    luminance, red_green, blue_yellow = v.T.tolist()
    assert luminance == pytest.approx([1 / math.sqrt(3)] * 3)
    assert red_green == pytest.approx([1 / math.sqrt(2), -1 / math.sqrt(2), 0])
    assert blue_yellow == pytest.approx([1 / math.sqrt(6), 1 / math.sqrt(6), -2 / math.sqrt(6)])


def test_factors_tell_products_apart():
    pixel, cosine = PixelBasis((4,)), CosineBasis((4,))
    once, twice = HaarBasis((4,), scales=1), HaarBasis((4,))
    assert ProductBasis(cosine, pixel).agrees_with(ProductBasis(CosineBasis((4,)), PixelBasis((4,))))
    assert not ProductBasis(cosine, pixel).agrees_with(ProductBasis(pixel, cosine))
    assert not ProductBasis(cosine, once).agrees_with(ProductBasis(cosine, twice))
    assert not ProductBasis(pixel, PixelBasis((2, 3))).agrees_with(
        ProductBasis(pixel, PixelBasis((2,)), PixelBasis((3,)))
    )
