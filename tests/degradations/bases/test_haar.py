import math

import pytest
import torch
from dense_reference import matrix
from hypothesis import given
from hypothesis import strategies as st

from unmelt.degradations.bases import HaarBasis
from unmelt.testing.strategies import DTYPES, random_images


def block_means(x, axes, side):
    """Replace blocks of `side` pixels along each of the trailing axes by their mean."""
    for axis in range(-axes, 0):
        blocks = x.unflatten(axis, (-1, side))
        x = blocks.mean(axis, keepdim=True).expand_as(blocks).flatten(axis - 1, axis)
    return x


@st.composite
def haar_bases(draw):
    scales = draw(st.integers(0, 3))
    axes = draw(st.integers(1, 3 if scales < 3 else 2))
    sizes = [2**scales * draw(st.integers(1, 3)) for _ in range(axes)]
    return HaarBasis((2, *sizes), axes, scales)


@given(basis=haar_bases(), seed=st.integers(0, 99), dtype=st.sampled_from(DTYPES))
def test_without_the_finest_details_blocks_have_their_mean(basis, seed, dtype):
    x = random_images(basis.shape, seed=seed, dtype=dtype)
    u, scales = basis.forward(x), basis.scale_index()
    for level in range(basis.scales + 1):
        coarse = basis.inverse(torch.where(scales <= level, 0, u))
        # Sums of 2^level numbers in [0, 1] along each axis, divided as often.
        bound = 16 * torch.finfo(dtype).eps
        torch.testing.assert_close(coarse, block_means(x, basis.axes, 2**level), rtol=0, atol=bound)


@given(basis=haar_bases())
def test_a_scale_is_how_far_its_functions_reach(basis):
    n = math.prod(basis.shape[-basis.axes :])
    functions = matrix(HaarBasis(basis.shape[-basis.axes :], basis.axes, basis.scales)).T
    scales = basis.scale_index().flatten()
    assert scales.shape == (n,)
    for function, scale in zip(functions.reshape(n, *basis.shape[-basis.axes :]), scales.tolist(), strict=True):
        reach = (function.abs() > 1e-9).nonzero().aminmax(dim=0)
        side = 2 ** min(scale, basis.scales)
        assert (reach.max - reach.min + 1 == side).all()
        assert (reach.min % side == 0).all()
        # Differences see no constant; sums see nothing else.
        seen = abs(function.sum().item())
        assert seen == pytest.approx(side ** (basis.axes / 2) if scale > basis.scales else 0, abs=1e-12)


def test_the_layout_is_a_pyramid():
    expected = [[3, 2, 1, 1], [2, 2, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert HaarBasis((3, 4, 4)).scale_index().tolist() == expected
    half, root = 0.5, math.sqrt(0.5)
    columns = [[half, half, half, half], [half, half, -half, -half], [root, -root, 0, 0], [0, 0, root, -root]]
    torch.testing.assert_close(matrix(HaarBasis((4,))).T, torch.tensor(columns).double(), rtol=0, atol=1e-7)


def test_differences_along_either_axis_lie_where_they_should():
    # A step between the two rows, then between the two columns, of each block of two by two.
    rows, columns = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    u = HaarBasis((1, 2, 2)).forward(torch.stack([rows, columns])[:, None])
    torch.testing.assert_close(u[:, 0], torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]]))


@pytest.mark.parametrize(("shape", "scales"), [((3, 8, 12), 2), ((3, 32, 32), 5), ((3, 7, 8), 0), ((1, 1, 1), 0)])
def test_sums_are_split_as_often_as_all_axes_divide(shape, scales):
    assert HaarBasis(shape).scales == scales


@pytest.mark.parametrize("scales", [-1, 3])
def test_levels_that_do_not_divide_are_refused(scales):
    with pytest.raises(ValueError, match=rf"between 0 and 2 for axes of sizes \(8, 12\), got {scales}"):
        HaarBasis((3, 8, 12), scales=scales)


def test_settings_tell_bases_apart():
    assert HaarBasis((4, 4, 4), scales=2).agrees_with(HaarBasis((4, 4, 4), axes=2))
    assert not HaarBasis((4, 4, 4), scales=1).agrees_with(HaarBasis((4, 4, 4)))
    assert not HaarBasis((4, 4, 4), axes=1).agrees_with(HaarBasis((4, 4, 4)))
