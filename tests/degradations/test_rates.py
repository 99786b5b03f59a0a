"""Drift and diffusion of the stochastic differential equation: closed forms, differences, moments, ends of time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import EVERY_PROCESS, SHAPE, every_process, heat_rates, isotropic, onsets, path_laplacian

from unmelt.degradations import (
    BlurringDiffusion,
    CosineBasis,
    CosineSchedule,
    EDMSchedule,
    FourierBasis,
    GaussianBlur,
    GeometricNoise,
    GraphHeat,
    HeatDissipation,
    HeatFlow,
    LinearGaussianProcess,
    LinearSchedule,
    PixelBasis,
    PowerBlur,
    RectifiedFlowSchedule,
    SequentialMasking,
    SigmoidSchedule,
    SpectralDiffusion,
    VariancePreservingBlur,
)

RATES = heat_rates(*SHAPE[1:])
NAMES = ("drift", "log_snr_rate", "diffusion")


def whole(process, name, t):
    """A rate at one time, of the process's shape, as numpy."""
    return getattr(process, name)(t)[0].expand(process.shape).numpy()


# ---- closed forms, typed plainly: t -> (f, g^2) ---------------------------------------------------------------


def linear(t):
    beta = 0.1 + t * 19.9
    return -beta / 2, beta


def geometric(t):
    sigma = 0.01 * 5000 ** min(t / 0.5, 1)
    return 0, 2 * sigma**2 * math.log(5000) / 0.5 if t <= 0.5 else 0


def edm(t):
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    sigma, slope = (low + t * (high - low)) ** 7, 7 * (low + t * (high - low)) ** 6 * (high - low)
    return 0, 2 * sigma * slope


def rectified_flow(t):
    return -1 / (1 - t), 2 * t / (1 - t)


def shifted_flow(t):
    shifted, slope = 3 * t / (1 + 2 * t), 3 / (1 + 2 * t) ** 2
    return -slope / (1 - shifted), 2 * shifted * slope / (1 - shifted)


def cosine(t):
    """Variance preserving: g^2 = -2 f, from d(alpha^2 + sigma^2) = 0."""
    b = math.atan(math.exp(-5))
    a = math.atan(math.exp(5)) - b
    f = -a * math.tan(a * t + b)
    return f, -2 * f


def unbounded_cosine(t):
    f = -math.pi / 2 * math.tan(math.pi / 2 * t)
    return f, -2 * f


def sigmoid(t):
    def s(y):
        return 1 / (1 + math.exp(-y))

    here = -3 + 6 * t
    slope = -6 * s(here) * (1 - s(here)) / (s(3) - s(-3))
    gamma = (s(3) - s(here)) / (s(3) - s(-3))
    return slope / (2 * gamma), -slope / gamma


def heat(t):
    """F = -lambda d tau / dt, tau = sigma_B^2 / 2, and sigma stays: g^2 = -2 f sigma^2."""
    growth = 20 * math.log(8) / 19
    width = 0.5 * 8 ** ((20 * t - 1) / 19) if t >= 0.05 else 10 * t
    slope = width * growth if t >= 0.05 else 10
    f = -RATES * width * slope
    return f, -2 * f * 0.03**2


def blurring(t):
    """The product rule for a(t) d_k(t), and 2 sigma sigma' - 2 f sigma^2 (Hoogeboom & Salimans, 2023, eq. 15)."""
    angle = math.atan(math.exp(-5)) + t * (math.atan(math.exp(5)) - math.atan(math.exp(-5)))
    turn = math.atan(math.exp(5)) - math.atan(math.exp(-5))
    width = 3 * math.sin(math.pi * t / 2) ** 2
    slope = 3 * math.pi * math.sin(math.pi * t / 2) * math.cos(math.pi * t / 2)
    fade = np.exp(-RATES * width**2 / 2)
    f = -turn * math.tan(angle) - 0.999 * RATES * width * slope * fade / (0.999 * fade + 0.001)
    return f, 2 * math.sin(angle) * math.cos(angle) * turn - 2 * f * math.sin(angle) ** 2


def heat_flow(t):
    f = -(1 + 0.3 * RATES) / (1 - t)
    return f, 1.5**2 * (2 * t - 2 * f * t**2)


