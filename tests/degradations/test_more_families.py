"""The other families against their papers' formulas, other people's code, and matrices."""

import math

import numpy as np
import pytest
import torch
from einops import reduce, repeat
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.ndimage import gaussian_filter
from zoo import SHAPE, draw, heat_rates, isotropic, path_laplacian

from unmelt.degradations import (
    BlurringDiffusion,
    ColdBlur,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    EqualSNR,
    FlippedSNR,
    FourierBasis,
    GaussianBlur,
    GeometricNoise,
    GivenVariance,
    GraphHeat,
    HartleyBasis,
    HeatDissipation,
    HeatFlow,
    LinearGaussianProcess,
    LinearSchedule,
    LogSpacedBlur,
    Pixelation,
    PixelBasis,
    PixelMask,
    PowerBlur,
    RectifiedFlowSchedule,
    SequentialMasking,
    SineBasis,
    SineBlur,
    SoftDiffusion,
    SpectralDiffusion,
    VariancePreservingBlur,
    equal_variance_blur,
    estimate_spectrum,
    radial_onset,
    repeated_blur,
)

TIMES = st.floats(0, 1)
INSIDE = st.floats(0.001, 0.999)


def alpha(process, t):
    return process.alpha(t)[0].expand(process.shape).numpy()


def sigma(process, t):
    return process.sigma(t)[0].expand(process.shape).numpy()


def aliasing(*widths):
    """What scipy's kernels, Gaussians sampled at pixels, are off by: their spectrum beyond half the sampling rate."""
    return sum(8 * math.exp(-((math.pi * width) ** 2) / 2) for width in widths if width) + 1e-12


# ---- blurs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "relative"),
    [((40,), (1.0,)), ((24, 30), (1.0, 0.6)), ((24, 30), (0.0, 1.0)), ((12, 14, 16), (0.7, 0.0, 1.0))],
)
@pytest.mark.parametrize(("boundary", "mode"), [(CosineBasis, "reflect"), (FourierBasis, "wrap")])
def test_a_width_for_each_axis_is_scipys_gaussian_filter(shape, relative, boundary, mode):
    process = GaussianBlur((2, *shape), PowerBlur(3.0), ConstantNoise(), anisotropy=relative, boundary=boundary)
    x = draw((2, *shape))
    widths = [3.0 * axis for axis in relative]
    expected = gaussian_filter(x.numpy(), (0, 0, *widths), mode=mode, truncate=12.0)
    ours = process.degrade(x, 1.0)[0].numpy()
    # Noise of size 4 as the picture; kernels wider than the picture are reflected more than once, by scipy too.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=4 * aliasing(*widths))


