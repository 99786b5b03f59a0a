"""Multistep: weights of the noise against quadrature, first steps, calls, and what each way of following divides by."""

import math

import mpmath
import numpy as np
import pytest
import torch
from gaussian_distributions import gaussian_oracle
from sampler_support import SHAPE, data_prior, latents, made, soft

from unmelt.degradations import (
    BlurringDiffusion,
    ConstantNoise,
    CosineSchedule,
    Deterministic,
    GaussianBlur,
    HeatDissipation,
    IsotropicDiffusion,
    PowerBlur,
    PredictEpsilon,
    PredictV,
    PredictX,
    RectifiedFlowSchedule,
    ReverseSDE,
    posterior_coefficients,
)
from unmelt.models import StandardNormalPrior
from unmelt.samplers import Follow, Multistep, Posterior, Variable
from unmelt.samplers.exponential import noise_interval
from unmelt.samplers.stepper import Problem

COSINE = IsotropicDiffusion(SHAPE, CosineSchedule())
FLOW = IsotropicDiffusion(SHAPE, RectifiedFlowSchedule())
BLURRING = BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
# log(sigma / alpha) = log tan(a t + b): Hoogeboom & Salimans' cosine schedule, typed once more.
B = mpmath.atan(mpmath.exp(-5))
A = mpmath.atan(mpmath.exp(5)) - B


def step_of(process, stencil, t, s, **settings):
    levels = [process.at(torch.tensor(time, dtype=torch.float64)) for time in (*stencil, t, s)]
    return noise_interval(*levels[-2:], len(stencil), **settings).step(*levels[:-2])


def half_noise(x):
    return mpmath.log(mpmath.tan(A * x + B))


def quadrature(stencil, t, s, j, variable):
    """alpha_s times the integral of L_j d(sigma / alpha), to 30 digits."""
    place = {
        Variable.TIME: lambda x: x,
        Variable.LOG_SNR: half_noise,
        Variable.NOISE_RATIO: lambda x: mpmath.exp(half_noise(x)),
    }[variable]

    def lagrange(x):
        value = mpmath.mpf(1)
        for m, other in enumerate(stencil):
            if m != j:
                value *= (place(x) - place(other)) / (place(stencil[j]) - place(other))
        return value

    alpha = 1 / mpmath.sqrt(1 + mpmath.exp(2 * half_noise(s)))
    slope = lambda x: mpmath.diff(lambda y: mpmath.exp(half_noise(y)), x)  # noqa: E731
    return alpha * mpmath.quad(lambda x: lagrange(x) * slope(x), [t, (s + t) / 2, s])


@pytest.mark.parametrize("variable", list(Variable), ids=lambda v: v.name)
@pytest.mark.parametrize("stencil", [(0.6,), (0.6, 0.75), (0.6, 0.75, 0.8), (0.6, 0.7, 0.8, 0.9), (0.6, 0.4, 0.7)])
def test_weights_are_the_integrals_of_the_polynomials(stencil, variable):
    process = IsotropicDiffusion((2,), CosineSchedule(-10.0, 10.0))
    step = step_of(process, stencil, 0.6, 0.4, variable=variable)
    with mpmath.workdps(30):
        exact = [float(quadrature(stencil, 0.6, 0.4, j, variable)) for j in range(len(stencil))]
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
    times = (0.2, 0.3, 0.45)
    step = step_of(IsotropicDiffusion((2,), RectifiedFlowSchedule()), times, 0.2, 0.0)
    here = [math.log((1 - t) / t) for t in times]
    first = 0.2 / 0.8
    for j, found in enumerate(step.estimates):
        polynomial = np.poly1d([1.0])
        for m in range(3):
            if m != j:
                polynomial *= np.poly1d([1.0, here[0] - here[m]]) / (here[j] - here[m])
        exact = -first * sum(c * math.factorial(p) for p, c in enumerate(polynomial.c[::-1]))
        assert found.flatten()[0].item() == pytest.approx(exact, rel=1e-12)


# ---- single steps, predictions, calls ----------------------------------------------------------------------