def variance_preserving_blur(t):
    width_squared_slope = 1000 * 0.15**2 / 5 * 5 * t**4
    f = -(0.1 + t * 19.9) / 2 - RATES / 2 * width_squared_slope
    return f, -2 * f


def variance_preserving_even_blur(t):
    f = -(0.1 + t * 19.9) / 2 - RATES / 2 * 4
    return f, -2 * f


def ordered(t):
    progress = np.clip((t - onsets().numpy()) / 0.3, 0, 1)
    fading = (progress > 0) & (progress < 1)
    fade = np.where(fading, -math.pi / 0.6 * np.tan(math.pi / 2 * progress * fading), 0)
    f_noise, g_noise = cosine(t)
    sigma_squared = math.sin(math.atan(math.exp(-5)) + t * (math.atan(math.exp(5)) - math.atan(math.exp(-5)))) ** 2
    return fade + f_noise, g_noise - 2 * fade * sigma_squared


def graph(t):
    """Diffusion times 0.1 to 10 over 12 levels, evenly in their logarithm."""
    tau = 0.1 * 100 ** ((12 * t - 1) / 11) if t >= 1 / 12 else 0.1 * (12 * t) ** 2
    slope = tau * 12 * math.log(100) / 11 if t >= 1 / 12 else 0.1 * 288 * t
    f = -np.linalg.eigvalsh(path_laplacian(5).numpy()).clip(0) * slope
    return f, -2 * f * 0.01**2


CLOSED_FORMS = {
    form.__name__.replace("_", " "): form
    for form in (
        linear,
        geometric,
        edm,
        rectified_flow,
        shifted_flow,
        cosine,
        unbounded_cosine,
        sigmoid,
        heat,
        blurring,
        heat_flow,
        variance_preserving_blur,
        variance_preserving_even_blur,
        ordered,
        graph,
    )
}


def matches(process, t, form, *, absolute):
    for name, expected in zip(("drift", "diffusion"), form(t), strict=True):
        expected = np.broadcast_to(expected, process.shape)
        scale = 1 + np.abs(expected)
        assert (np.abs(whole(process, name, t) - expected) <= absolute * scale).all(), (name, t)


@pytest.mark.parametrize("name", CLOSED_FORMS)
@settings(max_examples=8)
@given(t=st.floats(0.001, 0.999))
def test_drift_and_diffusion_are_the_closed_forms(name, t):
    # Sums and products of a few rounded terms; the tangent's argument is rounded by 1e-16 at 1e-3 from its pole.
    matches(EVERY_PROCESS[name], t, CLOSED_FORMS[name], absolute=1e-11)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_they_hold_at_time_0_by_their_limits(name):
    """At t = 0 many a sigma is 0 and its logarithm's rate infinite: g^2 is the limit, read off 1e-12 inside."""
    matches(EVERY_PROCESS[name], 0.0, CLOSED_FORMS[name], absolute=2e-10)


def test_at_time_1_what_stays_finite_is_right_and_what_does_not_is_infinite():
    for name in ("linear", "edm", "heat", "blurring", "graph", "variance preserving blur"):
        matches(EVERY_PROCESS[name], 1.0, CLOSED_FORMS[name], absolute=1e-10)
    for name in ("rectified flow", "shifted flow", "heat flow", "unbounded cosine"):
        assert (whole(EVERY_PROCESS[name], "drift", 1.0) == -np.inf).all()
        assert (whole(EVERY_PROCESS[name], "diffusion", 1.0) == np.inf).all()


@given(low=st.floats(0.0, 3.0), high=st.floats(0.1, 30.0), width=st.floats(0.1, 5.0))
def test_the_noise_that_blur_makes_room_for_is_there_from_the_first_moment(low, high, width):
    """Where sigma^2 = 1 - alpha^2 rises linearly from 0, 0 times an infinite rate is beta(0) + lambda w^2, not 0."""
    process = VariancePreservingBlur(SHAPE, blur=PowerBlur(width), schedule=LinearSchedule(low, high))
    expected = np.broadcast_to(low + RATES * width**2, SHAPE)
    # Read off 2^-40 = 1e-12 inside, where rates of up to (30 + 25 lambda) per unit of time have changed little.
    np.testing.assert_allclose(whole(process, "diffusion", 0.0), expected, rtol=1e-9, atol=1e-10)


