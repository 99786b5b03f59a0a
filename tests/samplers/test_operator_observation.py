"""Observations given as functions: against dense matrices, what is diagonal after all, masks, and what is refused."""

import math

import pytest
import torch
from guidance_problems import MOTION, OPERATORS, SHAPE, dense_of
from sampler_support import seeded
from support import refusals
from torch import nn
from torch.nn import functional

from unmelt.degradations import CosineBasis, HartleyBasis, PixelBasis
from unmelt.samplers.guidance import LinearObservation, OperatorObservation
from unmelt.testing.strategies import random_images


def by_definition(x, kernel):
    """y(i) = sum_j k(j) x(i - j + c), c = size // 2, term by term."""
    offsets = [range(-(size // 2), size - size // 2) for size in kernel.shape]
    y, axes = torch.zeros_like(x), tuple(range(-kernel.ndim, 0))
    for j in torch.cartesian_prod(*map(torch.tensor, offsets)).reshape(-1, kernel.ndim).tolist():
        place = tuple(a + size // 2 for a, size in zip(j, kernel.shape, strict=True))
        y += kernel[place] * x.roll(j, axes)
    return y


KERNELS = {
    "slanted": MOTION,
    "one-sided": torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64),
    "as large as the image": random_images((4, 3), batch=1)[0],
    "across channels": random_images((2, 3, 2), batch=1)[0],
    "a number": torch.tensor([[2.0]], dtype=torch.float64),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 5, 4), (3, 4, 4, 4)])
def test_a_convolution_is_its_definition(name, shape):
    kernel, x = KERNELS[name], random_images(shape)
    observation = OperatorObservation.convolution(shape, kernel, noise_std=0.1)
    # Sums of a few terms of size 1 through two transforms of 80 numbers.
    torch.testing.assert_close(observation(x), by_definition(x, kernel), rtol=0, atol=1e-13)
    dense = dense_of(observation)
    y = random_images(shape, seed=3)
    torch.testing.assert_close(observation.adjoint(y).flatten(1), y.flatten(1) @ dense, rtol=0, atol=1e-13)
    single = observation(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), observation(x), rtol=0, atol=1e-5)


def test_a_point_of_light_becomes_the_kernel():
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 2] = 1
    kernel = torch.arange(9.0).reshape(3, 3)
    found = OperatorObservation.convolution((1, 5, 5), kernel, noise_std=0.0)(point)
    torch.testing.assert_close(found[0, 0], functional.pad(kernel, (1, 1, 1, 1)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("shape", "size"), [((2, 6, 9), 3), ((1, 10, 5), 5), ((2, 6), 2), ((1, 6, 12, 6), 6)])
def test_blocks_give_their_means(shape, size):
    observation = OperatorObservation.block_means(shape, size, noise_std=0.1)
    x, axes = random_images(shape), len(shape) - 1
    pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[axes - 1]
    torch.testing.assert_close(observation(x), pool(x, size), rtol=0, atol=1e-15)
    y = random_images(observation.observed_shape)
    torch.testing.assert_close(
        observation.adjoint(y).flatten(1), y.flatten(1) @ dense_of(observation), rtol=0, atol=1e-15
    )
    assert observation.observed_shape == (shape[0], *(n // size for n in shape[1:]))


@pytest.mark.parametrize("size", [2, 4])
def test_small_images_are_what_the_haar_basis_shows_at_full_size(size):
    small = OperatorObservation.block_means(SHAPE, size, noise_std=0.1)
    whole = LinearObservation.block_means(SHAPE, size, noise_std=0.1 * size)
    x = random_images(SHAPE)
    torch.testing.assert_close(
        small(x).repeat_interleave(size, -1).repeat_interleave(size, -2), whole(x), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("name", OPERATORS)
def test_the_norm_is_the_largest_singular_value(name):
    observation = OPERATORS[name](SHAPE, 0.1)
    # Twenty iterations separate values a few hundredths apart.
    assert observation.largest == pytest.approx(torch.linalg.matrix_norm(dense_of(observation), 2).item(), rel=0.05)


def test_a_symmetric_kernel_is_written_in_a_basis_of_waves_and_a_motion_is_not():
    symmetric = torch.tensor([[0.1, 0.0, 0.2], [0.1, 0.2, 0.1], [0.2, 0.0, 0.1]], dtype=torch.float64)
    basis, x = HartleyBasis(SHAPE), random_images(SHAPE)
    observation = OperatorObservation.convolution(SHAPE, symmetric, noise_std=0.3)
    same = observation.in_basis(basis)
    assert isinstance(same, LinearObservation)
    assert same.noise_std == 0.3
    torch.testing.assert_close(same(x), observation(x), rtol=0, atol=1e-14)
    torch.testing.assert_close(same(x), by_definition(x, symmetric), rtol=0, atol=1e-14)
    assert observation.in_basis(CosineBasis(SHAPE)) is None
    assert OPERATORS["motion"](SHAPE, 0.1).in_basis(basis) is None
    assert OPERATORS["small"](SHAPE, 0.1).in_basis(PixelBasis(SHAPE)) is None
    with pytest.raises(ValueError, match="basis must be one of signals of shape"):
        observation.in_basis(CosineBasis((3, 4, 5)))


class Mixing(nn.Module):
    """A matrix between the channels, as a module."""

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, x):
        return torch.einsum("ij,bj...->bi...", self.weights.to(x), x)


def test_modules_are_functions_too_and_move_along():
    weights = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]])
    observation = OperatorObservation(SHAPE, Mixing(weights), Mixing(weights.T), noise_std=0.1)
    assert observation.observed_shape == (3, 4, 4)
    assert len([*observation.buffers()]) == 2
    assert "(2, 4, 4) -> (3, 4, 4), noise_std=0.1" in repr(observation)
    moved = OPERATORS["motion"](SHAPE, 0.1).to("meta")
    assert all(buffer.is_meta for buffer in moved.buffers())


