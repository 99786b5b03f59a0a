"""Orders of convergence, measured: the slope of the error against the number of steps is the one that is stated."""

import numpy as np
import pytest
import torch
from gaussian_law import gaussian_oracle, law_of, marginals

from unmelt.degradations import (
    BlurringDiffusion,
    Deterministic,
    Eta,
    HeatDissipation,
    IsotropicDiffusion,
    Markov,
    RectifiedFlowSchedule,
    ReverseSDE,
    VariancePreservingBlur,
)
from unmelt.models import EmpiricalOracle, MixtureOracle, OraclePrior
from unmelt.samplers import (
    AdaptiveSampler,
    Churn,
    EulerMaruyamaSampler,
    ExponentialSDESampler,
    HeunSampler,
    MultistepSampler,
    PosteriorSampler,
    PredictorCorrectorSampler,
    Variable,
)

# Runs of hundreds of steps: types are checked in every other file.
pytestmark = pytest.mark.usefixtures("as_in_production")

SHAPE = (1, 4, 4)
SMOOTH = {
    "heat": HeatDissipation(SHAPE, blur_sigma_max=2.0, sigma=0.05),
    "blurring": BlurringDiffusion(SHAPE, blur_sigma_max=2.0),
    "cosine": IsotropicDiffusion(SHAPE),
    "rectified flow": IsotropicDiffusion(SHAPE, RectifiedFlowSchedule()),
    "variance preserving blur": VariancePreservingBlur(SHAPE),
}
# Away from t = 1, where the log-SNR of some is infinite, and from t = 0.
START, STOP = 0.8, 0.2


def made(kind, **settings):
    return lambda oracle, n: kind(oracle, steps=n, prior=OraclePrior(oracle), **settings)


def corrected(oracle, n):
    return Sampler(oracle, PredictorCorrector(size=0.5 / n), grid=UniformGrid(n), prior=OraclePrior(oracle))


LOG_SNR = {"variable": Variable.LOG_SNR}
FIRST = {
    "markov": made(PosteriorSampler, coupling=Markov()),
    "deterministic": made(PosteriorSampler, coupling=Deterministic()),
    "eta": made(PosteriorSampler, coupling=Eta(0.4)),
    "diffusive": made(PosteriorSampler, coupling=ReverseSDE(0.5)),
    "euler-maruyama": made(EulerMaruyamaSampler),
    "euler-maruyama half": made(EulerMaruyamaSampler, eta=0.5),
    "predictor-corrector": corrected,
}
SECOND = {
    "heun": made(HeunSampler),
    "heun log-snr": made(HeunSampler, **LOG_SNR),
    "churn": made(HeunSampler, churn=Churn(5.0, latest=0.9)),
    "multistep": made(MultistepSampler, corrector=False),
    "multistep log-snr": made(MultistepSampler, corrector=False, **LOG_SNR),
    "sde": made(ExponentialSDESampler),
    "sde half": made(ExponentialSDESampler, eta=0.5),
    "sde log-snr": made(ExponentialSDESampler, **LOG_SNR),
}
# With the corrector, without which the first step leaves an error of second order.
THIRD = {"multistep": made(MultistepSampler, order=3), "multistep log-snr": made(MultistepSampler, order=3, **LOG_SNR)}


def slope(numbers, errors):
    """The least-squares slope of -log error against log n."""
    return -np.polyfit(np.log(numbers), np.log(errors), 1)[0]


def law_errors(make, process, numbers, *, start=START):
    oracle = gaussian_oracle(process)
    true = marginals(oracle, torch.tensor([STOP], dtype=torch.float64)).at(0)
    return [law_of(make(oracle, n), start=start, stop=STOP).at(-1).distance(true) for n in numbers]


# ---- the law, for Gaussian data ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("sampler", FIRST)
def test_the_first_order(sampler, name):
    # Euler and Maruyama's steps of heat are stable from 50 on.
    numbers = (40, 80, 120, 160) if "euler" not in sampler else (80, 120, 160, 240)
    errors = law_errors(FIRST[sampler], SMOOTH[name], numbers)
    # An error C/n (1 + D/n) has slope 1 + D/n; consecutive slopes say that D is below 8, and n is 80 on average.
    assert abs(slope(numbers, errors) - 1) < 0.12, errors


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("sampler", SECOND)
def test_the_second_order(sampler, name):
    numbers = (40, 80, 120, 160)
    errors = law_errors(SECOND[sampler], SMOOTH[name], numbers)
    assert abs(slope(numbers, errors) - 2) < 0.35, errors


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("sampler", THIRD)
def test_the_third_order(sampler, name):
    numbers = (40, 80, 160, 320)
    errors = law_errors(THIRD[sampler], SMOOTH[name], numbers)
    # Its error at these numbers is 1e-5 to 1e-8, in which the fourth order's has a part: the slope is between the two.
    assert 2.6 < slope(numbers, errors) < 4.6, errors
    second = law_errors(SECOND[sampler], SMOOTH[name], numbers[-1:])
    assert errors[-1] < second[0] / 20