def test_coloured_noise_scales_the_diffusion_only():
    process = SpectralDiffusion.power_law(SHAPE, -1.0, schedule=LinearSchedule())
    variance = np.exp(2 * process.log_noise.numpy())
    f, g_squared = linear(0.4)
    np.testing.assert_allclose(whole(process, "drift", 0.4), np.full(SHAPE, f), rtol=1e-12)
    np.testing.assert_allclose(whole(process, "diffusion", 0.4), g_squared * variance, rtol=1e-12)


# ---- against differences, for every process -----------------------------------------------------------------

DRAWN = st.one_of(
    st.sampled_from(sorted(EVERY_PROCESS)).map(EVERY_PROCESS.get),
    st.builds(lambda low, high: isotropic(CosineSchedule(-low, high)), st.floats(1, 12), st.floats(1, 12)),
    st.builds(lambda low, high: isotropic(LinearSchedule(low, high)), st.floats(0, 5), st.floats(0.1, 20)),
    st.builds(lambda end, tau: isotropic(SigmoidSchedule(-1.0, end, tau)), st.floats(0, 4), st.floats(0.2, 2)),
    st.builds(lambda shift: isotropic(RectifiedFlowSchedule(shift)), st.floats(0.1, 9)),
    st.builds(lambda rho: isotropic(EDMSchedule(rho=rho)), st.floats(1, 9)),
    st.builds(lambda width, d: BlurringDiffusion(SHAPE, blur_sigma_max=width, min_scale=d), *[st.floats(0.01, 1)] * 2),
    st.builds(lambda rate: HeatFlow(SHAPE, rate=rate), st.floats(0, 2)),
    st.builds(
        lambda low, levels: HeatDissipation(SHAPE, blur_sigma_min=low, blur_sigma_max=3.0, levels=levels),
        st.floats(0.1, 1.0),
        st.integers(2, 30),
    ),
)


def five_points(function, t, step):
    """A derivative to fourth order in the step."""
    far, near = (function(t + k * step) - function(t - k * step) for k in (2, 1))
    return (8 * near - far) / (12 * step)


def smooth_rates(function, t):
    """The derivative by differences, and where two steps agree on it: not at kinks, nor where it diverges."""
    with np.errstate(invalid="ignore"):
        coarse, fine = five_points(function, t, 1e-3), five_points(function, t, 5e-4)
        return fine, np.abs(coarse - fine) <= 1e-7 * (1 + np.abs(fine))


@settings(max_examples=25)
@given(process=DRAWN, t=st.floats(0.01, 0.99))
def test_rates_are_the_derivatives_by_differences(process, t):
    def value(name):
        return lambda t: np.broadcast_to(getattr(process, name)(t)[0].numpy(), process.shape)

    def log_alpha(t):
        return process.at(t).log_alpha[0].expand(process.shape).numpy()

    f, smooth = smooth_rates(log_alpha, t)
    # The fourth-order remainder of the fine step is a fifteenth of what the steps differ by; logs of size 100 over a
    # step of 5e-4 are rounded by 1e-10.
    tolerance = 1e-7 * (1 + np.abs(f))
    assert (np.abs(whole(process, "drift", t) - f) <= tolerance)[smooth].all()

    l_rate, smooth_l = smooth_rates(value("log_snr"), t)
    finite = np.isfinite(value("log_snr")(t)) & smooth_l
    assert (np.abs(whole(process, "log_snr_rate", t) - l_rate) <= 2e-7 * (1 + np.abs(l_rate)))[finite].all()

    variance_rate, smooth_v = smooth_rates(lambda t: value("sigma")(t) ** 2, t)
    sigma_squared = value("sigma")(t) ** 2
    both = smooth & smooth_v
    # g^2 = d sigma^2 / dt - 2 f sigma^2, by the very differences.
    g_squared = variance_rate[both] - 2 * f[both] * sigma_squared[both]
    room = 2e-7 * (1 + np.abs(variance_rate) + 2 * np.abs(f) * sigma_squared)[both]
    assert (np.abs(whole(process, "diffusion", t)[both] - g_squared) <= room).all()


