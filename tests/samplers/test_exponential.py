"""Weights of exponential steps against quadrature in forty digits, in every limit, and against closed forms."""

import itertools
import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    IsotropicDiffusion,
    LinearGaussianProcess,
    PixelBasis,
    RectifiedFlowSchedule,
    ReverseSDE,
    posterior_coefficients,
)
from unmelt.samplers import Variable
from unmelt.samplers.exponential import data_interval, extrapolation

EPS = torch.finfo(torch.float64).eps
FOLLOWING_DATA = (Variable.TIME, Variable.LOG_SNR)
# Where the formulas have limits: no noise, no signal, neither.
FAST = ("heat", "blurring", "rectified flow", "cold", "mask", "linear from 0")


class Straight(LinearGaussianProcess):
    """log alpha = -fade t and log sigma = level + growth t, fade and growth one number for each coefficient."""

    def __init__(self, fade, growth, level=-0.5):
        super().__init__(PixelBasis((len(fade),)))
        self.fade, self.growth, self.level = fade, growth, level
        self.register_constant("fading", torch.tensor(fade, dtype=torch.float64))
        self.register_constant("growing", torch.tensor(growth, dtype=torch.float64))

    def log_alpha(self, t):
        return -self.fading * self.expand_times(t)

    def log_sigma(self, t):
        return self.level + self.growing * self.expand_times(t)


def at(process, *values):
    """The process's levels at these times."""
    return [process.at(torch.tensor(value, dtype=torch.float64)) for value in values]


def step_of(process, stencil, t, s, **settings):
    return data_interval(*at(process, t, s), len(stencil), **settings).step(*at(process, *stencil))


def lagrange(places, j, x):
    value = mpmath.mpf(1)
    for m, place in enumerate(places):
        if m != j:
            value *= (x - place) / (places[j] - place)
    return value


def by_quadrature(fade, growth, level, stencil, t, s, eta, variable):
    """c, the integrals of R' L_j and the noise of one coefficient of `Straight`, by mpmath."""
    half_log_snr = lambda time: -mpmath.mpf(fade) * time - level - mpmath.mpf(growth) * time  # noqa: E731
    kappa, alpha = 1 + mpmath.mpf(eta) ** 2, mpmath.exp(-mpmath.mpf(fade) * s)
    rate = -kappa * (mpmath.mpf(fade) + growth)
    phi = half_log_snr if variable is Variable.LOG_SNR else mpmath.mpf
    places = [phi(mpmath.mpf(time)) for time in stencil]

    def slope(tau):
        return alpha * rate * mpmath.exp(kappa * (half_log_snr(tau) - half_log_snr(mpmath.mpf(s))))

    weights = [
        mpmath.quad(lambda tau, j=j: slope(tau) * lagrange(places, j, phi(tau)), [t, s]) for j in range(len(stencil))
    ]
    rho = mpmath.exp(mpmath.mpf(eta) ** 2 * (half_log_snr(mpmath.mpf(t)) - half_log_snr(mpmath.mpf(s))))
    sigma_s, sigma_t = (mpmath.exp(level + mpmath.mpf(growth) * time) for time in (s, t))
    return rho * sigma_s / sigma_t, weights, sigma_s * mpmath.sqrt(1 - rho**2)


@given(
    fade=st.floats(0, 8),
    growth=st.floats(0, 4),
    ends=st.tuples(st.floats(0, 0.65), st.floats(0, 0.65)).filter(lambda pair: abs(pair[0] - pair[1]) > 0.05),
    older=st.lists(st.sampled_from([0.07, 0.11, 0.19, 0.34]), max_size=2, unique=True),
    eta=st.sampled_from([0.0, 0.5, 1.0]),
    variable=st.sampled_from(FOLLOWING_DATA),
)
def test_weights_are_integrals(fade, growth, ends, older, eta, variable):
    s, t = sorted(ends)
    if variable is Variable.LOG_SNR and fade + growth < 0.1:
        fade += 1.0
    stencil = [t, *(t + gap for gap in older)]
    process = Straight([fade, fade / 2], [growth, growth])
    ours = step_of(process, stencil, t, s, eta=eta, variable=variable)
    with mpmath.workdps(40):
        for k, rate in enumerate((fade, fade / 2)):
            if variable is Variable.LOG_SNR and rate + growth < 0.05:
                continue
            latent, weights, stddev = by_quadrature(rate, growth, -0.5, stencil, t, s, eta, variable)
            assert abs(ours.latent.flatten()[k].item() - float(latent)) < 20 * EPS * max(1.0, abs(float(latent)))
            # sqrt(1 - rho^2) of a rho that is held to EPS.
            assert abs(ours.stddev.flatten()[k].item() - float(stddev)) < 1e-13 * max(1.0, float(stddev))
            # Weights are sums of Lagrange's values and slopes, whose size is that of the ratios of gaps, up to 200.
            size = max(1.0, *(abs(float(w)) for w in weights))
            for weight, expected in zip(ours.estimates, weights, strict=True):
                value = weight.expand(1, 2).flatten()[k].item()
                # sixteen nodes are exact to rounding while the log-SNR changes by less than some 20 within a step.
                assert abs(value - float(expected)) < 1e-12 * size * 200


