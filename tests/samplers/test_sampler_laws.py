"""Every sampler on every process: with the exact denoiser of Gaussian data, its latents' law tends to the marginals.

No random numbers: the law is Gaussian and computed exactly (see gaussian_law). Halving the steps must divide its
distance from the oracle's marginals as the sampler's order says.
"""

import pytest
import torch
from gaussian_law import gaussian_oracle, law_of, law_of_estimate, marginals
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    Deterministic,
    Eta,
    Independent,
    Markov,
    ReverseSDE,
)
from unmelt.models import OraclePrior
from unmelt.samplers import (
    AdaptiveSampler,
    Churn,
    End,
    EulerMaruyamaSampler,
    ExponentialSDESampler,
    HeunSampler,
    MultistepSampler,
    PosteriorSampler,
    PredictorCorrectorSampler,
    Variable,
    log_snr_times,
    uniform_times,
)

# A thousand runs of some tens of steps: types are checked in every other file.
pytestmark = pytest.mark.usefixtures("as_in_production")

EPS = torch.finfo(torch.float64).eps
SILENT = ("cold", "no noise")
NOISY = [name for name in EVERY_PROCESS if name not in SILENT]
# Pixels and scales vanish one after the other, each in a short stretch of time, in which a uniform grid has few steps.
IN_TURN = {"mask": 160, "pixelation": 80}
# Explicit steps that no coefficient is blown up by; heat, heat flow, ordered fading and renoised heat are unstable at
# any number up to that, and the mask far from its limit.
STABLE = {
    40: (
        "blurring",
        "variance preserving even blur",
        "tabulated",
        "power law",
        "unbounded cosine",
        "linear",
        "cosine",
        "linear from 0",
        "sigmoid",
        "rectified flow",
        "shifted flow",
        "log-snr",
        "in basis",
        "groups",
    ),
    80: ("geometric", "soft", "variance preserving blur", "sine edges", "edm"),
    160: ("anisotropic heat", "graph", "pixelation"),
}


def posterior(coupling):
    return lambda oracle, times, end: Sampler(
        oracle, Posterior(coupling), grid=FixedGrid(times), prior=OraclePrior(oracle), denoise_last=end
    )


def made(kind, **settings):
    return lambda oracle, times, end: kind(oracle, times=times, prior=OraclePrior(oracle), end=end, **settings)


def corrected(oracle, times, end):
    return Sampler(
        oracle,
        PredictorCorrector(size=0.5 / (len(times) - 1), corrections=2),
        grid=FixedGrid(times),
        prior=OraclePrior(oracle),
        denoise_last=end,
    )


# Each with the order that its documentation states.
NOISELESS = {
    "deterministic": (posterior(Deterministic()), 1),
    "heun": (made(HeunSampler), 2),
    "heun log-snr": (made(HeunSampler, variable=Variable.LOG_SNR), 2),
}
STEPPING = {
    "markov": (posterior(Markov()), 1),
    "eta": (posterior(Eta(0.4)), 1),
    "diffusive": (posterior(ReverseSDE(0.5)), 1),
    "heun churn": (made(HeunSampler, churn=Churn(3.0, latest=0.9)), 2),
    "sde": (made(ExponentialSDESampler), 2),
    "sde half": (made(ExponentialSDESampler, eta=0.5), 2),
    "sde log-snr": (made(ExponentialSDESampler, variable=Variable.LOG_SNR), 2),
    "predictor-corrector": (corrected, 1),
    **NOISELESS,
}
MULTISTEP = {
    f"order {order} {variable.name.lower()}{' corrected' if corrector else ''}": (
        # Without the corrector the first step, of first order, leaves an error of second order.
        made(MultistepSampler, order=order, variable=variable, corrector=corrector),
        # In the log-SNR, estimates at t = 1 are of no use where that is infinite there; see test_orders.
        order if corrector and variable is Variable.TIME else 2,
    )
    for order in (2, 3)
    for variable in Variable
    for corrector in (True, False)
}
EVERY_SAMPLER = STEPPING | MULTISTEP


def grid(name, steps):
    return log_snr_times(EVERY_PROCESS[name], steps) if name in IN_TURN else uniform_times(steps)