def test_rounding_a_model_does_not_round_a_kernel():
    observation, x = OPERATORS["motion"](SHAPE, 0.1), random_images(SHAPE)
    before = observation(x)
    assert torch.equal(observation.half()(x), before)
    assert not observation.state_dict()


def test_observations_have_the_noise_they_say():
    observation = OPERATORS["projections"](SHAPE, 0.4)
    y = observation.observe(torch.zeros((4000, *SHAPE), dtype=torch.float64), generator=seeded())
    assert y.shape == (4000, 16)
    # Five standard errors of a variance from 64000 numbers.
    assert y.var().item() == pytest.approx(0.16, rel=5 * math.sqrt(2 / 64000))


# ---- masks for rows ------------------------------------------------------------------------------------------------

SEEN = torch.rand((2, *SHAPE), generator=seeded(5)) > 0.4


@pytest.mark.parametrize("name", ["motion", "blur", "mask"])
def test_what_is_not_visible_is_not_read(name):
    made = {
        "motion": OPERATORS["motion"](SHAPE, 0.1),
        "blur": LinearObservation.blur(SHAPE, 1.0, noise_std=0.1),
        "mask": LinearObservation.mask(SHAPE, torch.arange(4) > 0, noise_std=0.1),
    }
    observation = made[name]
    masked, x, y = observation.seen_where(SEEN), random_images(SHAPE), random_images(SHAPE, seed=1)
    hidden = torch.where(SEEN, y, math.nan)
    really = SEEN & (torch.arange(4) > 0) if name == "mask" else SEEN
    expected = torch.where(really, y - observation(x), 0.0)
    torch.testing.assert_close(masked.residual(hidden, x), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(masked(x), torch.where(really, observation(x), 0.0), rtol=0, atol=1e-14)
    forth, back = (masked(x) * y).sum(), (x * masked.adjoint(hidden)).sum()
    torch.testing.assert_close(forth, back, rtol=1e-12, atol=1e-12)
    square = expected.flatten(1).square().sum(1) / really.flatten(1).sum(1)
    torch.testing.assert_close(masked.mean_square(expected), square, rtol=1e-14, atol=0)
    if name == "mask":
        basis, gain = masked.diagonal
        assert basis is observation.basis
        torch.testing.assert_close(gain * x, masked(x), rtol=0, atol=0)
    else:
        assert masked.diagonal is None
    filled = torch.where(really, y, observation(x))
    torch.testing.assert_close(masked.filled(hidden, x), filled, rtol=0, atol=1e-14)


def test_masks_of_masks_are_masks():
    observation, other = OPERATORS["motion"](SHAPE, 0.1).seen_where(SEEN), SEEN.roll(1, -1)
    x = random_images(SHAPE)
    assert torch.equal(observation.seen_where(other)(x), torch.where(other, observation(x), 0.0))
    # One row, for all of a batch, with axes that broadcast.
    row = torch.tensor([True, False, True, True])[None, None, None]
    assert torch.equal(OPERATORS["motion"](SHAPE, 0.1).seen_where(row)(x) != 0, row.expand_as(x))


# ---- errors --------------------------------------------------------------------------------------------------------


def doubled(x):
    return 2 * x


def observing(forward=doubled, adjoint=doubled, noise_std=0.1):
    return lambda: OperatorObservation(SHAPE, forward, adjoint, noise_std=noise_std)


def convolving(kernel, shape=SHAPE):
    return lambda: OperatorObservation.convolution(shape, kernel, noise_std=0.1)


@pytest.mark.usefixtures("as_in_production")
@refusals(
    (observing(adjoint=lambda y: y / 2), ValueError, "adjoint must be forward's adjoint.*not an inverse"),
    (observing(lambda x: x.roll(1, -1), lambda y: y.roll(1, -1)), ValueError, "adjoint must be forward's adjoint"),
    (observing(lambda x: 2 * x + 1), ValueError, "check that forward is linear"),
    (observing(lambda x: 2 * x.flip(0)), ValueError, "treats each row by itself"),
    (observing(lambda x: x * math.nan), ValueError, "adjoint must be forward's adjoint"),
    (observing(lambda x: x.sum((1, 2, 3))), ValueError, r"forward must return a batch.*\(2, ...\).*shape \(2,\)"),
    (observing(lambda x: x[:1]), ValueError, r"forward must return a batch.*shape \(1, 2, 4, 4\)"),
    (observing(adjoint=lambda y: y[:, :1]), ValueError, r"adjoint must return.*\(2, 2, 4, 4\).*shape \(2, 1, 4, 4\)"),
    (
        observing(lambda x: x.float()),
        TypeError,
        r"forward must keep dtype and device.*returned torch.float32.*table.to",
    ),
    (observing(lambda x: x.numpy()), TypeError, "what forward returns must be a Tensor"),
    (observing(adjoint=torch.ones(3)), TypeError, "adjoint must be a function of a batch of signals"),
    (observing(noise_std=-0.1), ValueError, "noise_std must be finite and.*got -0.1"),
    (convolving(torch.ones(5, 2)), ValueError, r"kernel must lie on the last axes of \(2, 4, 4\).*got shape \(5, 2\)"),
    (convolving(torch.ones(1, 1, 1, 1)), ValueError, "kernel must lie on the last axes"),
    (convolving(torch.tensor(1.0)), ValueError, "kernel must lie on the last axes"),
    (convolving(torch.tensor([1, 2])), TypeError, "kernel must be a real floating-point tensor"),
    (convolving(torch.tensor([1.0, math.nan])), ValueError, "kernel must be finite numbers, got nan"),
    (
        lambda: OperatorObservation.block_means(SHAPE, 3, noise_std=0.1),
        ValueError,
        r"size must divide all axes of \(2, 4, 4\) but the first.*got 3",
    ),
    (lambda: OperatorObservation.block_means(SHAPE, 1, noise_std=0.1), ValueError, "size must be at least 2"),
    (lambda: OPERATORS["small"](SHAPE, 0.1)(random_images((2, 4, 5))), ValueError, "x must have shape"),
    (lambda: OPERATORS["small"](SHAPE, 0.1).adjoint(random_images(SHAPE)), ValueError, "y must have shape"),
    (
        lambda: OPERATORS["motion"](SHAPE, 0.1).seen_where(SEEN.float()),
        TypeError,
        "visible must be boolean.*got torch.float32: pass visible != 0",
    ),
    (
        lambda: OPERATORS["motion"](SHAPE, 0.1).seen_where(SEEN[:, :, :3]),
        ValueError,
        r"visible must broadcast to the observations' shape \(2, 2, 4, 4\), got \(2, 2, 3, 4\)",
    ),
)
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
