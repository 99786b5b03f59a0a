"""Every schedule against its paper's formula, typed plainly and evaluated with 200 digits, to the very ends of time."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmelt.degradations import (
    ConstantNoise,
    CosineSchedule,
    EDMSchedule,
    GeometricNoise,
    Interpolating,
    LinearSchedule,
    LogSNRSchedule,
    RectifiedFlowSchedule,
    SigmoidSchedule,
    VarianceExploding,
    VariancePreserving,
    shifted_cosine,
)

# The steepest sigmoid below has 1e-110 left of the signal.
mp.mp.dps = 200

# Where differences such as 1 - alpha^2 lose all their digits in float64.
ENDS = [0.0, 1e-12, 1e-6, 0.1, 0.37, 0.5, 0.9, 1 - 1e-6, 1 - 1e-12, 1.0]
INSIDE = ENDS[1:-1]


def at(schedule, t):
    """Log alpha and log sigma at one time, as floats."""
    t = torch.tensor(t, dtype=torch.float64)
    return schedule.log_alpha(t).item(), schedule.log_sigma(t).item()


def log(x):
    return -math.inf if x == 0 else float(mp.log(x))


def holds(schedule, t, alpha_squared, sigma_squared):
    """Log alpha and log sigma are those of the 200-digit numbers, each term of them rounded a few times.

    An angle or a log-SNR of size 10 is rounded by 1e-15, a log of size 30 by 4e-15.
    """
    log_alpha, log_sigma = at(schedule, t)
    assert log_alpha == pytest.approx(log(alpha_squared) / 2, rel=1e-13, abs=1e-13)
    assert log_sigma == pytest.approx(log(sigma_squared) / 2, rel=1e-13, abs=1e-13)


def cosine_log_snr(t, low, high, shift=0):
    """-2 log tan(a t + b) + shift of Hoogeboom & Salimans (2023), appendix A."""
    b = mp.atan(mp.exp(-mp.mpf(high) / 2))
    a = mp.atan(mp.exp(-mp.mpf(low) / 2)) - b
    return -2 * mp.log(mp.tan(a * mp.mpf(t) + b)) + shift


@pytest.mark.parametrize("t", ENDS)
@pytest.mark.parametrize(("low", "high"), [(-10.0, 10.0), (-15.0, 2.0), (-60.0, 60.0), (-100.0, 90.0)])
def test_cosine_keeps_its_digits_between_any_ends(t, low, high):
    log_snr = cosine_log_snr(t, low, high)
    snr = mp.exp(log_snr)
    schedule = CosineSchedule(low, high)
    holds(schedule, t, snr / (1 + snr), 1 / (1 + snr))
    assert schedule.log_snr(torch.tensor(t, dtype=torch.float64)).item() == pytest.approx(float(log_snr), abs=1e-12)


@pytest.mark.parametrize("t", INSIDE)
def test_cosine_without_bounds_is_a_cosine(t):
    """Alpha = cos(pi t / 2), sigma = sin(pi t / 2) (Nichol & Dhariwal, 2021, without their offset)."""
    angle = mp.pi / 2 * mp.mpf(t)
    schedule = CosineSchedule(-math.inf, math.inf)
    # pi / 2 itself is rounded by 6e-17, of which a cosine of 1e-12 feels nothing: each angle has its own end.
    holds(schedule, t, mp.cos(angle) ** 2, mp.sin(angle) ** 2)
    assert at(schedule, 0.0) == (0.0, -math.inf)
    assert at(schedule, 1.0) == (-math.inf, 0.0)


@pytest.mark.parametrize("resolution", [32, 64, 256])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_shifted_cosine_lowers_the_log_snr_by_twice_the_log_of_the_resolution(resolution, t):
    """Hoogeboom, Heek & Salimans (2023), section 3.1: logSNR + 2 log(64 / d)."""
    snr = mp.exp(cosine_log_snr(t, -10, 10, shift=2 * mp.log(mp.mpf(64) / resolution)))
    holds(shifted_cosine(resolution), t, snr / (1 + snr), 1 / (1 + snr))
    halved = shifted_cosine(resolution, reference=resolution)
    assert halved == CosineSchedule()


@pytest.mark.parametrize("t", ENDS)
@pytest.mark.parametrize("rates", [(0.1, 20.0), (0.0, 5.0), (3.0, 3.0), (5.0, 0.0)])
def test_linear_integrates_its_rate(t, rates):
    """alpha^2 = exp(-int_0^t beta), beta(t) = beta_min + t (beta_max - beta_min) (Song et al., 2021, eq. 33)."""
    low, high = map(mp.mpf, rates)
    integral = low * mp.mpf(t) + (high - low) * mp.mpf(t) ** 2 / 2
    schedule = LinearSchedule(*rates)
    holds(schedule, t, mp.exp(-integral), -mp.expm1(-integral))
    # Near t = 0 the signal's fade itself keeps its digits.
    assert at(schedule, t)[0] == pytest.approx(float(-integral / 2), rel=1e-14, abs=0)


def sigmoid_gamma(t, start, end, temperature):
    """Gamma(t) of Chen (2023), algorithm 1, and 1 - gamma(t)."""
    start, end, temperature, t = (mp.mpf(v) for v in (start, end, temperature, t))

    def s(y):
        return 1 / (1 + mp.exp(-y / temperature))

    gamma = (s(end) - s(t * (end - start) + start)) / (s(end) - s(start))
    return gamma, 1 - gamma


@pytest.mark.parametrize("t", ENDS)
@pytest.mark.parametrize("parameters", [(-3, 3, 1.0), (0, 3, 0.3), (0, 3, 1.1), (-3, 3, 0.1), (-1, 4, 0.02)])
def test_sigmoid_is_the_papers_gamma(t, parameters):
    """Jabri, Fleet & Chen (2023): alpha^2 = gamma. The steepest stretch spans 250 temperatures."""
    # Logs of sinh and cosh up to 250, rounded by 3e-14 each.
    holds(SigmoidSchedule(*map(float, parameters)), t, *sigmoid_gamma(t, *parameters))


def test_sigmoid_does_not_overflow_where_it_is_a_step():
    """Over 6000 temperatures sinh is beyond float64; alpha^2 = S(-y) there, up to S(end) = 1 and S(start) = 0."""
    schedule = SigmoidSchedule(-3.0, 3.0, 0.001)
    assert at(schedule, 0.0) == (0.0, -math.inf)
    assert at(schedule, 1.0) == (-math.inf, 0.0)
    log_alpha, log_sigma = at(schedule, 0.75)
    assert log_alpha == pytest.approx(-1500 / 2, rel=1e-12)
    assert log_sigma == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("t", ENDS)
@pytest.mark.parametrize("until", [1.0, 0.25])
def test_geometric_noise_grows_by_a_constant_factor_and_then_stops(t, until):
    """Song et al. (2021), eq. 30: sigma_min (sigma_max / sigma_min)^t."""
    ratio = mp.mpf(50) / mp.mpf(0.01)
    sigma = mp.mpf(0.01) * ratio ** min(mp.mpf(t) / mp.mpf(until), 1)
    holds(GeometricNoise(0.01, 50.0, until=until), t, mp.mpf(1), sigma**2)


@pytest.mark.parametrize("rho", [1.0, 3.5, 7.0])
def test_edm_times_are_the_papers_grid_on_a_uniform_one(rho):
    """Karras et al. (2022), eq. 5, whose i = 0 .. N-1 runs from sigma_max down to sigma_min."""
    n = 18
    low, high = mp.mpf(0.002) ** (1 / mp.mpf(rho)), mp.mpf(80.0) ** (1 / mp.mpf(rho))
    papers = [float((high + mp.mpf(i) / (n - 1) * (low - high)) ** rho) for i in range(n)]
    t = torch.linspace(1, 0, n, dtype=torch.float64)
    schedule = EDMSchedule(rho=rho)
    np.testing.assert_allclose(schedule.log_sigma(t).exp().numpy(), papers, rtol=1e-12)
    assert not schedule.log_alpha(t).any()


@pytest.mark.parametrize("t", ENDS)
@pytest.mark.parametrize("shift", [1.0, 3.0, 0.2])
def test_rectified_flow_is_a_straight_line_in_shifted_time(t, shift):
    """Esser et al. (2024), eq. 23: t' = s t / (1 + (s - 1) t), alpha = 1 - t', sigma = t'."""
    t_exact, s = mp.mpf(t), mp.mpf(shift)
    shifted = s * t_exact / (1 + (s - 1) * t_exact)
    holds(RectifiedFlowSchedule(shift), t, (1 - shifted) ** 2, shifted**2)