@pytest.mark.parametrize("name", SMOOTH)
def test_in_time_the_third_order_holds_from_t_1_on(name):
    numbers = (40, 80, 160, 320)
    errors = law_errors(THIRD["multistep"], SMOOTH[name], numbers, start=1.0)
    assert 2.6 < slope(numbers, errors) < 4.0, errors


def test_in_the_log_snr_the_third_order_is_lost_where_it_is_infinite_at_t_1():
    """An error of second order is left.

    Near t = 1 the halved log-SNRs of a uniform grid's k-th times from the end, log(k / n) + constant, do not come
    closer to each other as n grows, and estimates at t = 1 itself are of no use.
    """
    numbers = (80, 160, 320)
    errors = law_errors(THIRD["multistep log-snr"], SMOOTH["rectified flow"], numbers, start=1.0)
    assert abs(slope(numbers, errors) - 2) < 0.15, errors


def test_in_the_log_snr_the_third_order_comes_late_where_it_is_steep_at_t_1():
    """With many more steps than 230.

    Where the cosine schedule ends in log-SNR -10, half of it changes at a rate of pi / 2 e^5 = 230 per unit of time.
    """
    process, make = SMOOTH["cosine"], THIRD["multistep log-snr"]
    early, late = (40, 80), (800, 1600)
    slopes = [slope(numbers, law_errors(make, process, numbers, start=1.0)) for numbers in (early, late)]
    assert slopes[0] < 2.5
    assert abs(slopes[1] - 3) < 0.25, slopes


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("variable", Variable)
def test_without_the_corrector_the_first_step_keeps_the_third_order_from_being_one(variable, name):
    numbers = (80, 160, 320)
    make = made(MultistepSampler, order=3, corrector=False, variable=variable)
    errors = law_errors(make, SMOOTH[name], numbers)
    corrected_errors = law_errors(made(MultistepSampler, order=3, variable=variable), SMOOTH[name], numbers)
    assert slope(numbers, errors) > 1.85, errors
    assert all(a > 2 * b for a, b in zip(errors, corrected_errors, strict=True))


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("variable", Variable)
def test_the_corrector_makes_errors_of_the_second_order_smaller(variable, name):
    numbers = (80, 160)
    plain = law_errors(made(MultistepSampler, corrector=False, variable=variable), SMOOTH[name], numbers)
    mended = law_errors(made(MultistepSampler, variable=variable), SMOOTH[name], numbers)
    assert all(b < a for a, b in zip(plain, mended, strict=True)), (plain, mended)


def test_langevin_steps_of_one_size_leave_a_bias_in_proportion_to_it():
    def bias(size):
        make = made(PredictorCorrectorSampler, size=size, corrections=4)
        return law_errors(make, SMOOTH["cosine"], (200, 400))

    small, large = bias(0.05), bias(0.1)
    plain = law_errors(FIRST["markov"], SMOOTH["cosine"], (400,))[0]
    # Finer grids do not take it away; half the size halves it, up to the grid's own error.
    assert large[1] > 0.8 * large[0]
    assert 1.6 < large[1] / small[1] < 2.4
    assert large[1] > plain


# ---- single paths, for data that is not Gaussian -----------------------------------------------------------


def mixture(process):
    generator = torch.Generator().manual_seed(1)
    means = 1.5 * torch.randn((3, *SHAPE), generator=generator, dtype=torch.float64)
    variances = 0.1 + 0.2 * torch.rand((3, *SHAPE), generator=generator, dtype=torch.float64)
    return MixtureOracle(process, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), means, variances)


def empirical(process):
    data = torch.randn((6, *SHAPE), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return EmpiricalOracle(process, data)


@pytest.mark.parametrize("name", ["blurring", "cosine", "rectified flow", "variance preserving blur"])
@pytest.mark.parametrize("data", [mixture, empirical])
def test_the_order_of_single_paths(data, name):
    """Deterministic samplers, from one latent, against the flow solved to ten digits."""
    process = SMOOTH[name]
    oracle = data(process)
    generator = torch.Generator().manual_seed(3)
    x = oracle.sample(2, generator=generator)
    z = process.marginal(x, START).sample(generator=generator)
    run = {"initial": z, "start": START, "stop": 0.4}
    exact = Sampler(oracle, Adaptive(rtol=1e-11, atol=1e-11), prior=OraclePrior(oracle)).sample(2, **run)
    numbers = (40, 80, 160, 320)

    def measured(make):
        errors = [(make(oracle, n).sample(2, **run) - exact).square().mean().sqrt().item() for n in numbers]
        return slope(numbers, errors), errors

    for make, order in (
        (FIRST["deterministic"], 1),
        (SECOND["heun"], 2),
        (SECOND["heun log-snr"], 2),
        (SECOND["multistep"], 2),
        (THIRD["multistep"], 3),
    ):
        found, errors = measured(make)
        # Part of the largest errors is still of the next order.
        assert order - 0.3 < found < order + 1.4, (order, found, errors)
