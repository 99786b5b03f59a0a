"""Restarts: what images start from, against the process itself; and how what comes back is distributed."""

import math

import pytest
import torch
from sampler_support import SHAPE, made, seeded
from sampler_support import heat as weak_heat
from support import refusals
from torch import nn
from torch.nn.functional import avg_pool1d, avg_pool2d, avg_pool3d

from unmelt.degradations import (
    BlurringDiffusion,
    ConstantNoise,
    CosineSchedule,
    FourierBasis,
    GaussianBlur,
    IsotropicDiffusion,
    Pixelation,
    PowerBlur,
    PredictX,
    SineBlur,
    TabulatedBlur,
)
from unmelt.models import AbstractDenoiser, DegradedDataPrior, Denoiser, GaussianOracle
from unmelt.samplers import Start, blurred_start, restart, time_of_blur, upsampled_start
from unmelt.samplers.guidance import CovarianceGuidance, LinearObservation


def images(shape=SHAPE, count=3):
    return torch.rand((count, *shape), generator=seeded(5), dtype=torch.float64)


def heat(shape=SHAPE, **settings):
    return weak_heat(shape=shape, **{"sigma": 0.1, **settings})


def started(denoiser, steps=None):
    return made(denoiser, steps=steps, prior=DegradedDataPrior.fit(denoiser.process, images(denoiser.process.shape)))


class First(AbstractDenoiser):
    """Keeps the first latents and the time that it is asked about."""

    def __init__(self, process):
        super().__init__(process)
        self.seen = None

    def forward(self, z_t, t, condition=None, given=None):
        if self.seen is None:
            self.seen = z_t, float(t)
        return torch.zeros_like(z_t)


def first_latents(process, start, **settings):
    denoiser = First(process)
    restart(started(denoiser, 4), start, generator=seeded(), **settings)
    return denoiser.seen


# ---- what runs start from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_std", [0.0, 0.06])
def test_missing_noise_is_added(noise_std):
    process, count = heat(), 2000
    y = process.degrade(images(count=1), 0.6)[0]
    z, t = first_latents(process, Start(y, 0.6, noise_std), count=count)
    assert t == pytest.approx(0.6, abs=1e-12)
    residual = z - y
    missing = math.sqrt(0.1**2 - noise_std**2)
    # Six standard errors of the mean and of the standard deviation of 16 x 2000 normal numbers.
    numbers = count * 16
    assert residual.mean().abs() < 6 * missing / numbers**0.5
    assert residual.std().item() == pytest.approx(missing, rel=6 / (2 * numbers) ** 0.5)
    # White: every pixel has the same, six standard errors again.
    assert ((residual.std(0) / missing) - 1).abs().max() < 6 / (2 * count) ** 0.5


def test_missing_noise_may_differ_between_coefficients():
    class Coloured(GaussianBlur):
        def log_sigma(self, t):
            return torch.log(0.1 + 0.1 * self.eigenvalues) + 0 * self.expand_times(t)

    process, count = Coloured(SHAPE, SineBlur(2.0), ConstantNoise(0.1)), 2000
    y = process.degrade(images(count=1), 0.6)[0]
    u = process.basis.forward(first_latents(process, Start(y, 0.6, 0.05), count=count)[0] - y)
    expected = (process.sigma(0.6)[0].square() - 0.05**2).sqrt()
    # Six standard errors of a standard deviation.
    assert (u.std(0) / expected - 1).abs().max() < 6 / (2 * count) ** 0.5


def test_images_with_all_of_the_noise_start_as_they_are():
    process = heat()
    z = process.marginal(images(), 0.6).sample(generator=seeded())
    # exp(log 0.1) is 1e-17 above 0.1, which leaves noise of the root of 0.2 times that, 2e-9.
    torch.testing.assert_close(first_latents(process, Start(z, 0.6, 0.1))[0], z, rtol=0, atol=2e-8)


def test_reconstructions_are_distributed_as_the_data():
    """Exact latents and an exact denoiser: what comes back from x degraded is distributed as x is."""
    # Level 1 is hardly blurred: the step to the data is as short as any other.
    process, count = heat(levels=100, blur_sigma_min=0.05), 1000
    mean = torch.randn(SHAPE, generator=seeded(1), dtype=torch.float64)
    variance = 0.2 + torch.rand(SHAPE, generator=seeded(2), dtype=torch.float64)
    oracle = GaussianOracle(process, mean, variance)
    sampler = started(oracle)
    x = oracle.sample(count, generator=seeded(3))
    (y,) = process.degrade(x, 0.8)
    found = process.basis.forward(restart(sampler, Start(y, 0.8), generator=seeded(4))[:, 0])
    # Six standard errors; and what 80 steps of the Markov chain get wrong, first order in their number.
    torch.testing.assert_close(found.mean(0), mean, rtol=0, atol=6 * (1.2 / count) ** 0.5)
    torch.testing.assert_close(
        found.var(0) / variance, torch.ones_like(variance), rtol=0, atol=6 * (2 / count) ** 0.5 + 2 / 80
    )


