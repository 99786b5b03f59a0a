"""Following the noise: its weights against quadrature, its order, its limits, and what it refuses."""

import math

import mpmath
import numpy as np
import pytest
import torch
from gaussian_law import gaussian_oracle, law_of, law_of_estimate, marginals
from torch import nn

from unmelt.degradations import (
    BlurringDiffusion,
    ColdBlur,
    ConstantNoise,
    CosineSchedule,
    Deterministic,
    EDMSchedule,
    GaussianBlur,
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    PowerBlur,
    PredictEpsilon,
    PredictV,
    PredictX,
    RectifiedFlowSchedule,
    VariancePreservingBlur,
)
from unmelt.models import DegradedDataPrior, Denoiser, OraclePrior
from unmelt.samplers import (
    End,
    NoiseMultistepSampler,
    PosteriorSampler,
    Variable,
    balanced_times,
    log_snr_times,
)
from unmelt.samplers.exponential import noise_step
from unmelt.testing.strategies import random_images

SHAPE = (1, 4, 4)
SMOOTH = {
    "blurring": BlurringDiffusion(SHAPE, blur_sigma_max=1.0),
    "cosine": IsotropicDiffusion(SHAPE, CosineSchedule()),
    "edm": IsotropicDiffusion(SHAPE, EDMSchedule()),
    "rectified flow": IsotropicDiffusion(SHAPE, RectifiedFlowSchedule()),
}
START, STOP = 0.8, 0.2


def times(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


# ---- the weights -------------------------------------------------------------------------------------------


def quadrature(process, stencil, t, s, j, variable):
    """alpha_s times the integral of L_j d(sigma / alpha), for an isotropic process, to 30 digits."""
    schedule = {"cosine": lambda x: mpmath.log(mpmath.tan(A * x + B))}["cosine"]
    place = schedule if variable is Variable.LOG_SNR else (lambda x: x)

    def slope(x):
        return mpmath.diff(lambda y: mpmath.exp(schedule(y)), x)

    def lagrange(x):
        value = mpmath.mpf(1)
        for m, other in enumerate(stencil):
            if m != j:
                value *= (place(x) - place(other)) / (place(stencil[j]) - place(other))
        return value

    alpha = 1 / mpmath.sqrt(1 + mpmath.exp(2 * schedule(s)))
    return alpha * mpmath.quad(lambda x: lagrange(x) * slope(x), [t, (s + t) / 2, s])


B = mpmath.atan(mpmath.exp(-5))
A = mpmath.atan(mpmath.exp(5)) - B


@pytest.mark.parametrize("variable", list(Variable), ids=lambda v: v.name)
@pytest.mark.parametrize("stencil", [(0.6,), (0.6, 0.75), (0.6, 0.75, 0.8), (0.6, 0.7, 0.8, 0.9), (0.6, 0.4, 0.7)])
def test_weights_are_the_integrals_of_the_polynomials(stencil, variable):
    """log(sigma / alpha) = log tan(a t + b): Hoogeboom & Salimans' cosine schedule, typed once more."""
    process = IsotropicDiffusion((2,), CosineSchedule(-10.0, 10.0))
    step = noise_step(process, times(*stencil), *times(0.6, 0.4), variable=variable)
    with mpmath.workdps(30):
        exact = [float(quadrature(process, stencil, 0.6, 0.4, j, variable)) for j in range(len(stencil))]
    found = [float(weight.flatten()[0]) for weight in step.estimates]
    # Sixteen nodes integrate smooth functions to rounding; the polynomials grow up to a few hundred.
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12 * max(1, *map(abs, exact)))
    alpha = process.alpha(0.4) / process.alpha(0.6)
    assert step.latent.flatten()[0].item() == pytest.approx(alpha.flatten()[0].item(), rel=1e-13)
    # Held at one value, the noise is carried over: u_s = alpha_s u + sigma_s e.
    change = process.sigma(0.4) - alpha * process.sigma(0.6)
    assert sum(found) == pytest.approx(change.flatten()[0].item(), rel=1e-12)


