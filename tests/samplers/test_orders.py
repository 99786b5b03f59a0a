"""Orders of convergence, measured: the slope of the error against the number of steps is the one that is stated."""

import numpy as np
import pytest
import torch
from gaussian_distributions import distribution, gaussian_oracle, marginals
from sampler_support import made

from unmelt.degradations import (
    BlurringDiffusion,
    Deterministic,
    Eta,
    HeatDissipation,
    IsotropicDiffusion,
    RectifiedFlowSchedule,
    ReverseSDE,
    VariancePreservingBlur,
)
from unmelt.models import EmpiricalOracle, MixtureOracle
from unmelt.samplers import Adaptive, Churn, Follow, Heun, Multistep, Posterior, PredictorCorrector, Variable

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
TIME, LOG_SNR = Variable.TIME, Variable.LOG_SNR


def corrected(steps):
    return PredictorCorrector(size=0.5 / steps)


FIRST = [
    Posterior(),
    *map(Posterior, (Deterministic(), Eta(0.4), ReverseSDE(0.5))),
    Multistep(order=1),
    Multistep(order=1, eta=1.0),
    corrected,
]
SECOND = [
    Heun(),
    Heun(variable=LOG_SNR),
    Heun(follow=Follow.EITHER),
    *(Heun(follow=Follow.NOISE, variable=variable) for variable in Variable),
    Heun(churn=Churn(5.0, latest=0.9)),
    Heun(eta=1.0),
    Heun(eta=0.5),
    Heun(eta=1.0, variable=LOG_SNR),
    Multistep(corrector=False),
    Multistep(corrector=False, variable=LOG_SNR),
    Multistep(corrector=False, follow=Follow.EITHER),
    Multistep(follow=Follow.NOISE, variable=TIME),
    Multistep(follow=Follow.NOISE),
    Multistep(follow=Follow.NOISE, variable=Variable.NOISE_RATIO),
    # Of the distribution, not of a single path.
    Multistep(eta=1.0),
    Multistep(eta=0.5),
]
# With the corrector, without which the first step leaves an error of second order.
THIRD = [
    Multistep(order=3),
    Multistep(order=3, variable=LOG_SNR),
    Multistep(order=3, follow=Follow.EITHER),
    Multistep(order=3, follow=Follow.NOISE, variable=TIME),
    Multistep(order=3, follow=Follow.NOISE),
    Multistep(order=3, follow=Follow.NOISE, variable=Variable.NOISE_RATIO),
    Multistep(order=4),
    Multistep(order=4, follow=Follow.NOISE),
]


def cases(steppers, *, fast=("cosine",)):
    """Each stepper on each process that allows it: fast on one, half of the others in the full set, half slow."""
    half = (pytest.mark.full, pytest.mark.slow)
    return pytest.mark.parametrize(
        ("stepper", "name"),
        [
            pytest.param(
                stepper,
                name,
                marks=() if name in fast else half[(i + k) % 2],
                id=f"{getattr(stepper, '__name__', stepper)}-{name}",
            )
            for i, stepper in enumerate(steppers)
            for k, name in enumerate(SMOOTH)
            # There these leave no signal to divide by.
            if name not in ("heat", "variance preserving blur") or getattr(stepper, "follow", None) is not Follow.NOISE
        ],
    )


def slope(numbers, errors):
    """The least-squares slope of -log error against log n."""
    return -np.polyfit(np.log(numbers), np.log(errors), 1)[0]


def errors_of(stepper, process, numbers, *, start=START):
    """Distances of the latents' distribution from the marginal at the end, by number of steps."""
    oracle = gaussian_oracle(process)
    true = marginals(oracle, torch.tensor([STOP], dtype=torch.float64)).at(0)
    samplers = [made(oracle, stepper(n) if callable(stepper) else stepper, n) for n in numbers]
    return [distribution(sampler, start=start, stop=STOP).at(-1).distance(true) for sampler in samplers]


# ---- the distribution, for Gaussian data -------------------------------------------------------------------


@cases(FIRST, fast=("heat",))
def test_the_first_order(stepper, name):
    numbers = (40, 80, 120)
    errors = errors_of(stepper, SMOOTH[name], numbers)
    # An error C/n (1 + D/n) has slope 1 + D/n; consecutive slopes say that D is below 12, and n is 80 on average.
    assert abs(slope(numbers, errors) - 1) < 0.15, errors


@cases(SECOND)
def test_the_second_order(stepper, name):
    numbers = (40, 80, 120)
    errors = errors_of(stepper, SMOOTH[name], numbers)
    assert abs(slope(numbers, errors) - 2) < 0.45, errors