@pytest.mark.parametrize("follow", Follow)
@pytest.mark.parametrize("prediction", [PredictX(), PredictEpsilon(), PredictV()], ids=str)
def test_a_single_step_is_ddim_s(prediction, follow):
    denoiser = soft(BLURRING, prediction)
    z = latents()
    ours = made(denoiser, Multistep(order=3, follow=follow)).step(z, 0.7, 0.4)
    torch.testing.assert_close(
        ours, made(denoiser, Posterior(Deterministic())).step(z, 0.7, 0.4), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("follow", Follow)
@pytest.mark.parametrize("process", [FLOW, BLURRING], ids=["flow", "blurring"])
def test_predictions_in_a_trajectory_are_the_denoiser_s(process, follow):
    oracle = gaussian_oracle(process)
    path = made(oracle, Multistep(order=3, follow=follow), 6).run(2, initial=latents(2)).trajectory
    torch.testing.assert_close(path.predictions[0], oracle(path.states[0], 1.0), rtol=1e-9, atol=1e-9)
    # Steps may be corrected after the network has answered, but its answer is to the states as they are given.
    torch.testing.assert_close(path.predictions[-1], oracle(path.states[-2], 1 / 6), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("follow", Follow)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_calls_are_one_per_step(order, follow):
    for steps in (1, 3, 5):
        samples, stats, _ = made(soft(FLOW), Multistep(order=order, follow=follow), steps).run(2, keep_path=False)
        assert samples.isfinite().all()
        assert stats.calls == steps


# ---- what is followed --------------------------------------------------------------------------------------


def shares(stepper, process, *times):
    levels = [process.at(torch.tensor([time], dtype=torch.float64)) for time in times]
    problem = Problem(process, PredictX(), torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64), denoise_last=True)
    return stepper.coefficients(problem, *levels)


def test_either_follows_the_noise_where_signal_outweighs_it_and_the_data_elsewhere():
    """Coefficient by coefficient, the very steps of the two."""
    process = HeatDissipation(SHAPE, blur_sigma_max=2.0, sigma=0.2)
    times = (0.5, 0.4, 0.6, 0.7)
    either, data, noise = (
        shares(Multistep(order=3, follow=follow), process, *times)
        for follow in (Follow.EITHER, Follow.DATA, Follow.NOISE)
    )
    outweighed = torch.stack([process.alpha(t) >= process.sigma(t) for t in times]).all(0)
    assert outweighed.any()
    assert not outweighed.all()
    torch.testing.assert_close(either.latent, torch.where(outweighed, noise.latent, data.latent))
    for k in range(3):
        torch.testing.assert_close(either.data[k], torch.where(outweighed, 0.0, data.data[k]))
        torch.testing.assert_close(either.noise[k], torch.where(outweighed, noise.noise[k], 0.0))


@pytest.mark.parametrize(
    ("process", "what"),
    [
        (HeatDissipation(SHAPE, blur_sigma_max=30.0, levels=20), "too little signal"),
        (GaussianBlur(SHAPE, PowerBlur(0.5), ConstantNoise(0.0)), "no noise"),
    ],
    ids=["signal", "noise"],
)
def test_what_following_the_noise_would_divide_by_is_looked_at(process, what):
    with pytest.raises(ValueError, match=f"has {what} in some coefficient.*take Follow.DATA, or Follow.EITHER"):
        made(soft(process), Multistep(follow=Follow.NOISE), 20, prior=data_prior(process))
    for order in (1, 2, 3, 4):
        either = made(soft(process), Multistep(order=order, follow=Follow.EITHER), 20, prior=data_prior(process))
        assert either.sample(2).isfinite().all()


def test_with_noise_steps_add_what_the_reverse_diffusion_does():
    """The same latent's share and standard deviation as `Posterior(ReverseSDE(eta))`; estimates share what it takes."""
    times = (0.5, 0.4, 0.6)
    step = shares(Multistep(eta=0.7), BLURRING, *times)
    at_t, at_s = (BLURRING.at(torch.tensor([t], dtype=torch.float64)) for t in times[:2])
    posterior = posterior_coefficients(at_s, at_t, ReverseSDE(0.7))
    torch.testing.assert_close(step.stddev[0], posterior.stddev)
    torch.testing.assert_close(step.latent, posterior.latent)
    torch.testing.assert_close(sum(step.data), at_s.alpha * posterior.signal)
    assert not step.corrected
    assert made(soft(COSINE), Multistep(eta=0.7), prior=StandardNormalPrior(COSINE)).draws_noise
