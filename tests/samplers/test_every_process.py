"""Every stepper on every process: with the exact denoiser of Gaussian data, its latents tend to the marginals.

No random numbers: their distribution is Gaussian and computed exactly (see gaussian_distributions). Halving the steps
must divide its distance from the oracle's marginals as the stepper's order says.
"""

import pytest
import torch
from gaussian_distributions import distribution, estimates, gaussian_oracle, marginals
from sampler_support import made
from zoo import EVERY_PROCESS

from unmelt.degradations import Deterministic, Eta, Independent, ReverseSDE
from unmelt.samplers import (
    Adaptive,
    BalancedGrid,
    Churn,
    Follow,
    Heun,
    LogSNRGrid,
    Multistep,
    Posterior,
    PredictorCorrector,
    UniformGrid,
    Variable,
)
from unmelt.samplers.stepper import Problem

# A thousand runs of some tens of steps: types are checked in every other file.
pytestmark = pytest.mark.usefixtures("as_in_production")

EPS = torch.finfo(torch.float64).eps
SILENT = ("cold", "no noise")
NOISY = [name for name in EVERY_PROCESS if name not in SILENT]
# Pixels and scales vanish one after the other, each in a short stretch of time, in which a uniform grid has few steps.
IN_TURN = {"mask": 160, "pixelation": 80}
# Processes that every stepper is tried on; the whole cross product has them all.
FAST = ("blurring",)
LOG_SNR, NOISE = Variable.LOG_SNR, Follow.NOISE


def corrected(steps):
    return PredictorCorrector(size=0.5 / steps, corrections=2)


# Each with the order that its documentation states.
NOISELESS = {Posterior(Deterministic()): 1, Heun(): 2, Heun(variable=LOG_SNR): 2}
ADDING_NOISE = {Posterior(): 1, Posterior(Eta(0.4)): 1, Posterior(ReverseSDE(0.5)): 1}
NEEDING_NOISE = {
    Heun(churn=Churn(3.0, latest=0.9)): 2,
    Heun(eta=1.0): 2,
    Heun(eta=0.5): 2,
    Heun(eta=1.0, variable=LOG_SNR): 2,
    corrected: 1,
}
ONE_STEP = NOISELESS | ADDING_NOISE | NEEDING_NOISE
MULTISTEP = {
    # Without the corrector the first step, of first order, leaves an error of second order; and in the log-SNR
    # estimates at t = 1 are of no use where that is infinite there (see test_orders).
    **{
        Multistep(order=order, variable=variable, corrector=corrector): (
            order if corrector and variable is Variable.TIME else 2
        )
        for order in (2, 3)
        for variable in (Variable.TIME, LOG_SNR)
        for corrector in (True, False)
    },
    Multistep(follow=Follow.EITHER): 2,
    Multistep(order=3, follow=Follow.EITHER): 2,
}
NOISY_MULTISTEP = {Multistep(eta=1.0): 2}


def crossed(steppers, names, *, fast=FAST):
    """Each stepper on each process: fast on those that are named, half of the others in the full set, half slow."""
    half = (pytest.mark.full, pytest.mark.slow)
    return pytest.mark.parametrize(
        ("stepper", "name"),
        [
            pytest.param(stepper, name, marks=() if name in fast else half[(i + k) % 2], id=f"{_shown(stepper)}-{name}")
            for i, stepper in enumerate(steppers)
            for k, name in enumerate(names)
        ],
    )


def _shown(stepper):
    return "corrected" if stepper is corrected else str(stepper)


def times_of(name, steps):
    return (LogSNRGrid if name in IN_TURN else UniformGrid)(steps).times(EVERY_PROCESS[name])


def run(stepper, name, times, denoise_last, **settings):
    stepper = stepper(len(times) - 1) if stepper is corrected else stepper
    return made(gaussian_oracle(EVERY_PROCESS[name]), stepper, times=times, denoise_last=denoise_last, **settings)


def distances(stepper, name, steps):
    """Distances from the marginals at about t = 0.6 and 0.3, and of the latents at 0."""
    times = times_of(name, steps)
    sampler = run(stepper, name, times, denoise_last=False)
    found, true = distribution(sampler), marginals(sampler.denoiser, times)
    stops = [int((times - stop).abs().argmin()) for stop in (0.6, 0.3)] + [steps]
    return [found.at(k).distance(true.at(k)) for k in stops]