def test_reconstructions_are_grouped_by_image_and_differ():
    """Hardly degraded, each group lies around its own image."""
    process = heat(sigma=0.01)
    oracle = GaussianOracle(process, torch.zeros(SHAPE), torch.ones(SHAPE))
    sampler = started(oracle)
    x = images()
    start = Start(process.degrade(x, 0.5 / 12)[0], 0.5 / 12)
    found = restart(sampler, start, count=4, generator=seeded())
    assert found.shape == (3, 4, *SHAPE)
    # Blur of a quarter pixel and noise of 0.01, against images 0.5 apart in the root mean square of 16 pixels.
    assert (found - x[:, None]).square().mean((2, 3, 4)).sqrt().max() < 0.1
    assert torch.cdist(x.flatten(1), x.flatten(1)).fill_diagonal_(9).min() / 4 > 0.2
    assert (found[:, 0] - found[:, 1]).abs().max() > 1e-3


def test_batches_do_not_matter_and_runs_have_noise_of_their_own():
    process = heat()
    oracle = GaussianOracle(process, torch.zeros(SHAPE), torch.ones(SHAPE))
    sampler = started(oracle)
    # All of the noise is there already, so that only the steps' makes a difference.
    start = Start(process.marginal(images(), 0.8).sample(generator=seeded()), 0.8, 0.1)
    before = torch.get_rng_state()
    found = restart(sampler, start, count=4, generator=seeded())
    split = restart(sampler, start, count=4, generator=seeded(), batch_size=5)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(split, found, rtol=0, atol=1e-12)
    pairs = found[:, :, None] - found[:, None]
    assert pairs.flatten(3).abs().amax(3)[:, ~torch.eye(4, dtype=torch.bool)].min() > 0.01


class Classes(nn.Module):
    """Says the class of each row, as the image's brightness."""

    def forward(self, z, t, condition=None):
        return 0.0 * z + (0 if condition is None else condition.reshape(-1, 1, 1, 1))


def test_restarts_keep_each_image_s_condition():
    denoiser = Denoiser(Classes(), IsotropicDiffusion(SHAPE), prediction=PredictX())
    found = restart(started(denoiser, 6), Start(images(count=2), 0.5), count=3, condition=torch.tensor([1, 4]))
    assert (found[0] == 1).all()
    assert (found[1] == 4).all()
    with pytest.raises(ValueError, match="condition must have one entry for each of 3 rows"):
        restart(started(denoiser), Start(images(), 0.5), condition=torch.tensor([1, 4]))


def test_restarts_keep_what_each_image_is_given():
    denoiser = Denoiser(Classes(), IsotropicDiffusion(SHAPE), prediction=PredictX())
    x, seen = images(count=2), LinearObservation.mask(SHAPE, torch.tensor(True), noise_std=0.0)
    guided = CovarianceGuidance(denoiser, seen, variance=1.0)
    found = restart(made(guided, steps=4), Start(x, 0.5), count=3, given=x)
    # Everything is observed, without noise: only the observation's own rounding is left.
    torch.testing.assert_close(found, x[:, None].expand_as(found).to(found), rtol=0, atol=1e-5)


# ---- the time of a blur -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "blur", [SineBlur(5.0), SineBlur(5.0, power=1.0), PowerBlur(5.0), TabulatedBlur([0.4, 0.5, 2.0, 5.0])]
)
@pytest.mark.parametrize("width", [0.01, 0.3, 1.7, 4.999, 5.0])
def test_the_time_of_a_blur(blur, width):
    process = GaussianBlur(SHAPE, blur, ConstantNoise(0.1))
    t = time_of_blur(process, width)
    assert (t == 1.0) == (width == 5.0)
    # Times are found to 2^-30, and no width changes more than 50 pixels per unit of time but near 0 under a root,
    # where it does by 25 / (2 width).
    assert process.blur_sigma(t).item() == pytest.approx(width, abs=2**-30 * max(50, 25 / (2 * width)))


def test_the_time_of_a_level():
    process = heat(blur_sigma_min=0.5, levels=12)
    width = 0.5 * 6 ** (4 / 11)
    assert time_of_blur(process, width) == pytest.approx(5 / 12, abs=2**-30)


# ---- images that are blurred, or small ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "process",
    [
        heat(),
        BlurringDiffusion(SHAPE, blur_sigma_max=3.0, min_scale=1e-10),
        GaussianBlur(SHAPE, SineBlur(3.0), CosineSchedule(), boundary=FourierBasis),
    ],
    ids=["heat", "blurring", "periodic"],
)
def test_blurred_images_are_what_the_process_makes(process):
    x = images()
    eigenvalues = process.basis.laplacian_eigenvalues()
    blurred = process.basis.inverse((-eigenvalues * 1.3**2 / 2).exp() * process.basis.forward(x))
    start = blurred_start(process, blurred, width=1.3, noise_std=0.02)
    # Times are found to 2^-30.
    torch.testing.assert_close(start.images, process.degrade(x, start.time)[0], rtol=0, atol=1e-8)
    scale = process.noise.log_alpha(process.as_times(start.time)).exp().item()
    assert start.noise_std == pytest.approx(0.02 * scale)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("noise", [ConstantNoise(0.1), CosineSchedule()])