def test_to_a_time_without_noise_the_weights_are_finite():
    """The way is infinite in the log-SNR, and what lies on it fades: int_0^inf y^p exp(-y) dy = p!."""
    process = IsotropicDiffusion((2,), RectifiedFlowSchedule())
    stencil = times(0.2, 0.3, 0.45)
    step = noise_step(process, stencil, *times(0.2, 0.0))
    here = [math.log((1 - t) / t) for t in (0.2, 0.3, 0.45)]
    first = 0.2 / 0.8
    for j, found in enumerate(step.estimates):
        polynomial = np.poly1d([1.0])
        for m in range(3):
            if m != j:
                polynomial *= np.poly1d([1.0, here[0] - here[m]]) / (here[j] - here[m])
        exact = -first * sum(c * math.factorial(p) for p, c in enumerate(polynomial.c[::-1]))
        assert found.flatten()[0].item() == pytest.approx(exact, rel=1e-12)


# ---- laws and orders ---------------------------------------------------------------------------------------


def slope(numbers, errors):
    return -np.polyfit(np.log(numbers), np.log(errors), 1)[0]


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("variable", list(Variable), ids=lambda v: v.name)
@pytest.mark.parametrize(("order", "stated"), [(2, 2), (3, 3), (4, 3)])
@pytest.mark.parametrize("kind", SMOOTH)
def test_the_order_is_the_stated_one(kind, order, stated, variable):
    """Slopes of the law's error; next orders' terms bend them up, and an error that changes its sign may do so too."""
    oracle = gaussian_oracle(SMOOTH[kind])
    numbers, errors = (80, 120, 160, 240), []
    for n in numbers:
        sampler = Sampler(
            oracle,
            Multistep(order=order, follow=Follow.NOISE, variable=variable),
            grid=UniformGrid(n),
            prior=OraclePrior(oracle),
        )
        law = law_of(sampler, start=START, stop=STOP)
        errors.append(law.at(-1).distance(marginals(oracle, torch.tensor([STOP], dtype=torch.float64)).at(0)))
    # With errors c n^-3 (1 + b / n) a part b / n of a fifth at n = 80 makes the slope 0.3 smaller.
    assert slope(numbers, errors) > stated - 0.3, errors


@pytest.mark.usefixtures("as_in_production")
def test_without_the_corrector_the_first_step_s_error_remains():
    oracle = gaussian_oracle(SMOOTH["cosine"])
    numbers, errors = (80, 120, 160, 240), []
    for n in numbers:
        sampler = Sampler(
            oracle,
            Multistep(order=4, follow=Follow.NOISE, corrector=False),
            grid=UniformGrid(n),
            prior=OraclePrior(oracle),
        )
        law = law_of(sampler, start=START, stop=STOP)
        errors.append(law.at(-1).distance(marginals(oracle, torch.tensor([STOP], dtype=torch.float64)).at(0)))
    assert slope(numbers, errors) == pytest.approx(2, abs=0.2)


# One that begins with a third of noise, which the last step has to take away.
@pytest.mark.parametrize("kind", [*SMOOTH, "noisy"])
@pytest.mark.parametrize("end", list(End), ids=lambda e: e.name)
def test_from_end_to_end_the_law_is_the_data_s(kind, end):
    process = SMOOTH[kind] if kind in SMOOTH else IsotropicDiffusion(SHAPE, CosineSchedule(-10.0, 2.0))
    oracle = gaussian_oracle(process)
    sampler = Sampler(
        oracle,
        Multistep(order=4, follow=Follow.NOISE),
        grid=BalancedGrid(60),
        prior=OraclePrior(oracle),
        denoise_last=end,
    )
    found = law_of(sampler).at(-1)
    zero = torch.zeros(1, dtype=torch.float64)
    target = marginals(oracle, zero).at(0)
    if end is End.ESTIMATE:
        target = law_of_estimate(oracle, target, zero)
    # Twelve steps leave about 1e-2, sixty a hundredth of that; data have deviations of 0.2 to 1.
    assert found.distance(target) < 1e-3


# ---- network outputs, first steps, refusals ----------------------------------------------------------------


class Soft(nn.Module):
    def forward(self, z, t, condition=None, given=None):
        return 0.5 * torch.tanh(z) * (1 - 0.3 * t.to(z.dtype)[:, None, None, None])