def test_differences_are_smooth_almost_everywhere():
    """The test above leaves out kinks and divergences; these must be few for it to mean anything."""
    shares = []
    for process in EVERY_PROCESS.values():
        for t in (0.137, 0.4, 0.77):
            _, smooth = smooth_rates(lambda t, p=process: p.alpha(t)[0].expand(p.shape).numpy(), t)
            shares.append(smooth.mean())
    assert np.mean(shares) > 0.95


MODERATE = ["heat", "blurring", "tabulated", "power law", "heat flow", "graph", "cosine", "linear", "sigmoid"]
MODERATE += ["geometric", "edm", "rectified flow", "shifted flow", "log-snr", "renoised", "groups", "in basis"]


@pytest.mark.parametrize("name", MODERATE)
def test_the_moments_equations_lead_from_one_marginal_to_the_next(name):
    """Dm / dt = f m and dv / dt = 2 f v + g^2, integrated over a third of time, take alpha and sigma^2 along."""
    process, steps = EVERY_PROCESS[name], 400
    # Between kinks, of which a table of three has two and geometric noise one, at 1/2.
    start, end = (0.34, 0.66) if name == "tabulated" else (0.15, 0.48)
    times = torch.linspace(start, end, 2 * steps + 1, dtype=torch.float64)
    f, g_squared = (getattr(process, rate)(times).expand(-1, *process.shape) for rate in ("drift", "diffusion"))
    alpha, sigma = (c(times[[0, -1]]).expand(2, *process.shape) for c in (process.alpha, process.sigma))
    m, v = runge_kutta(f, g_squared, alpha[0], sigma[0] ** 2, (end - start) / steps)
    # Fourth order: an error of (f h)^5 / 120 a step, and f h < 0.15 where anything is left to compare.
    torch.testing.assert_close(m, alpha[1], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(v, sigma[1] ** 2, rtol=1e-6, atol=1e-9)


def runge_kutta(f, g_squared, m, v, h):
    """The classical fourth-order method; rates are given at the ends and the middle of every step."""

    def slopes(k, m, v):
        return torch.stack([f[k] * m, 2 * f[k] * v + g_squared[k]])

    state = torch.stack([m, v])
    for k in range(0, len(f) - 1, 2):
        first = slopes(k, *state)
        second = slopes(k + 1, *(state + h / 2 * first))
        third = slopes(k + 1, *(state + h / 2 * second))
        fourth = slopes(k + 2, *(state + h * third))
        state = state + h / 6 * (first + 2 * second + 2 * third + fourth)
    return state


# ---- edges --------------------------------------------------------------------------------------------------

EDGES = [0.0, 1e-12, 0.05, 1 / 3, 0.5, 0.5 + 1e-12, 2 / 3, 0.75, 1 - 1e-12, 1.0]


@every_process()
def test_no_rate_is_nan_and_all_have_their_sign_at_ends_levels_and_onsets(name):
    process = EVERY_PROCESS[name]
    times = EDGES
    if isinstance(process, SequentialMasking):
        onset = process.onset.flatten().clamp(max=1).tolist()
        times = times + onset + [min(1.0, t + process.duration) for t in onset]
    times = torch.tensor(times, dtype=torch.float64)
    # Rates that are 0 but for rounding: a log alpha of variance-preserving schedules is 1 - 1e-16 now and then.
    assert (process.drift(times) <= 1e-12).all()
    assert (process.log_snr_rate(times) <= 1e-12).all()
    assert (process.diffusion(times) >= -1e-12).all()


@every_process()
@pytest.mark.parametrize("rate", NAMES)
def test_each_time_of_a_batch_is_a_time_alone(name, rate):
    process = EVERY_PROCESS[name]
    times = torch.tensor([0.0, 0.21, 0.5, 0.83, 1.0], dtype=torch.float64)
    together = getattr(process, rate)(times)
    assert together.ndim == 1 + len(process.shape)
    for row, t in zip(together.expand(5, *process.shape), times.tolist(), strict=True):
        alone = getattr(process, rate)(t)[0].expand(process.shape)
        torch.testing.assert_close(row, alone, rtol=1e-13, atol=0)
    assert torch.equal(getattr(process, rate)(times[1]), getattr(process, rate)(0.21))


@pytest.mark.parametrize("name", ["heat", "linear", "groups", "ordered", "tabulated"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_rates_do_not_need_gradients_to_be_on(name, mode):
    process = EVERY_PROCESS[name]
    expected = [getattr(process, rate)(0.3) for rate in NAMES]
    with mode():
        for rate, value in zip(NAMES, expected, strict=True):
            assert torch.equal(getattr(process, rate)(0.3), value)
            assert torch.equal(getattr(process, rate)(torch.tensor([0.3])), getattr(process, rate)(torch.tensor(0.3)))


def test_without_noise_there_is_no_diffusion_and_the_log_snr_falls_with_the_signal():
    process = EVERY_PROCESS["no noise"]
    for t in (0.0, 0.4, 1.0):
        assert not process.diffusion(t).any()
        assert torch.equal(process.log_snr_rate(t), 2 * process.drift(t))


def test_what_has_vanished_changes_no_more():
    """Constant minus infinity, and a mask that is through, have the rate 0; d log 0 is not NaN."""

    class Nothing(LinearGaussianProcess):
        def __init__(self):
            super().__init__(PixelBasis((2,)))

        def log_alpha(self, t):
            # log(t - t) = -inf with the derivative 0 / 0.
            return torch.log(0 * self.expand_times(t))

        def log_sigma(self, t):
            return torch.full_like(t, -torch.inf)

    for t in (0.0, 0.3, 0.8, 1.0):
        for rate in NAMES:
            assert not getattr(Nothing(), rate)(t).any()
    mask = SequentialMasking(PixelBasis((1,)), torch.tensor([0.1], dtype=torch.float64), duration=0.2)
    for rate in NAMES:
        assert whole(mask, rate, 0.2) != 0
        assert whole(mask, rate, 0.31) == 0
        assert whole(mask, rate, 0.05) == 0


def test_a_closed_form_is_used_where_a_subclass_writes_one():
    class Written(LinearGaussianProcess):
        def __init__(self):
            super().__init__(CosineBasis(SHAPE))

        def log_alpha(self, t):
            return -self.expand_times(t)

        def log_sigma(self, t):
            return torch.log(self.expand_times(t) + 0.1)

        def drift(self, t):
            return torch.full((1, 1, 1, 1), -7.0, dtype=torch.float64)

    class Further(Written):
        def log_snr_rate(self, t):
            return torch.full((1, 1, 1, 1), -3.0, dtype=torch.float64)

    assert Written().drift(0.4).item() == -7
    # dl/dt = 2 (f - 1 / (t + 0.1)), g^2 = -sigma^2 dl/dt.
    assert Written().log_snr_rate(0.4).item() == pytest.approx(-18, rel=1e-14)
    assert Written().diffusion(0.4).item() == pytest.approx(0.25 * 18, rel=1e-14)
    assert Further().diffusion(0.4).item() == pytest.approx(0.25 * 3, rel=1e-14)


def test_rates_refuse_what_times_are_refused_for():
    for rate in NAMES:
        with pytest.raises(ValueError, match=r"t must lie in \[0, 1\].*got 1.5"):
            getattr(EVERY_PROCESS["heat"], rate)(1.5)


def test_rates_of_blurs_on_other_boundaries_and_along_one_axis():
    t = 0.6
    blur, noise = PowerBlur(2.0, 1.0), GeometricNoise(0.01, 1.0)
    process = GaussianBlur(SHAPE, blur, noise, anisotropy=(0.0, 1.0), boundary=FourierBasis)
    n = (np.arange(6) + 1) // 2
    rate = (2 * np.pi * n / 6) ** 2
    np.testing.assert_allclose(whole(process, "drift", t), np.broadcast_to(-rate * 4 * t, SHAPE), rtol=1e-12)
    graph_process = GraphHeat((3, 5), path_laplacian(5))
    assert graph_process.drift(t).shape == (1, 1, 5)


@pytest.mark.parametrize("rate", NAMES)
def test_one_time_expanded_to_many_is_many_times(rate):
    """Expanded tensors share memory, which forward-mode differentiation alone refuses."""
    process = EVERY_PROCESS["blurring"]
    many = getattr(process, rate)(torch.tensor([0.3], dtype=torch.float64).expand(3))
    torch.testing.assert_close(many, getattr(process, rate)(0.3).expand_as(many), rtol=0, atol=0)