@given(t=TIMES, seed=st.integers(0, 99))
@pytest.mark.parametrize("anisotropy", [None, (1.0, 1.0), (1.0, 0.3), (0.0, 1.0)])
@pytest.mark.parametrize("boundary", [CosineBasis, FourierBasis, SineBasis])
@pytest.mark.parametrize("size", [(5, 5), (4, 7)])
def test_two_sided_products_are_the_transform_there_and_back(anisotropy, boundary, size, t, seed):
    """`GaussianBlur.degrade` multiplies blur matrices; the generic path transforms. Noise with alpha < 1 fades both."""
    shape = (2, *size)
    process = GaussianBlur(shape, SineBlur(2.0), LinearSchedule(), anisotropy=anisotropy, boundary=boundary)
    x, times = draw(shape, seed=seed), torch.tensor([t, 0.4], dtype=torch.float64)
    generic = LinearGaussianProcess.degrade(process, x, times, 0.2)
    for ours, theirs in zip(process.degrade(x, times, 0.2), generic, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    assert process.degrade(x) == ()


def test_a_subclass_of_a_blur_that_writes_its_own_log_alpha_is_degraded_by_it():
    class Half(HeatDissipation):
        def log_alpha(self, t):
            return super().log_alpha(t) / 2

    half, x = Half(SHAPE, blur_sigma_max=3.0, levels=10), draw(SHAPE)
    torch.testing.assert_close(half.degrade(x, 0.6)[0], half.marginal(x, 0.6).mean, rtol=0, atol=1e-13)


@given(t=TIMES, floor=st.floats(0, 1))
def test_a_floor_keeps_its_share_of_every_frequency(t, floor):
    process = GaussianBlur(SHAPE, PowerBlur(4.0), RectifiedFlowSchedule(), min_scale=floor)
    fade = np.exp(-heat_rates(4, 6) * 16 * t / 2)
    # 1 - d is rounded by 1e-16, which floors below that would feel.
    np.testing.assert_allclose(
        alpha(process, t), np.broadcast_to((1 - t) * ((1 - floor) * fade + floor), SHAPE), rtol=1e-11, atol=2e-16
    )


def test_named_blurs_are_gaussian_blurs():
    """Heat, blurring, soft and cold diffusion are one class with its blur and its noise given."""
    soft = GaussianBlur(SHAPE, PowerBlur(23.0, 1.0), GeometricNoise(0.01, 0.1, until=0.25))
    heat = GaussianBlur(SHAPE, LogSpacedBlur(0.5, 9.0, 20), ConstantNoise(0.02))
    blurring = GaussianBlur(SHAPE, SineBlur(5.0, 1.0), CosineSchedule(-5.0, 5.0), min_scale=0.01)
    for named, plain in (
        (SoftDiffusion(SHAPE), soft),
        (HeatDissipation(SHAPE, blur_sigma_max=9.0, levels=20, sigma=0.02), heat),
        (
            BlurringDiffusion(
                SHAPE, blur_sigma_max=5.0, blur_power=1.0, min_scale=0.01, schedule=CosineSchedule(-5.0, 5.0)
            ),
            blurring,
        ),
    ):
        assert named.levels == plain.levels
        for t in (0.0, 0.01, 0.3, 1.0):
            assert torch.equal(named.alpha(t), plain.alpha(t))
            assert torch.equal(named.sigma(t), plain.sigma(t))


@given(t=TIMES)
def test_soft_diffusion_blurs_at_a_constant_rate_under_a_little_noise(t):
    """Daras et al. (2023), eq. 4: x_t = C_t x_0 + s_t eta, s_t from 0.01 to 0.1 in the first quarter."""
    process = SoftDiffusion(SHAPE)
    expected = np.exp(-heat_rates(4, 6) * (23 * t) ** 2 / 2)
    np.testing.assert_allclose(alpha(process, t), np.broadcast_to(expected, SHAPE), rtol=1e-10, atol=1e-300)
    assert sigma(process, t).max() == pytest.approx(0.01 * 10 ** min(4 * t, 1), rel=1e-13)


def test_soft_diffusion_takes_widths_fitted_to_data():
    data = draw(SHAPE, batch=20)
    blur = equal_variance_blur(estimate_spectrum(CosineBasis(SHAPE), data), maximum=3.0, levels=6)
    process = SoftDiffusion(SHAPE, blur=blur)
    assert process.levels == 6
    removed = [data.var(0).sum() - process.degrade(data, k / 6)[0].var(0).sum() for k in range(7)]
    np.testing.assert_allclose(np.diff(removed), removed[-1].item() / 6, rtol=1e-9)


def test_cold_blur_is_scipys_gaussian_filter_again_and_again():
    """Bansal et al. (2023), section 5.1, with kernels wide enough to be sampled at pixels and pictures that reflect."""
    widths = [1.5, 1.6, 2.0, 1.4]
    process = ColdBlur((2, 24, 20), blur=repeated_blur(widths))
    x = draw((2, 24, 20))
    blurred = x.numpy()
    for step, width in enumerate(widths, start=1):
        blurred = gaussian_filter(blurred, (0, 0, width, width), mode="reflect", truncate=12.0)
        ours = process.degrade(x, step / 4)[0].numpy()
        np.testing.assert_allclose(ours, blurred, rtol=0, atol=4 * aliasing(*widths))


def test_cold_blur_has_the_papers_fifty_steps_and_no_noise():
    process = ColdBlur(SHAPE)
    assert process.levels == 50
    widths = process.blur_sigma(torch.arange(51, dtype=torch.float64) / 50)
    steps = widths.square().diff().sqrt()
    # Differences of squares up to 19 of logarithms rounded by 1e-16.
    np.testing.assert_allclose(steps.numpy(), 0.35 + np.arange(50) / 100, rtol=1e-12)
    x = draw(SHAPE)
    assert torch.equal(process.marginal(x, 0.7).sample(), process.marginal(x, 0.7).mean)


@given(t=TIMES)
def test_variance_preserving_blur_preserves_the_variance_of_every_frequency(t):
    process = VariancePreservingBlur(SHAPE)
    np.testing.assert_allclose(alpha(process, t) ** 2 + sigma(process, t) ** 2, 1, rtol=0, atol=4e-16)


@given(t=st.floats(1e-9, 1e-3))
def test_variance_preserving_blur_has_its_first_noise_to_full_precision(t):
    """sigma^2 = 1 - alpha^2 near t = 0, where 1 - alpha^2 itself would keep no digit."""
    process = VariancePreservingBlur(SHAPE, blur=PowerBlur(3.0, 0.5))
    exponent = 0.1 * t + 19.9 * t**2 / 2 + heat_rates(4, 6) * 9 * t
    np.testing.assert_allclose(sigma(process, t), np.sqrt(-np.expm1(-np.broadcast_to(exponent, SHAPE))), rtol=1e-13)


def test_variance_preserving_blur_is_the_limit_of_the_papers_thousand_steps():
    """Lee et al. (2022): step j multiplies frequency k by sqrt(1 - beta_j) d_k^f(j)."""
    process, steps = VariancePreservingBlur((1, 6, 5)), 1000
    j = np.arange(1, steps + 1)
    response = np.exp(-heat_rates(6, 5) * 0.4**2 / 2)
    diffusion = np.cumsum(np.log(1 - np.linspace(1e-4, 0.02, steps)) / 2)
    exponents = np.cumsum((0.15 / 0.4) ** 2 * (j / steps) ** 4)
    for i in (100, 300, 1000):
        blur = exponents[i - 1] * np.log(response)
        ours = process.at(i / steps).log_alpha[0].numpy()
        # A sum of i steps of j^4 is 5 / (2 i) larger than the integral. The rate's terms: see the linear schedule.
        room = 2.6 / i * np.abs(blur) + 0.01 * np.abs(diffusion[i - 1]) + 1.01e-5 * i
        assert (np.abs(ours - blur - diffusion[i - 1]) <= room).all()


# ---- flows and coloured noise -------------------------------------------------------------------------------


@given(t=INSIDE, rate=st.floats(0, 2), scale=st.floats(0.1, 3))
def test_heat_flow_fades_by_a_power_of_time_for_each_frequency(t, rate, scale):
    process = HeatFlow(SHAPE, rate=rate, noise_scale=scale)
    expected = np.broadcast_to((1 - t) ** (1 + rate * heat_rates(4, 6)), SHAPE)
    # The power reaches 40: logs up to 270, rounded once.
    np.testing.assert_allclose(alpha(process, t), expected, rtol=1e-12)
    np.testing.assert_allclose(sigma(process, t), np.full(SHAPE, scale * t), rtol=1e-14)


@given(t=INSIDE, rate=st.floats(0.01, 2), seed=st.integers(0, 99))
def test_heat_flow_is_a_gaussian_blur_times_what_is_left(t, rate, seed):
    width = math.sqrt(-2 * rate * math.log1p(-t))
    blur = GaussianBlur(SHAPE, PowerBlur(width), ConstantNoise())
    x = draw(SHAPE, seed=seed)
    expected = (1 - t) * blur.degrade(x, 1.0)[0]
    torch.testing.assert_close(HeatFlow(SHAPE, rate=rate).degrade(x, t)[0], expected, rtol=0, atol=1e-13)


def test_heat_flow_without_heat_is_rectified_flow():
    flow, line, x = HeatFlow(SHAPE, rate=0.0), isotropic(RectifiedFlowSchedule()), draw(SHAPE)
    for t in (0.0, 0.4, 1.0):
        np.testing.assert_allclose(alpha(flow, t), alpha(line, t), rtol=1e-15)
        np.testing.assert_allclose(sigma(flow, t), sigma(line, t), rtol=1e-15)
    assert not flow.degrade(x, 1.0)[0].any()


@given(exponent=st.floats(-2, 2))
def test_power_law_noise_is_a_line_in_doubly_logarithmic_axes(exponent):
    """The variance's slope over f + f_1 is twice the amplitude's exponent, and its mean is 1."""
    process = SpectralDiffusion.power_law((3, 8, 10), exponent)
    sizes = [((np.arange(n) + 1) // 2) / n for n in (8, 10)]
    frequency = np.sqrt(sizes[0][:, None] ** 2 + sizes[1] ** 2)
    variance = (sigma(process, 0.5) / sigma(isotropic(CosineSchedule()), 0.5).max()) ** 2
    assert variance.mean() == pytest.approx(1, rel=1e-13)
    slope = 2 * exponent * np.log(frequency + 0.1)
    line = np.log(variance) - slope
    np.testing.assert_allclose(line, line[0, 0, 0], rtol=0, atol=1e-12)
    assert isinstance(process.basis, FourierBasis)
    np.testing.assert_allclose(alpha(process, 0.5).max(), alpha(isotropic(CosineSchedule()), 0.5).max(), rtol=1e-15)


def natural(shape=SHAPE, count=50):
    """Data whose variance falls with frequency and differs from coefficient to coefficient."""
    basis = FourierBasis(shape)
    return basis.inverse(draw(shape, batch=count) / (0.3 + basis.laplacian_eigenvalues()))


def snr(process, spectrum, t):
    return spectrum.variance.numpy() * alpha(process, t) ** 2 / sigma(process, t) ** 2


@pytest.mark.parametrize("schedule", [None, LinearSchedule()])
def test_equal_snr_drowns_all_frequencies_at_once(schedule):
    """Falck et al. (2025): every SNR is the mean SNR under white noise of the same schedule."""
    spectrum = estimate_spectrum(FourierBasis(SHAPE), natural())
    process = SpectralDiffusion(SHAPE, EqualSNR(spectrum), schedule=schedule)
    white = SpectralDiffusion(SHAPE, GivenVariance(spectrum.basis, torch.ones(())), schedule=schedule)
    for t in (0.1, 0.5, 0.9):
        np.testing.assert_allclose(snr(process, spectrum, t), snr(white, spectrum, t).mean(), rtol=1e-12)


def test_flipped_snr_turns_the_order_of_frequencies_around():
    """Channel by channel, the SNR of the k-th lowest frequency is that of the k-th highest under white noise."""
    spectrum = estimate_spectrum(FourierBasis(SHAPE), natural())
    process = SpectralDiffusion(SHAPE, FlippedSNR(spectrum), schedule=LinearSchedule())
    white = isotropic(LinearSchedule())
    n, m = (np.arange(4) + 1) // 2 / 4, (np.arange(6) + 1) // 2 / 6
    order = np.argsort((n[:, None] ** 2 + m**2).ravel(), kind="stable")
    ours, plain = (snr(p, spectrum, 0.4).reshape(2, -1)[:, order] for p in (process, white))
    np.testing.assert_allclose(ours, plain[:, ::-1], rtol=1e-12)


@pytest.mark.parametrize("basis", [FourierBasis, HartleyBasis])
def test_flipping_twice_is_white_noise(basis):
    """A palindrome is its own mirror image: with the same variance at both ends the noise stays white."""
    spectrum = estimate_spectrum(basis(SHAPE), natural())
    flat = type(spectrum)(spectrum.basis, spectrum.mean, torch.full_like(spectrum.variance, 0.3), spectrum.count)
    assert not SpectralDiffusion(SHAPE, FlippedSNR(flat)).log_noise.any()


# ---- what fades one after the other ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 8, 24), (1, 32), (1, 4, 4, 8)])
def test_pixelation_reaches_the_means_of_blocks_exactly(shape):
    process = Pixelation(shape)
    scales, x, axes = process.basis.scales, draw(shape), len(shape) - 1
    letters = "hwd"[:axes]
    blocks = "b c " + " ".join(f"({letter} {letter}0)" for letter in letters)
    whole = "b c " + " ".join(letters)
    for j in range(1, scales + 1):
        sizes = {f"{letter}0": 2**j for letter in letters}
        expected = repeat(reduce(x, f"{blocks} -> {whole}", "mean", **sizes), f"{whole} -> {blocks}", **sizes)
        torch.testing.assert_close(process.degrade(x, j / scales)[0], expected, rtol=0, atol=1e-14 * 2**axes)
        # Gone, not faded to 1e-16: whatever rounding j / scales brings.
        fine = process.basis.scale_index() <= j
        assert not process.alpha(j / scales).expand(1, *shape)[..., fine].any()


@pytest.mark.parametrize("size", [32, 64, 128])
def test_pixelation_has_forgotten_a_scale_whatever_the_number_of_scales(size):
    """3 / 5 - 2 / 5 is a little less than 1 / 5 in floating point."""
    process = Pixelation((1, size))
    scales = process.basis.scales
    for j in range(1, scales + 1):
        gone = process.alpha(j / scales).expand(1, 1, size)[..., process.basis.scale_index() <= j]
        assert not gone.any()
        kept = process.alpha(j / scales).expand(1, 1, size)[..., process.basis.scale_index() > j]
        assert (kept == 1).all()


def test_pixelation_stops_at_the_scales_it_is_given():
    process = Pixelation((1, 8, 8), scales=2)
    x = draw((1, 8, 8))
    means = reduce(x, "b c (h p) (w q) -> b c h w", "mean", p=4, q=4)
    torch.testing.assert_close(reduce(process.degrade(x, 1.0)[0], "b c (h p) (w q) -> b c h w", "max", p=4, q=4), means)


@given(t=TIMES, duration=st.floats(0.05, 1), seed=st.integers(0, 99))
def test_each_coefficient_fades_along_a_cosine_of_its_own(t, duration, seed):
    onset = 1.2 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    process = SequentialMasking(CosineBasis(SHAPE), onset, duration=duration, noise=RectifiedFlowSchedule())
    progress = np.clip((t - onset.numpy()) / duration, 0, 1)
    np.testing.assert_allclose(alpha(process, t), (1 - t) * np.cos(np.pi / 2 * progress), rtol=0, atol=1e-14)
    assert (alpha(process, t)[progress == 1] == 0).all()
    untouched = alpha(process, 1 - 1e-9)[(onset >= 1).numpy()]
    np.testing.assert_allclose(untouched, 1e-9, rtol=1e-6)


def test_orders_may_be_shared_along_axes_and_never_begin():
    process = SequentialMasking(PixelBasis((3, 4)), torch.tensor([0.0, 0.2, 0.9, math.inf]), duration=0.1)
    assert alpha(process, 1.0).tolist() == [[0, 0, 0, 1]] * 3
    assert alpha(process, 0.15).tolist() == [[0, 1, 1, 1]] * 3
    assert sigma(process, 0.3).max() == pytest.approx(0.01, rel=1e-14)


def test_a_mask_hides_pixels_in_the_order_of_its_map():
    onset = torch.tensor([[0.0, 0.3], [0.6, 1.0]])
    process, x = PixelMask((3, 2, 2), onset, duration=0.2, noise=ConstantNoise(0.0)), draw((3, 2, 2))
    assert torch.equal(process.degrade(x, 0.0)[0], x)
    for t, kept in ((0.25, [[0, 1], [1, 1]]), (0.55, [[0, 0], [1, 1]]), (0.9, [[0, 0], [0, 1]])):
        assert torch.equal(process.degrade(x, t)[0], x * torch.tensor(kept))
    assert torch.equal(process.degrade(x, 1.0)[0], process.marginal(x, 1.0).sample())


def test_the_hole_grows_from_the_middle_to_the_corners():
    times = radial_onset((3, 5, 7), last=0.8)
    assert times.shape == (5, 7)
    assert times[2, 3] == 0
    assert times[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == pytest.approx([0.8] * 4, rel=1e-14)
    # Distances in units of half the picture's sides.
    assert times[2, 0] / times[0, 0] == pytest.approx((6 / 7) / math.hypot(4 / 5, 6 / 7), rel=1e-12)
    torch.testing.assert_close(times, times.flip(0, 1), rtol=0, atol=1e-15)
    assert radial_onset((4,)).shape == (4,)
    assert radial_onset((1, 1, 1)).tolist() == [[0.0]]


def test_by_default_everything_is_hidden_at_the_end():
    process = PixelMask((1, 6, 6))
    assert not process.alpha(1.0).any()
    assert (process.alpha(0.7) > 0).any()
    assert process.sigma(0.5).item() == pytest.approx(0.01, rel=1e-14)


# ---- graphs -------------------------------------------------------------------------------------------------


def random_laplacian(nodes, *, seed=0, components=1):
    """A complete graph of random weights, or several of them side by side."""
    weights = torch.rand((nodes, nodes), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    label = torch.arange(nodes) % components
    weights = torch.triu(weights, 1) * (label[:, None] == label)
    weights = weights + weights.mT
    return torch.diag(weights.sum(0)) - weights


@pytest.mark.parametrize("laplacian", [path_laplacian(6), random_laplacian(6), random_laplacian(6, components=2)])
@pytest.mark.parametrize("level", [1, 4, 10])
def test_graph_heat_is_the_matrix_exponential(laplacian, level):
    process, x = GraphHeat((2, 6), laplacian, time_min=0.05, time_max=20.0, levels=10), draw((2, 6))
    tau = 0.05 * 400 ** ((level - 1) / 9)
    expected = x.numpy() @ expm(-tau * laplacian.numpy()).T
    np.testing.assert_allclose(process.degrade(x, level / 10)[0].numpy(), expected, rtol=0, atol=1e-12)


def test_below_the_first_level_time_grows_with_the_square():
    laplacian = path_laplacian(4)
    process, x = GraphHeat((1, 4), laplacian, time_min=0.4, levels=10), draw((1, 4))
    for t in (0.0, 0.03, 0.1):
        expected = x.numpy() @ expm(-0.4 * (10 * t) ** 2 * laplacian.numpy())
        np.testing.assert_allclose(process.degrade(x, t)[0].numpy(), expected, rtol=0, atol=1e-13)


def test_components_keep_their_means_for_ever():
    laplacian, x = random_laplacian(9, components=3), draw((1, 9))
    process = GraphHeat((1, 9), laplacian, time_max=1e5, levels=10)
    end = process.degrade(x, 1.0)[0]
    for component in range(3):
        mean = x[..., component::3].mean(-1, keepdim=True).expand(-1, -1, 3)
        # Eigenvalues that should be 0 are 1e-16 or so; that times 1e5.
        torch.testing.assert_close(end[..., component::3], mean, rtol=0, atol=1e-9)


def test_a_path_graph_melts_as_the_cosine_transform_has_it():
    """Its eigenvectors are the DCT-II; its eigenvalues 2 - 2 cos(pi n / N), the continuous ones for low frequencies."""
    process = GraphHeat((1, 8), path_laplacian(8), time_min=0.5, time_max=2.0, levels=2)
    waves, x = CosineBasis.matrix_of(8), draw((1, 8))
    fade = torch.exp(-(2 - 2 * torch.cos(math.pi * torch.arange(8, dtype=torch.float64) / 8)) * 2.0)
    torch.testing.assert_close(process.degrade(x, 1.0)[0], x @ (waves.mT * fade) @ waves, rtol=0, atol=1e-13)