@cases(THIRD)
def test_the_third_order(stepper, name):
    numbers = (40, 80, 160, 320)
    errors = errors_of(stepper, SMOOTH[name], numbers)
    # Errors are 1e-5 to 1e-9 at these numbers. Next orders' terms bend the slope up, and an error that changes its sign
    # may do so too; a part of a fifth of the next order at n = 80 makes it 0.3 smaller.
    assert slope(numbers, errors) > 2.6, errors
    lower = Multistep(order=2, follow=stepper.follow, variable=stepper.variable, corrector=False)
    assert errors[-1] < errors_of(lower, SMOOTH[name], numbers[-1:])[0] / 4


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "rectified flow" else pytest.mark.full) for n in SMOOTH]
)
def test_in_time_the_third_order_holds_from_t_1_on(name):
    numbers = (40, 80, 160, 320)
    errors = errors_of(THIRD[0], SMOOTH[name], numbers, start=1.0)
    assert 2.6 < slope(numbers, errors) < 4.0, errors


def test_in_the_log_snr_the_third_order_is_lost_where_it_is_infinite_at_t_1():
    """An error of second order is left.

    Near t = 1 the halved log-SNRs of a uniform grid's k-th times from the end, log(k / n) + constant, do not come
    closer to each other as n grows, and estimates at t = 1 itself are of no use.
    """
    numbers = (80, 160, 320)
    errors = errors_of(THIRD[1], SMOOTH["rectified flow"], numbers, start=1.0)
    assert abs(slope(numbers, errors) - 2) < 0.15, errors


@pytest.mark.full
def test_in_the_log_snr_the_third_order_comes_late_where_it_is_steep_at_t_1():
    """With many more steps than 230.

    Where the cosine schedule ends in log-SNR -10, half of it changes at a rate of pi / 2 e^5 = 230 per unit of time.
    """
    early, late = (40, 80), (800, 1600)
    slopes = [slope(n, errors_of(THIRD[1], SMOOTH["cosine"], n, start=1.0)) for n in (early, late)]
    assert slopes[0] < 2.5
    assert abs(slopes[1] - 3) < 0.25, slopes


@cases([Multistep(order=3), Multistep(order=3, variable=LOG_SNR)], fast=("heat",))
def test_without_the_corrector_the_first_step_keeps_the_third_order_from_being_one(stepper, name):
    numbers = (80, 160, 320)
    plain = Multistep(order=3, variable=stepper.variable, corrector=False)
    errors, better = (errors_of(each, SMOOTH[name], numbers) for each in (plain, stepper))
    assert slope(numbers, errors) > 1.85, errors
    assert all(a > 2 * b for a, b in zip(errors, better, strict=True))


def test_following_the_noise_without_the_corrector_the_first_step_s_error_remains():
    numbers = (80, 120, 160, 240)
    errors = errors_of(Multistep(order=4, follow=Follow.NOISE, corrector=False), SMOOTH["cosine"], numbers)
    assert slope(numbers, errors) == pytest.approx(2, abs=0.2)


@cases([Multistep(), Multistep(variable=LOG_SNR)])
def test_the_corrector_makes_errors_of_the_second_order_smaller(stepper, name):
    numbers = (80, 160)
    plain = errors_of(Multistep(variable=stepper.variable, corrector=False), SMOOTH[name], numbers)
    better = errors_of(stepper, SMOOTH[name], numbers)
    assert all(b < a for a, b in zip(plain, better, strict=True)), (plain, better)


def test_langevin_steps_of_one_size_leave_a_bias_in_proportion_to_it():
    def bias(size):
        return errors_of(PredictorCorrector(size=size, corrections=4), SMOOTH["cosine"], (100, 200))

    small, large = bias(0.05), bias(0.1)
    plain = errors_of(Posterior(), SMOOTH["cosine"], (200,))[0]
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


@pytest.mark.parametrize(
    ("data", "name"),
    [
        pytest.param(data, name, marks=() if (data, name) == (empirical, "cosine") else pytest.mark.full)
        for data in (mixture, empirical)
        for name in ("blurring", "cosine", "rectified flow", "variance preserving blur")
    ],
)
def test_the_order_of_single_paths(data, name):
    """Steps without noise, from one latent, against the flow solved to ten digits."""
    process = SMOOTH[name]
    oracle = data(process)
    generator = torch.Generator().manual_seed(3)
    x = oracle.sample(2, generator=generator)
    z = process.marginal(x, START).sample(generator=generator)
    run = {"initial": z, "start": START, "stop": 0.4}
    exact = made(oracle, Adaptive(1e-11, 1e-11)).sample(2, **run)
    numbers = (40, 80, 160, 320)
    for stepper, order in (
        (Posterior(Deterministic()), 1),
        (Heun(), 2),
        (Heun(variable=LOG_SNR), 2),
        (Multistep(corrector=False), 2),
        (Multistep(order=3), 3),
        (Multistep(order=3, follow=Follow.EITHER), 3),
    ):
        paths = [made(oracle, stepper, n).sample(2, **run) for n in numbers]
        errors = [(path - exact).square().mean().sqrt().item() for path in paths]
        # Part of the largest errors is still of the next order.
        assert order - 0.3 < slope(numbers, errors) < order + 1.4, (stepper, errors)