def test_constant_noise_is_constant_and_may_be_none():
    assert at(ConstantNoise(0.5), 0.3) == (0.0, math.log(0.5))
    assert at(ConstantNoise(0.0), 0.3) == (0.0, -math.inf)


ALL = [
    CosineSchedule(),
    shifted_cosine(256),
    LinearSchedule(),
    SigmoidSchedule(),
    ConstantNoise(),
    GeometricNoise(until=0.5),
    EDMSchedule(),
    RectifiedFlowSchedule(),
    RectifiedFlowSchedule(3.0),
]


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_shapes_and_the_fall_of_the_log_snr(schedule):
    for shape in ((), (7,), (7, 1, 1)):
        t = torch.rand(shape, dtype=torch.float64)
        assert schedule.log_alpha(t).shape == schedule.log_sigma(t).shape == shape
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)[1:-1]
    log_snr = 2 * (schedule.log_alpha(t) - schedule.log_sigma(t))
    # Log-SNRs up to 20, of terms rounded a few times.
    assert log_snr.diff().max() <= 1e-13


# ---- any schedule from its log-SNR --------------------------------------------------------------------------

CONVENTIONS = {
    VariancePreserving(): [CosineSchedule(), shifted_cosine(256), LinearSchedule(), SigmoidSchedule(0.0, 3.0, 0.5)],
    VarianceExploding(): [ConstantNoise(0.2), GeometricNoise(until=0.5), EDMSchedule()],
    Interpolating(): [RectifiedFlowSchedule(), RectifiedFlowSchedule(3.0), RectifiedFlowSchedule(0.3)],
}