# Where alpha^2 rises in proportion to 1 - t, and estimates of the data like its root, the first step's error is of
# first order whatever the method is.
ROOT_AT_ONE = ("sigmoid", "discrete to no signal")


@crossed(ONE_STEP | MULTISTEP | NOISY_MULTISTEP, NOISY)
def test_latents_tend_to_the_marginals(stepper, name):
    order = (ONE_STEP | MULTISTEP | NOISY_MULTISTEP)[stepper]
    steps = IN_TURN.get(name, 20 if stepper in ONE_STEP else 40)
    coarse, fine = (distances(stepper, name, n) for n in (steps, 2 * steps))
    # Half, a quarter, an eighth, and the next order's share of these few steps. Below 3e-5 (of data of size 1) terms of
    # several orders meet, and cancel in one of the two as it happens; kinks between a grid's times add to them.
    bound = {1: 0.65, 2: 0.4, 3: 0.2}[1 if name in ROOT_AT_ONE else order]
    floor = 2e-4 if name in IN_TURN else 3e-5
    for far, near in zip(coarse[:2], fine[:2], strict=True):
        assert near <= max(bound * far, floor), (coarse, fine)
    # Where the noise falls to nothing like the root of t, the last step is of no more than first order in its
    # length, and a distribution that varies like that root only of half an order: 2^-1/2.
    assert fine[2] <= max(0.76 * coarse[2], 10 * floor), (coarse, fine)


# By how much more the flow spreads an error: from noise of 50, relative to which it is kept small; from latents with
# 0.01 of noise that say all there is to know of a signal of size 1; and over kinks between the levels of a table, which
# the solver's estimate of its error does not see.
SPREAD = {"geometric": 10, "pixelation": 10, "mask": 100, "discrete": 2, "discrete to no signal": 2}
# Many short stretches with kinks between them take thousands of calls to pass with less.
TOLERANCE = {"ordered": 1e-4}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "cosine" else pytest.mark.full) for n in NOISY])
def test_adaptive_latents_have_the_marginals(name):
    """Errors of some tens of steps, each up to a tolerance, carried on by a flow that spreads them several times."""
    tolerance = TOLERANCE.get(name, 1e-6)
    times = torch.tensor([1.0, 0.6, 0.3, 0.0], dtype=torch.float64)
    sampler = run(Adaptive(tolerance, tolerance), name, times, denoise_last=False)
    found, true = distribution(sampler, stop=0.3), marginals(sampler.denoiser, times)
    for k in (1, 2):
        assert found.at(k).distance(true.at(k)) < 200 * SPREAD.get(name, 1) * tolerance


# ---- what a run returns at t = 0 ---------------------------------------------------------------------------


@crossed([stepper for stepper in ONE_STEP if not getattr(stepper, "churn", None)], NOISY, fast=("blurring",))
def test_one_step_methods_end_in_the_estimate_from_the_last_latents(stepper, name):
    """Distributed as E[x | z_t] at the last time before 0, for the distribution of the latents there."""
    times = UniformGrid(10).times(EVERY_PROCESS[name])
    sampler = run(stepper, name, times, denoise_last=True)
    found = distribution(sampler)
    expected = estimates(sampler.denoiser, found.at(-2), times[-2:-1])
    # A transform forth and back, and some sums; with little noise, gains up to 1 / alpha.
    torch.testing.assert_close(found.at(-1), expected, rtol=1e-10, atol=1e-12)


@crossed(MULTISTEP | NOISY_MULTISTEP, NOISY, fast=("blurring",))
def test_multistep_methods_end_in_an_estimate_from_t_0(stepper, name):
    """They extrapolate to t = 0: the distribution tends to that of E[x | z_0], at worst like the root of the step."""
    oracle, now = gaussian_oracle(EVERY_PROCESS[name]), torch.zeros(1, dtype=torch.float64)
    true = estimates(oracle, marginals(oracle, now).at(0), now)
    steps = IN_TURN.get(name, 20)
    far, near = (
        distribution(run(stepper, name, times_of(name, n), denoise_last=True)).at(-1).distance(true)
        for n in (steps, 4 * steps)
    )
    # Where a grid's last times lie on a kink of the schedule, doubling steps may not help; twice doubling does.
    assert near < max(0.76**2 * far, 3e-4), (far, near)


