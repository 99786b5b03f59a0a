"""Linear observations against dense matrices, pooling, masking, and the processes they are named after."""

import math

import pytest
import torch
from dense_reference import matrix
from support import refusals

from unmelt.degradations import (
    BlurringDiffusion,
    CosineBasis,
    EigenBasis,
    FourierBasis,
    HaarBasis,
    HeatDissipation,
    IsotropicDiffusion,
    PixelBasis,
    RectifiedFlowSchedule,
    VariancePreservingBlur,
    opponent_basis,
)
from unmelt.samplers.guidance import LinearObservation
from unmelt.testing.strategies import random_images

SHAPE = (2, 4, 4)


def seeded(seed=11):
    return torch.Generator().manual_seed(seed)


def eigenbasis():
    symmetric = torch.randn((32, 32), generator=seeded(), dtype=torch.float64)
    return EigenBasis((32,), symmetric + symmetric.mT)


BASES = {
    "pixel": lambda: PixelBasis(SHAPE),
    "cosine": lambda: CosineBasis(SHAPE),
    "fourier": lambda: FourierBasis(SHAPE),
    "haar": lambda: HaarBasis(SHAPE),
    "eigen": eigenbasis,
}


@pytest.mark.parametrize("name", BASES)
def test_an_observation_is_its_dense_matrix_which_is_symmetric(name):
    basis = BASES[name]()
    gain = torch.randn(basis.shape, generator=seeded(3), dtype=torch.float64)
    observation = LinearObservation(basis, gain, noise_std=0.0)
    dense = matrix(basis) @ torch.diag(gain.flatten()) @ matrix(basis).T
    x = random_images(basis.shape)
    # Sums of 32 terms of size 1.
    torch.testing.assert_close(observation(x).flatten(1), x.flatten(1) @ dense.T, rtol=0, atol=1e-13)
    a, b = random_images(basis.shape, seed=1), random_images(basis.shape, seed=2)
    torch.testing.assert_close((observation(a) * b).sum(), (a * observation(b)).sum(), rtol=1e-12, atol=1e-12)
    assert observation(x.float()).dtype == torch.float32