@pytest.mark.parametrize(
    ("convention", "schedule"), [(c, s) for c, schedules in CONVENTIONS.items() for s in schedules], ids=repr
)
@given(t=st.floats(0, 1))
def test_a_log_snr_and_a_convention_are_the_whole_schedule(convention, schedule, t):
    again = LogSNRSchedule(lambda t: 2 * (schedule.log_alpha(t) - schedule.log_sigma(t)), convention)
    ours, named = at(again, t), at(schedule, t)
    # One more difference and sum of logs of size 40.
    assert ours == pytest.approx(named, rel=1e-13, abs=4e-14)


LOG_SNRS = st.floats(-300, 300)


@given(log_snr=LOG_SNRS)
def test_conventions_are_their_identities(log_snr):
    """Each holds its own sum at 1, and all leave the ratio alone."""
    point = torch.tensor(log_snr, dtype=torch.float64)
    sums = {VariancePreserving(): lambda a, s: a**2 + s**2, Interpolating(): lambda a, s: a + s}
    for convention in (VariancePreserving(), Interpolating(), VarianceExploding()):
        log_alpha, log_sigma = convention.log_alpha(point).item(), convention.log_sigma(point).item()
        assert 2 * (log_alpha - log_sigma) == pytest.approx(log_snr, rel=1e-14, abs=1e-14)
        expected = sums.get(convention, lambda a, s: a)(math.exp(log_alpha), math.exp(log_sigma))
        assert expected == pytest.approx(1, abs=4e-16)


@given(log_snr=LOG_SNRS)
def test_conventions_keep_the_smaller_part_to_full_precision(log_snr):
    """Log alpha = -exp(-l) / 2 where l is large: the part that 1 - sigma^2 would not have."""
    log_ratio, point = mp.mpf(log_snr), torch.tensor(log_snr, dtype=torch.float64)
    vp, line = VariancePreserving(), Interpolating()
    for ours, exact in (
        (vp.log_alpha(point), -mp.log1p(mp.exp(-log_ratio)) / 2),
        (vp.log_sigma(point), -mp.log1p(mp.exp(log_ratio)) / 2),
        (line.log_alpha(point), -mp.log1p(mp.exp(-log_ratio / 2))),
        (line.log_sigma(point), -mp.log1p(mp.exp(log_ratio / 2))),
    ):
        assert ours.item() == pytest.approx(float(exact), rel=1e-14)


def test_infinite_log_snrs_are_pure_data_and_pure_noise():
    for convention in (VariancePreserving(), Interpolating()):
        assert at(LogSNRSchedule(lambda t: torch.full_like(t, math.inf), convention), 0.5) == (0.0, -math.inf)
        assert at(LogSNRSchedule(lambda t: torch.full_like(t, -math.inf), convention), 0.5) == (-math.inf, 0.0)
    assert LogSNRSchedule(torch.neg).convention == VariancePreserving()