@pytest.mark.parametrize("denoise_last", [True, False])
@pytest.mark.parametrize(
    "stepper", [Heun(follow=NOISE), *(Multistep(4, NOISE, variable) for variable in Variable)], ids=str
)
@pytest.mark.parametrize("name", ["blurring", "cosine", "edm", "rectified flow"])
def test_following_the_noise_ends_in_the_data_s_distribution(name, stepper, denoise_last):
    times = BalancedGrid(60).times(EVERY_PROCESS[name])
    sampler = run(stepper, name, times, denoise_last=denoise_last)
    now = torch.zeros(1, dtype=torch.float64)
    true = marginals(sampler.denoiser, now).at(0)
    expected = estimates(sampler.denoiser, true, now) if denoise_last else true
    # The error of second order in sixty steps, and of higher ones.
    assert distribution(sampler).at(-1).distance(expected) < (6e-3 if isinstance(stepper, Heun) else 3e-3)


def test_churned_steps_end_in_the_estimate_with_churn_s_noise():
    """Churn before the last step too: the estimate is made at the later time, from latents distributed as there."""
    times, process = times_of("cosine", 40), EVERY_PROCESS["cosine"]
    sampler = run(Heun(churn=Churn(3.0, latest=0.9)), "cosine", times, denoise_last=True)
    problem = Problem(process, sampler.denoiser.prediction, times, denoise_last=True)
    step = sampler.stepper.coefficients(problem, process.at(times[-2:-1]), process.at(times[-1:]))
    later = step.churn.later.flatten()
    expected = estimates(sampler.denoiser, marginals(sampler.denoiser, later).at(0), later)
    assert later > times[-2]
    # The latents' own distribution is within 5e-3 of the marginal there.
    assert distribution(sampler).at(-1).distance(expected) < 1e-2


# ---- independent couplings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("denoise_last", [True, False])
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.full) for n in NOISY])
def test_independent_steps_lose_variance_by_a_known_amount(name, denoise_last):
    """z_s = A_s E[x | z_t] + sigma_s epsilon: a mean that is right, a variance that falls short of the marginal's."""
    process, times = EVERY_PROCESS[name], UniformGrid(6).times(EVERY_PROCESS[name])
    sampler = run(Posterior(Independent()), name, times, denoise_last)
    found, true = distribution(sampler), marginals(sampler.denoiser, times)
    for k in range(6):
        expected = estimates(sampler.denoiser, found.at(k), times[k : k + 1])
        if not (k == 5 and denoise_last):
            alpha, sigma = process.alpha(times[k + 1])[0], process.sigma(times[k + 1])[0]
            stddev = ((alpha * expected.stddev).square() + sigma**2).sqrt()
            expected = type(found)((alpha * expected.mean).expand_as(stddev), stddev)
        torch.testing.assert_close(found.at(k + 1), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.mean[:-1], true.mean[:-1], rtol=1e-9, atol=1e-9)
    assert bool((found.stddev <= true.stddev * (1 + 1e-9)).all())


# ---- without noise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("denoise_last", [True, False])
@crossed(ADDING_NOISE | NOISELESS | MULTISTEP, SILENT, fast=("cold",))
def test_without_noise_every_stepper_is_exact(stepper, name, denoise_last):
    """A latent tells the data, so that every step is the degradation's own, up to rounding over what is left of it."""
    process, start = EVERY_PROCESS[name], 0.2
    sampler = run(stepper, name, UniformGrid(10).times(process), denoise_last)
    found, true = distribution(sampler, start=start), marginals(sampler.denoiser, sampler.times[-3:])
    weakest = process.alpha(start).min().item()
    # Three latents, each held to a few roundings, divided by alpha and carried on, extrapolated with weights up to 3.
    torch.testing.assert_close(found, true, rtol=0, atol=200 * EPS / weakest)


@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize("stepper", NEEDING_NOISE | NOISY_MULTISTEP, ids=_shown)
def test_steppers_that_need_noise_refuse_processes_without(stepper, name):
    with pytest.raises(ValueError, match=r"needs noise, but .* is deterministic, sigma = 0: take Multistep\(\)"):
        run(stepper, name, UniformGrid(4).times(EVERY_PROCESS[name]), denoise_last=False)