@pytest.mark.parametrize("width", [0.0, 0.7, 3.0])
def test_a_blur_is_what_heat_does(width):
    x, observation = random_images(SHAPE), LinearObservation.blur(SHAPE, width, noise_std=0.1)
    if width == 0:
        torch.testing.assert_close(observation(x), x, rtol=0, atol=1e-13)
        return
    heat = HeatDissipation(SHAPE, blur_sigma_min=0.1, blur_sigma_max=width)
    torch.testing.assert_close(observation(x), heat.degrade(x, 1.0)[0], rtol=0, atol=1e-13)
    # No light is lost.
    torch.testing.assert_close(observation(x).mean((-1, -2)), x.mean((-1, -2)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "process",
    [HeatDissipation(SHAPE, blur_sigma_max=4.0, sigma=0.03), BlurringDiffusion(SHAPE), IsotropicDiffusion(SHAPE)],
    ids=["heat", "blurring", "isotropic"],
)
def test_a_process_observes_as_it_degrades(process, t):
    observation = LinearObservation.of_process(process, t)
    x = random_images(SHAPE)
    torch.testing.assert_close(observation(x), process.degrade(x, t)[0], rtol=0, atol=1e-13)
    assert observation.noise_std == process.sigma(t).max().item()
    noise = observation.observe(x, generator=seeded()) - observation(x)
    # Five standard errors of a standard deviation from 64 numbers.
    assert noise.std().item() == pytest.approx(process.sigma(t).max().item(), rel=5 / math.sqrt(2 * 64))
    assert LinearObservation.of_process(process, t, noise_std=0.2).noise_std == 0.2


def test_a_process_whose_noise_has_a_colour_needs_a_number():
    process = VariancePreservingBlur(SHAPE)
    with pytest.raises(
        ValueError, match="noise of VariancePreservingBlur differs between coefficients.*give noise_std"
    ):
        LinearObservation.of_process(process, 0.5)
    observation = LinearObservation.of_process(process, 0.5, noise_std=0.1)
    torch.testing.assert_close(observation.gain, process.alpha(0.5)[0].expand(SHAPE))
    with pytest.raises(ValueError, match="t must be one time, got 2"):
        LinearObservation.of_process(process, torch.tensor([0.2, 0.5]))


@pytest.mark.parametrize("levels", [1, 2])
def test_blocks_give_their_means(levels):
    x, size = random_images(SHAPE), 2**levels
    small = torch.nn.functional.avg_pool2d(x, size)
    enlarged = small.repeat_interleave(size, -1).repeat_interleave(size, -2)
    observation = LinearObservation.block_means(SHAPE, size, noise_std=0.3)
    torch.testing.assert_close(observation(x), enlarged, rtol=0, atol=1e-14)
    # Noise of the small image's pixels: 2^(-levels) times that of a coefficient, on two axes.
    many = torch.zeros((4000, *SHAPE), dtype=torch.float64)
    noisy = torch.nn.functional.avg_pool2d(observation.observe(many, generator=seeded()), size)
    # Five standard errors of a variance from at least 8000 numbers.
    assert noisy.var().item() == pytest.approx((0.3 / size) ** 2, rel=5 * math.sqrt(2 / 8000))


def test_a_mask_hides_pixels_and_what_they_hold_is_never_read():
    visible = torch.tensor([True, False, True, True])
    observation = LinearObservation.mask(SHAPE, visible, noise_std=0.1)
    x = random_images(SHAPE)
    torch.testing.assert_close(observation(x), x * visible, rtol=0, atol=0)
    y = observation.observe(x, generator=seeded())
    filled = torch.where(visible, y, torch.nan)
    assert torch.equal(observation.residual(filled, x), observation.residual(y, x))
    assert torch.equal(observation.residual(y, x), torch.where(visible, y - x, 0.0))


def test_a_boolean_gain_is_a_mask():
    visible = torch.tensor([True, False, True, True])
    x, observation = random_images(SHAPE), LinearObservation(PixelBasis(SHAPE), visible, noise_std=0.1)
    assert torch.equal(observation(x), LinearObservation.mask(SHAPE, visible, noise_std=0.1)(x))
    # A gain of 255 among others is a gain.
    gain = torch.tensor([255.0, 1.0, 0.0, 2.0])
    assert torch.equal(LinearObservation(PixelBasis(SHAPE), gain, noise_std=0.1)(x), gain * x)


def test_residuals_are_the_coefficients_of_the_misfit_where_something_is_observed():
    basis = CosineBasis(SHAPE)
    gain = torch.linspace(0, 1, 16, dtype=torch.float64).reshape(4, 4)
    observation = LinearObservation(basis, gain, noise_std=0.1)
    x, y = random_images(SHAPE), random_images(SHAPE, seed=1)
    expected = basis.forward(y) - gain * basis.forward(x)
    expected[..., 0, 0] = 0
    torch.testing.assert_close(observation.residual(y, x), expected, rtol=0, atol=1e-14)
    assert observation.residual(y, x.float()).dtype == torch.float64
    assert observation.residual(y.float(), x.float()).dtype == torch.float32


def test_observations_have_the_mean_and_the_noise_they_say():
    """Of 20000 draws, within five standard errors, in the basis and in pixels."""
    observation = LinearObservation.blur((1, 2, 3), 0.8, noise_std=0.4)
    x = random_images((1, 2, 3), batch=1)
    y = observation.observe(x.expand(20000, -1, -1, -1), generator=seeded())
    assert ((y.mean(0) - observation(x)[0]).abs() < 5 * 0.4 / math.sqrt(20000)).all()
    for values in (y, observation.basis.forward(y)):
        assert ((values.var(0) / 0.16 - 1).abs() < 5 * math.sqrt(2 / 20000)).all()
    assert torch.equal(observation.observe(x, generator=seeded()), observation.observe(x, generator=seeded()))


def test_without_noise_nothing_is_drawn():
    observation, generator = LinearObservation.blur(SHAPE, 1.0, noise_std=0.0), seeded()
    x = random_images(SHAPE)
    assert torch.equal(observation.observe(x, generator=generator), observation(x))
    assert torch.equal(generator.get_state(), seeded().get_state())


def test_an_observation_of_all_colours_alike_is_one_of_their_sums_and_differences():
    shape = (3, 4, 4)
    opponent, x = opponent_basis(shape), random_images(shape)
    hidden = torch.where(CosineBasis(shape).laplacian_eigenvalues() > 2, 0.0, 0.7)
    for gain in (LinearObservation.blur(shape, 1.0, noise_std=0.1).gain, hidden):
        observation = LinearObservation(CosineBasis(shape), gain, noise_std=0.1)
        same = observation.in_basis(opponent)
        assert same.basis is opponent
        assert same.noise_std == 0.1
        # float64's rounding over sums of 16 and of 3.
        torch.testing.assert_close(same(x), observation(x), rtol=0, atol=1e-14)
        assert torch.equal(same.gain == 0, (gain == 0).expand(shape))
    assert observation.in_basis(observation.basis) is observation


def test_what_a_basis_mixes_is_not_written_in_it():
    shape = (3, 4, 4)
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1)
    mask, cosines = LinearObservation.mask(shape, torch.arange(4) < 3, noise_std=0.0), CosineBasis(shape)
    assert mask.in_basis(cosines) is None
    assert LinearObservation(cosines, red, noise_std=0.0).in_basis(opponent_basis(shape)) is None
    assert mask.in_basis(HaarBasis(shape, scales=1)) is None
    with pytest.raises(ValueError, match="basis must be one of signals of shape"):
        mask.in_basis(CosineBasis((3, 4, 5)))