def distances(make, name, steps, end=End.LATENT):
    """Distances from the marginals at about t = 0.6 and 0.3, and of the latents at 0."""
    oracle, times = gaussian_oracle(EVERY_PROCESS[name]), grid(name, steps)
    law, true = law_of(make(oracle, times, end)), marginals(oracle, times)
    stops = [int((times - stop).abs().argmin()) for stop in (0.6, 0.3)] + [steps]
    return [law.at(k).distance(true.at(k)) for k in stops]


# Where alpha^2 rises in proportion to 1 - t, and estimates of the data like its root, the first step's error is of
# first order whatever the method is.
ROOT_AT_ONE = ("sigmoid",)


def assert_order(make, order, name, steps, end=End.LATENT):
    coarse, fine = (distances(make, name, n, end) for n in (steps, 2 * steps))
    # Half, a quarter, an eighth, and the next order's share of these few steps. Below 3e-5 (of data of size 1) terms of
    # several orders meet, and cancel in one of the two as it happens; kinks between a grid's times add to them.
    bound = {1: 0.65, 2: 0.4, 3: 0.2}[1 if name in ROOT_AT_ONE else order]
    floor = 2e-4 if name in IN_TURN else 3e-5
    for far, near in zip(coarse[:2], fine[:2], strict=True):
        assert near <= max(bound * far, floor), (coarse, fine)
    # Where the noise falls to nothing like the root of t, the last step is of no more than first order in its
    # length, and a law that varies like that root only of half an order: 2^-1/2.
    assert end is End.ESTIMATE or fine[2] <= max(0.76 * coarse[2], 10 * floor), (coarse, fine)


# ---- the latents -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in IN_TURN else name for name in NOISY]
)
@pytest.mark.parametrize("sampler", STEPPING)
def test_the_latents_of_a_stepping_sampler_tend_to_the_marginals(sampler, name):
    make, order = STEPPING[sampler]
    assert_order(make, order, name, IN_TURN.get(name, 20))


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("sampler", MULTISTEP)
def test_the_latents_of_a_multistep_sampler_tend_to_the_marginals(sampler, name):
    make, order = MULTISTEP[sampler]
    assert_order(make, order, name, IN_TURN.get(name, 40))


@pytest.mark.parametrize(("steps", "name"), [(steps, name) for steps, names in STABLE.items() for name in names])
def test_the_latents_of_euler_and_maruyama_tend_to_the_marginals(steps, name):
    # Without the step to the latents at 0, which no number of explicit steps makes stable where noise falls to 0.
    assert_order(made(EulerMaruyamaSampler), 1, name, steps, End.ESTIMATE)


# By how much more the flow spreads an error: from noise of 50, relative to which it is kept small; from latents with
# 0.01 of noise that say all there is to know of a signal of size 1.
SPREAD = {"geometric": 10, "pixelation": 10, "mask": 100}
# Many short stretches with kinks between them take thousands of calls to pass with less.
TOLERANCE = {"ordered": 1e-4}


@pytest.mark.parametrize("name", NOISY)
def test_the_latents_of_the_adaptive_sampler_have_the_marginals(name):
    """Errors of some tens of steps, each up to a tolerance, carried on by a flow that spreads them several times."""
    oracle, tolerance = gaussian_oracle(EVERY_PROCESS[name]), TOLERANCE.get(name, 1e-6)
    times = torch.tensor([1.0, 0.6, 0.3, 0.0], dtype=torch.float64)
    sampler = made(AdaptiveSampler, rtol=tolerance, atol=tolerance)(oracle, times, End.LATENT)
    law, true = law_of(sampler, stop=0.3), marginals(oracle, times)
    for k in (1, 2):
        assert law.at(k).distance(true.at(k)) < 200 * SPREAD.get(name, 1) * tolerance