@pytest.mark.parametrize("prediction", [PredictX(), PredictEpsilon(), PredictV()], ids=str)
def test_a_single_step_is_ddim_s(prediction):
    process = SMOOTH["blurring"]
    denoiser = Denoiser(Soft(), process, prediction=prediction)
    z = random_images(SHAPE, batch=3)
    noise = Sampler(denoiser, Multistep(order=3, follow=Follow.NOISE)).step(z, 0.7, 0.4)
    data = Sampler(denoiser, Posterior(Deterministic())).step(z, 0.7, 0.4)
    torch.testing.assert_close(noise, data, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["rectified flow", "blurring"])
def test_predictions_in_a_trajectory_are_the_denoiser_s(kind):
    process = SMOOTH[kind]
    oracle = gaussian_oracle(process)
    initial = process.basis.inverse(torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0)).double())
    path = (
        Sampler(oracle, Multistep(order=3, follow=Follow.NOISE), grid=UniformGrid(6), prior=OraclePrior(oracle))
        .run(2, initial=initial)
        .trajectory
    )
    first = oracle(path.states[0], 1.0)
    torch.testing.assert_close(path.predictions[0], first, rtol=1e-9, atol=1e-9)
    # States after the first step may be made anew before the network's answer is used, but not the last ones.
    torch.testing.assert_close(path.predictions[-1], oracle(path.states[-2], 1 / 6), rtol=1e-9, atol=1e-9)


def test_calls_are_one_per_step():
    denoiser = Denoiser(Soft(), SMOOTH["cosine"], prediction=PredictX())
    for order in (2, 3, 4):
        for steps in (1, 2, 3, 4, 7):
            sampler = Sampler(denoiser, Multistep(order=order, follow=Follow.NOISE), grid=UniformGrid(steps))
            assert sampler.sample(2).isfinite().all()
            assert sampler.report.calls == steps


def test_what_it_would_divide_by_is_looked_at():
    for process, what in (
        (HeatDissipation(SHAPE, blur_sigma_max=30.0, levels=20), "so little signal"),
        (GaussianBlur(SHAPE, PowerBlur(0.5), ConstantNoise(0.0)), "no noise"),
    ):
        denoiser = Denoiser(Soft(), process, prediction=PredictX())
        prior = DegradedDataPrior(process, random_images(SHAPE))
        with pytest.raises(ValueError, match=f"has {what} in some coefficient on this grid.*take MultistepSampler"):
            Sampler(denoiser, Multistep(order=3, follow=Follow.NOISE), grid=UniformGrid(20), prior=prior)
    with pytest.raises(ValueError, match="order must be 2, 3 or 4, got 5"):
        Sampler(Denoiser(Soft(), SMOOTH["cosine"], prediction=PredictX()), Multistep(order=5, follow=Follow.NOISE))


# ---- the grid ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "process",
    [
        *SMOOTH.values(),
        IsotropicDiffusion(SHAPE, LinearSchedule()),
        IsotropicDiffusion(SHAPE, CosineSchedule(-math.inf, math.inf)),
        VariancePreservingBlur(SHAPE),
    ],
    ids=lambda p: type(p).__name__,
)
def test_balanced_times_take_equal_steps_of_the_squashed_log_snr(process):
    grid = balanced_times(process, 12)
    assert (grid[0], grid[-1], len(grid)) == (1, 0, 13)
    at = process.log_coefficients(grid)
    squashed = torch.tanh((at.log_alpha - at.log_sigma) * 2 / 10).expand(13, *SHAPE).flatten(1).mean(1)
    # The inverse is found to 2^-30 in time, and the log-SNR moves by thousands per unit of time at its steepest.
    torch.testing.assert_close(squashed.diff(), squashed.diff().mean().expand(12), rtol=0, atol=1e-5)


def test_balanced_times_are_between_their_ends_and_refuse_a_process_that_stands_still():
    process = SMOOTH["cosine"]
    grid = balanced_times(process, 5, start=0.9, stop=0.1, scale=1e4)
    assert (grid[0], grid[-1]) == (0.9, 0.1)
    # A scale beyond all log-SNRs leaves them as they are.
    torch.testing.assert_close(grid, log_snr_times(process, 5, start=0.9, stop=0.1), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="scale must be a positive log-SNR, such as 10, got 0"):
        balanced_times(process, 5, scale=0.0)
    with pytest.raises(ValueError, match="does not change.*take uniform_times"):
        balanced_times(ColdBlur(SHAPE), 5)