@pytest.mark.parametrize("variable", FOLLOWING_DATA)
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.full) for n in EVERY_PROCESS])
@pytest.mark.parametrize("times", [(0.6, 0.5, 0.7, 0.85), (1.0, 0.8, None, None), (0.2, 0.0, 0.5, 0.6)])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_weights_add_up_to_the_posterior_s_share(times, name, variable, eta):
    """alpha_s (1 - c alpha_{t|s}): an estimate that stands still is treated as by `Posterior`."""
    process = EVERY_PROCESS[name]
    t, s, *older = (time for time in times if time is not None)
    step = step_of(process, (t, *older) if older else (t, s), t, s, eta=eta, variable=variable)
    at_t, at_s = at(process, t, s)
    posterior = posterior_coefficients(at_s, at_t, ReverseSDE(eta))
    whole = at_s.alpha * posterior.signal
    total = sum(step.estimates)
    scale = max(1.0, *(w.abs().max().item() for w in step.estimates))
    assert all(bool(w.isfinite().all()) for w in step.estimates)
    torch.testing.assert_close(*torch.broadcast_tensors(total, whole), rtol=0, atol=1e-12 * scale)
    torch.testing.assert_close(step.latent, posterior.latent)
    torch.testing.assert_close(step.stddev, posterior.stddev)