# ---- what a run returns at t = 0 ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("sampler", [key for key in STEPPING if key != "heun churn"])
def test_one_step_samplers_end_in_the_estimate_from_the_last_latents(sampler, name):
    """The law of E[x | z_t] at the last time before 0, for the law that the sampler's latents have there."""
    oracle, times = gaussian_oracle(EVERY_PROCESS[name]), uniform_times(10)
    law = law_of(STEPPING[sampler][0](oracle, times, End.ESTIMATE))
    expected = law_of_estimate(oracle, law.at(-2), times[-2:-1])
    # A transform forth and back, and some sums; with little noise, gains up to 1 / alpha.
    torch.testing.assert_close(law.at(-1), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("sampler", MULTISTEP)
def test_multistep_samplers_end_in_an_estimate_from_t_0(sampler, name):
    """They extrapolate to t = 0: the law tends to that of E[x | z_0], at worst like the root of the step."""
    make, _ = MULTISTEP[sampler]
    oracle, now = gaussian_oracle(EVERY_PROCESS[name]), torch.zeros(1, dtype=torch.float64)
    true = law_of_estimate(oracle, marginals(oracle, now).at(0), now)
    steps = IN_TURN.get(name, 20)
    far, near = (law_of(make(oracle, grid(name, n), End.ESTIMATE)).at(-1).distance(true) for n in (steps, 4 * steps))
    # Where a grid's last times lie on a kink of the schedule, doubling steps may not help; twice doubling does.
    assert near < max(0.76**2 * far, 3e-4), (far, near)


def test_churned_steps_end_in_the_estimate_with_churn_s_noise():
    """Churn before the last step too: the estimate is made at the raised time, from latents with that time's law."""
    oracle, times = gaussian_oracle(EVERY_PROCESS["cosine"]), uniform_times(40)
    sampler = made(HeunSampler, churn=Churn(3.0, latest=0.9))(oracle, times, End.ESTIMATE)
    law = law_of(sampler)
    raised = sampler.coefficients(times[-2:-1], times[-1:]).raised.flatten()
    expected = law_of_estimate(oracle, marginals(oracle, raised).at(0), raised)
    assert raised > times[-2]
    # The latents' own law is within 5e-3 of the marginal there.
    assert law.at(-1).distance(expected) < 1e-2


# ---- independent couplings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("name", NOISY)
def test_independent_steps_lose_variance_by_a_known_amount(name, end):
    """z_s = A_s E[x | z_t] + sigma_s epsilon: a mean that is right, a variance that falls short of the marginal's."""
    process, times = EVERY_PROCESS[name], uniform_times(6)
    oracle = gaussian_oracle(process)
    law, true = law_of(posterior(Independent())(oracle, times, end)), marginals(oracle, times)
    for k in range(6):
        estimate = law_of_estimate(oracle, law.at(k), times[k : k + 1])
        if k == 5 and end is End.ESTIMATE:
            expected = estimate
        else:
            alpha, sigma = process.alpha(times[k + 1]), process.sigma(times[k + 1])
            mean = (alpha * estimate.mean)[0]
            expected = type(law)(mean, ((alpha * estimate.stddev).square() + sigma**2).sqrt()[0])
        torch.testing.assert_close(law.at(k + 1), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(law.mean[:-1], true.mean[:-1], rtol=1e-9, atol=1e-9)
    assert bool((law.stddev <= true.stddev * (1 + 1e-9)).all())


# ---- without noise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize("sampler", ["markov", "eta", "diffusive", *NOISELESS, *MULTISTEP])
def test_without_noise_every_sampler_is_exact(sampler, name, end):
    """A latent tells the data, so that every step is the degradation's own, up to rounding over what is left of it."""
    process, start = EVERY_PROCESS[name], 0.2
    oracle, times = gaussian_oracle(process), uniform_times(10)
    sampler = EVERY_SAMPLER[sampler][0](oracle, times, end)
    law, true = law_of(sampler, start=start), marginals(oracle, sampler.times[-3:])
    weakest = process.alpha(start).min().item()
    # Three latents, each held to a few roundings, divided by alpha and carried on, extrapolated with weights up to 3.
    torch.testing.assert_close(law, true, rtol=0, atol=200 * EPS / weakest)


@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize("sampler", [key for key in STEPPING if key not in ("markov", "eta", "diffusive", *NOISELESS)])
def test_samplers_that_need_noise_refuse_processes_without(sampler, name):
    make, _ = STEPPING[sampler]
    with pytest.raises(ValueError, match="needs noise, but .* is deterministic, sigma = 0: take MultistepSampler"):
        make(gaussian_oracle(EVERY_PROCESS[name]), uniform_times(4), End.LATENT)