def test_rounding_a_model_does_not_round_the_gains():
    observation = LinearObservation.blur(SHAPE, 0.5, noise_std=0.1)
    before = observation.gain.clone()
    assert torch.equal(observation.half().gain, before)
    assert observation.gain.dtype == torch.float64
    assert not observation.state_dict()
    assert "observed=32 of 32, noise_std=0.1" in repr(observation)


def test_functions_can_still_be_applied_to_all_modules_of_a_model():
    seen = []
    LinearObservation.blur(SHAPE, 0.5, noise_std=0.1).apply(seen.append)
    assert len(seen) == 2


X, PIXELS, ONE = random_images(SHAPE), PixelBasis(SHAPE), torch.ones(())
BLUR = LinearObservation.blur(SHAPE, 1.0, noise_std=0.1)


@pytest.mark.usefixtures("as_in_production")
@refusals(
    (lambda: LinearObservation(PIXELS, ONE * math.nan, noise_std=0.1), ValueError, "gain must be finite.*got nan"),
    (
        lambda: LinearObservation(PIXELS, torch.ones(3), noise_std=0.1),
        ValueError,
        r"gain must broadcast to the basis's shape \(2, 4, 4\), got \(3,\)",
    ),
    (lambda: LinearObservation(SHAPE, ONE, noise_std=0.1), TypeError, "basis must be a Basis"),
    (lambda: LinearObservation(PIXELS, 1.0, noise_std=0.1), TypeError, "gain must be a Tensor"),
    (lambda: LinearObservation(PIXELS, 1j * ONE, noise_std=0.1), TypeError, "gain must be real, got torch.complex"),
    # A mask out of a PNG, which would multiply pixels by 255.
    (
        lambda: LinearObservation(PIXELS, torch.full(SHAPE, 255, dtype=torch.uint8), noise_std=0.1),
        TypeError,
        "gain must be a floating-point tensor, or a boolean one, got torch.uint8: of a mask pass mask != 0",
    ),
    (
        lambda: LinearObservation(PIXELS, 255.0 * (torch.arange(4) > 1), noise_std=0.1),
        ValueError,
        "gain holds 0 and 255 alone, as a mask does that was read from a picture: pass mask != 0",
    ),
    (
        lambda: LinearObservation.mask(SHAPE, 255.0 * (torch.arange(4) > 1), noise_std=0.1),
        TypeError,
        "visible must be boolean.*got torch.float32: pass visible != 0",
    ),
    (
        lambda: LinearObservation.mask(SHAPE, torch.full(SHAPE, 255, dtype=torch.uint8), noise_std=0.1),
        TypeError,
        "visible must be boolean.*got torch.uint8: pass visible != 0",
    ),
    (
        lambda: LinearObservation.mask(SHAPE, torch.ones(3) > 0, noise_std=0.1),
        ValueError,
        r"visible must broadcast to the signal's shape \(2, 4, 4\), got \(3,\)",
    ),
    *(
        (lambda s=s: LinearObservation(PIXELS, ONE, noise_std=s), ValueError, f"noise_std must be finite and.*got {s}")
        for s in (-0.1, math.inf, math.nan)
    ),
    *(
        (lambda w=w: LinearObservation.blur(SHAPE, w, noise_std=0.1), ValueError, f"width must be finite and.*got {w}")
        for w in (-1.0, math.inf, math.nan)
    ),
    *(
        (lambda n=n, shape=shape: LinearObservation.block_means(shape, n, noise_std=0.1), ValueError, words)
        for n, shape, words in (
            (1, SHAPE, "size must be at least 2.*got 1"),
            (
                3,
                (2, 6, 6),
                r"size must be a power of two \(2, 4, 8, ...\).*got 3: OperatorObservation.block_means takes",
            ),
            (8, SHAPE, r"divides all axes of \(2, 4, 4\) but the first.*got 8"),
        )
    ),
    (lambda: BLUR(X[0]), ValueError, r"x must have shape \(batch, 2, 4, 4\), got \(2, 4, 4\).*x\[None\]"),
    (lambda: BLUR.residual(X[:, :1], X), ValueError, "y must have shape"),
    (lambda: BLUR.residual(X, X[:, :1]), ValueError, "x must have shape"),
)
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_gains_that_noise_schedules_leave_at_the_end_are_zero():
    process = IsotropicDiffusion(SHAPE, RectifiedFlowSchedule())
    observation = LinearObservation.of_process(process, 1.0)
    assert not observation.gain.any()
    assert not observation.residual(random_images(SHAPE), random_images(SHAPE)).any()