def test_block_means_are_states_of_pixelation(factor, noise):
    process = Pixelation((3, 8, 16), noise=noise)
    x = images((3, 8, 16))
    start = upsampled_start(process, avg_pool2d(x, factor))
    assert start.time == pytest.approx(math.log2(factor) / 3)
    torch.testing.assert_close(start.images, process.degrade(x, start.time)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "pool"), [((2, 24), avg_pool1d), ((3, 12, 18), avg_pool2d), ((1, 12, 6, 18), avg_pool3d)]
)
@pytest.mark.parametrize("factor", [2, 3])
def test_block_means_of_smooth_images_are_blurred_exactly(shape, pool, factor):
    """Without frequencies that a small image cannot hold nothing is mixed in: the enlarged one is the blurred one."""
    process = heat(shape, blur_sigma_min=0.2, blur_sigma_max=6.0)
    u = torch.randn((2, *shape), generator=seeded(), dtype=torch.float64)
    for axis, size in enumerate(shape[1:], start=2):
        column = (torch.arange(size) < size // factor).reshape(-1, *(1,) * (len(shape) - axis))
        u = u * column
    x = process.basis.inverse(u)
    start = upsampled_start(process, pool(x, factor), left=0.2)
    torch.testing.assert_close(start.images, process.degrade(x, start.time)[0], rtol=0, atol=1e-9)
    # The first frequency that is lacking: n = N / m, of eigenvalue (pi n / N)^2.
    lacking = (shape[0] // 2, *(0,) * (len(shape) - 2), shape[-1] // factor)
    assert process.alpha(start.time).expand(1, *shape)[(0, *lacking)].item() == pytest.approx(0.2, rel=1e-7)


def test_a_narrower_axis_decides_how_much_to_blur():
    process = heat((1, 8, 8), anisotropy=(1.0, 0.5), blur_sigma_max=20.0)
    start = upsampled_start(process, images((1, 4, 4)), left=0.2)
    assert process.alpha(start.time)[0, 0, 0, 4].item() == pytest.approx(0.2, rel=1e-7)
    assert process.alpha(start.time)[0, 0, 4, 0].item() < 0.2


# ---- errors -----------------------------------------------------------------------------------------------------


def restarted(*start, **settings):
    return lambda: restart(started(First(heat())), Start(*start), **settings)


def enlarged(process, shape, **settings):
    return lambda: upsampled_start(process, images(shape), **settings)


EIGHT = heat((1, 8, 8), blur_sigma_max=8.0)
PERIODIC = GaussianBlur((1, 8, 8), SineBlur(8.0), ConstantNoise(0.1), boundary=FourierBasis)


@pytest.mark.usefixtures("as_in_production")
@refusals(
    (restarted(images(), 0.0), ValueError, r"start\.time must lie in \(0, 1\], got 0"),
    (
        restarted(images((1, 4, 5)), 0.5),
        ValueError,
        r"start\.images must have shape \(batch, 1, 4, 4\), got \(3, 1, 4, 5\)",
    ),
    (restarted(images(), 0.5, count=0), ValueError, "count must be at least 1"),
    (
        restarted(images(), 0.5, 0.11),
        ValueError,
        r"noise_std must lie in \[0, 0\.1\].*got 0\.11: start at a later time",
    ),
    (restarted(images(), 0.5, -0.1), ValueError, "noise_std must lie in .*got -0.1"),
    *(
        (lambda w=w: time_of_blur(heat(), w), ValueError, rf"width must be a blur in \(0, 3\] pixels.*got {w}")
        for w in (3.1, 0.0, -1.0, float("nan"))
    ),
    (
        lambda: time_of_blur(IsotropicDiffusion(SHAPE), 1.0),
        TypeError,
        r"process must be a GaussianBlur.*make Start\(images, t\)",
    ),
    (
        enlarged(IsotropicDiffusion(SHAPE), (1, 2, 2)),
        TypeError,
        "process must be a Pixelation or a GaussianBlur",
    ),
    *(
        (enlarged(EIGHT, shape), ValueError, r"small must have shape \(count, 1, \.\.\.\) with the axes \(8, 8\)")
        for shape in ((1, 8, 8), (1, 3, 3), (1, 4, 2), (2, 4, 4), (1, 16, 16))
    ),
    *((enlarged(EIGHT, (1, 4, 4), left=left), ValueError, r"left must lie in \(0, 1\)") for left in (0.0, 1.0, -1.0)),
    (
        enlarged(Pixelation((1, 8, 8), scales=1), (1, 2, 2)),
        ValueError,
        r"melts blocks of \[2\] pixels along each axis, not of 4",
    ),
    (enlarged(PERIODIC, (1, 4, 4)), ValueError, "enlarged by cosines"),
    (enlarged(heat((1, 8, 8), blur_sigma_max=1.0), (1, 4, 4)), ValueError, r"width must be a blur in \(0, 1\]"),
)
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