@given(
    name=st.sampled_from(["cosine", "blurring", "rectified flow", "heat", "power law"]),
    times=st.lists(st.floats(0.1, 0.9), min_size=3, max_size=3, unique=True).filter(
        lambda times: min(abs(a - b) for a, b in itertools.combinations(times, 2)) > 0.05
    ),
)
def test_half_steps_with_estimates_on_a_line_make_the_whole_step(name, times):
    """An estimate that is a line in time is integrated exactly, in one step or in two."""
    process = EVERY_PROCESS[name]
    s, middle, t = sorted(times)
    offset, rate = torch.randn((2, *process.shape), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u = torch.randn(process.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def moved(u, t, s, stencil):
        step = step_of(process, stencil, t, s)
        return step.latent * u + sum(
            w * (offset + rate * time) for w, time in zip(step.estimates, stencil, strict=True)
        )

    whole = moved(u, t, s, (t, t + 0.05))
    halves = moved(moved(u, t, middle, (t, s)), middle, s, (middle, t))
    # Heat at the largest rates is integrated by sixteen nodes to 1e-9 of what it does in such long steps.
    torch.testing.assert_close(whole, halves, rtol=1e-8, atol=1e-8)


@given(h=st.floats(0.05, 3), ratio=st.floats(0.3, 3), level=st.floats(-3, 3))
def test_two_places_in_the_log_snr_give_dpm_solver_plus_plus(h, ratio, level):
    """Lu et al. (2022): sigma_s/sigma_t u - alpha_s (e^-h - 1) D_0 + alpha_s ((e^-h - 1)/h + 1) D_1.

    That is with the line between estimates integrated exactly; D_1 is their difference by the ratio of the steps.
    """
    process = Straight([h], [0.0], level)
    # Half the log-SNR falls by h per unit of time: a step of 0.3 has h = 0.3 h.
    t, s, older = 0.6, 0.3, 0.6 + 0.3 * min(ratio, 1.3)
    step = step_of(process, (t, older), t, s, variable=Variable.LOG_SNR)
    h, ratio = 0.3 * h, (older - t) / 0.3
    alpha = process.alpha(s).item()
    line = alpha * (math.expm1(-h) / h + 1)
    # (e^-h - 1)/h + 1 of small h loses digits here, not there.
    close = {"rel": 1e-9, "abs": 1e-12}
    assert step.latent.item() == pytest.approx(1.0, **close)
    assert step.estimates[0].item() == pytest.approx(-alpha * math.expm1(-h) + line / ratio, **close)
    assert step.estimates[1].item() == pytest.approx(-line / ratio, **close)


@pytest.mark.parametrize("variable", FOLLOWING_DATA)
def test_limits(variable):
    """Coefficients without noise, without signal at t, at rest, and all but vanished, in one step."""
    process = Limits()
    step = step_of(process, (0.9, 1.0), 0.9, 0.4, variable=variable)
    newest, oldest = (w.expand(1, 4).flatten() for w in step.estimates)
    at_t, at_s = at(process, 0.9, 0.4)
    posterior = posterior_coefficients(at_s, at_t, ReverseSDE(0.0))
    whole = at_s.alpha.flatten() * posterior.signal.expand(1, 4).flatten()
    torch.testing.assert_close(newest + oldest, whole, rtol=1e-12, atol=1e-12)
    # At rest nothing of any estimate is taken in.
    assert newest[2].abs() < 1e-15
    assert oldest[2].abs() < 1e-15
    # A signal that vanishes by a factor e^-2500 in the step: nothing of it stays, alpha_s u_hat with alpha_s = e^-2000.
    assert newest[3] == oldest[3] == 0.0
    from_nothing = step_of(process, (1.0, 0.9), 1.0, 0.9, variable=variable)
    assert all(bool(w.isfinite().all()) for w in from_nothing.estimates)
    assert bool(from_nothing.latent.isfinite().all())
    to_data = step_of(IsotropicDiffusion((1,), RectifiedFlowSchedule()), (0.5, 0.7), 0.5, 0.0, variable=variable)
    # No noise at 0: nothing of the latent stays, and the estimates' weights add up to 1.
    assert to_data.latent.abs().max() == 0
    assert sum(to_data.estimates).item() == pytest.approx(1.0, rel=1e-12)
    if variable is Variable.LOG_SNR:
        assert [w.item() for w in to_data.estimates] == [1.0, 0.0]


class Limits(LinearGaussianProcess):
    def __init__(self):
        super().__init__(PixelBasis((4,)))

    def log_alpha(self, t):
        t = self.expand_times(t)
        return (
            torch.cat([-t, torch.log1p(-t), 0 * t, -5000 * t], dim=-1)
            if t.ndim
            else torch.stack([-t, torch.log1p(-t), 0 * t, -5000 * t])
        )

    def log_sigma(self, t):
        t = self.expand_times(t)
        parts = [t - torch.inf, t.log(), 0 * t - 1, 0 * t - 1]
        return torch.cat(parts, dim=-1) if t.ndim else torch.stack(parts)


def test_at_rest_the_log_snr_leaves_older_estimates_out():
    """Heat's mean never melts; of its estimates nothing is needed, in either variable."""
    process = EVERY_PROCESS["heat"]
    for variable in FOLLOWING_DATA:
        step = step_of(process, (0.6, 0.7), 0.6, 0.5, variable=variable)
        for weight in step.estimates:
            assert weight[0, :, 0, 0].abs().max() < 1e-15


@given(
    times=st.lists(st.floats(0, 1), min_size=1, max_size=3, unique=True).filter(
        lambda times: all(abs(a - b) > 0.01 for a, b in itertools.combinations(times, 2))
    ),
    s=st.floats(0, 1),
)
def test_extrapolation_is_exact_for_polynomials(times, s):
    # Weights are the same whatever the process is.
    process = EVERY_PROCESS["cosine"]
    weights = [w.item() for w in extrapolation(at(process, *times), *at(process, s))]
    scale = max(1.0, *map(abs, weights))
    for power in range(len(times)):
        total = sum(w * time**power for w, time in zip(weights, times, strict=True))
        assert total == pytest.approx(s**power, abs=1e-12 * scale)
