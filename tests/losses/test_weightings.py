"""Loss weightings: the papers' formulas in the papers' own measures, the bound's term, every pair of predictions."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from support import seeded
from weighting_cases import (
    ALL,
    ON_X,
    PREDICTIONS,
    RATED,
    RATIO,
    RTOL,
    SHAPE,
    Fixed,
    batch_times,
    case,
    loss_of,
    losses_of,
    slope_of,
    snr_of,
    spectral_square,
    well_conditioned,
)

from unmelt.degradations import (
    BlurringDiffusion,
    ChangedBasis,
    CosineBasis,
    HeatDissipation,
    IsotropicDiffusion,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
    PredictX,
)
from unmelt.losses import (
    BoundWeighting,
    DenoisingLoss,
    EDMWeighting,
    FrequencyWeighting,
    MinSNRWeighting,
    SimpleWeighting,
)
from unmelt.testing.strategies import Anisotropic, processes, random_images, seeds, times


@pytest.mark.parametrize("name", ON_X)
@settings(max_examples=12)
@given(process=processes(), t=times(0.05, 0.95), seed=seeds())
def test_each_weighting_is_its_papers_formula(name, process, t, seed):
    t, (weighting, on_x) = batch_times(t), ON_X[name]
    assume(well_conditioned(process, t, weighting))
    x, estimate, _ = case(process, seed)
    expected = (on_x(process, t) * spectral_square(process, x, estimate)).flatten(1).sum(1)
    # Epsilon's target from an estimate subtracts numbers a thousand times the result's size at most: 1e-13 twice.
    torch.testing.assert_close(
        loss_of(weighting, process, PredictEpsilon(), x, estimate, t), expected, rtol=RTOL, atol=1e-12
    )


@pytest.mark.parametrize("name", RATED)
@settings(max_examples=20)
@given(process=processes(), t=times(0.05, 0.95), seed=seeds())
def test_weightings_with_the_log_snrs_rate_are_their_papers_formulas(name, process, t, seed):
    t, (weighting, on_x) = batch_times(t), RATED[name]
    assume(well_conditioned(process, t, weighting))
    x, estimate, _ = case(process, seed)
    here, (before, after) = slope_of(process, t), (slope_of(process, t + step) for step in (-1e-4, 1e-4))
    # Repeated and log-spaced blurs have kinks, where a central difference is no derivative.
    assume(bool(((before - after).abs() <= 1e-2 * (1 + here.abs())).all()))
    expected = (on_x(process, t) * spectral_square(process, x, estimate)).flatten(1).sum(1)
    # Truncation: step^2 / 6 of a third derivative up to 1e4 times the slope; rounding: 1e-15 times 30 over the step.
    torch.testing.assert_close(
        loss_of(weighting, process, PredictEpsilon(), x, estimate, t), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=5)
@given(process=processes(), t=times(0.05, 0.95), seed=seeds())
def test_a_weighted_loss_does_not_depend_on_what_is_predicted(name, process, t, seed):
    t, (weighting, _) = batch_times(t), ALL[name]
    assume(well_conditioned(process, t, weighting))
    x, estimate, _ = case(process, seed)
    first, *others = losses_of(weighting, process, PREDICTIONS, x, estimate, t)
    for other in others:
        torch.testing.assert_close(other, first, rtol=RTOL, atol=1e-12)


def test_the_error_of_a_less_degraded_signal_is_not_damped():
    """Below the noise its conversion to data shrinks the estimate; what its error means for the data stays."""
    process = HeatDissipation(SHAPE, blur_sigma_max=2.0, levels=7, sigma=0.5)
    t = torch.tensor([5 / 7, 6 / 7], dtype=torch.float64)
    previous = process.alpha(t - 1 / 7)
    assert previous.min() < 0.5  # below the noise
    gain = SimpleWeighting(PredictX()).error_scale(PredictPreviousLevel(), process.at(t))
    torch.testing.assert_close(gain, (1 / previous).expand_as(gain), rtol=1e-12, atol=0)
    gain = EDMWeighting(0.7).error_scale(PredictPreviousLevel(), process.at(t))
    expected = (snr_of(process, t) + 1 / 0.7**2).sqrt() / previous
    torch.testing.assert_close(gain, expected.expand_as(gain), rtol=1e-12, atol=0)
    back = SimpleWeighting(PredictPreviousLevel()).error_scale(PredictX(), process.at(t))
    torch.testing.assert_close(back, previous.expand_as(back), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=5)
@given(process=processes(), t=times(0.05, 0.95))
def test_each_weight_is_the_bounds_times_the_stated_ratio(name, process, t):
    t, weighting = batch_times(t), ALL[name][0]
    assume(well_conditioned(process, t, weighting))
    bound = BoundWeighting().weight(process.at(t))
    slopes = slope_of(process, t)
    assume(bool((slopes > 1e-3).all()))
    assume(bool(((2 * bound - slopes).abs() <= 1e-4 * slopes).all()))  # no kink within the difference
    weight, expected = torch.broadcast_tensors(weighting.weight(process.at(t)), RATIO[name](process, t) * bound)
    torch.testing.assert_close(weight, expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: type(p).__name__)
def test_scales_are_roots_of_weights(name, prediction):
    """scale^2 e_y^2 = w e_eps^2 with e_eps = output_y / sigma e_y, whoever overrides it."""
    process, t = Anisotropic(CosineBasis(SHAPE)), batch_times(0.6)
    weighting, _ = ALL[name]
    at = process.at(t)
    output = prediction.conversion(at, at.log_alpha).output
    expected = weighting.weight(process.at(t)) * (output / process.sigma(t)).square()
    gain = weighting.error_scale(prediction, process.at(t)).expand_as(expected)
    assert (gain >= 0).all()
    torch.testing.assert_close(gain.square(), expected, rtol=RTOL, atol=0)


def test_the_bounds_weight_integrates_to_the_drop_of_the_log_snr():
    process = BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
    grid = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    total = BoundWeighting().weight(process.at(grid)).mean(0)
    drop = (process.log_snr(0.0) - process.log_snr(1.0))[0] / 2
    # The midpoint rule is off by h^2 / 24 of the change of slope, which is below 1e4 here: 3e-5 of drops above 10.
    torch.testing.assert_close(total, drop, rtol=1e-4, atol=0)


class TestOneNumberPerExample:
    """Weights of isotropic processes commute with the basis: no transform may be taken."""

    @pytest.mark.parametrize("name", ALL)
    def test_no_transform_is_taken(self, name, monkeypatch):
        process = ChangedBasis(IsotropicDiffusion(SHAPE), CosineBasis(SHAPE))

        def refuse(*args):
            pytest.fail("a transform was taken")

        monkeypatch.setattr(CosineBasis, "analyse", refuse)
        monkeypatch.setattr(CosineBasis, "synthesise", refuse)
        x = random_images(SHAPE)
        denoiser = Fixed(process, PredictX(), torch.zeros_like(x))
        assert DenoisingLoss(denoiser, weighting=ALL[name][0])(x, t=0.5).isfinite().all()

    def test_the_own_error_is_left_alone(self):
        process, error = HeatDissipation(SHAPE), random_images(SHAPE)
        t = batch_times(0.5)
        for weighting in (SimpleWeighting(), SimpleWeighting(PredictX())):
            assert weighting.weighted_error(PredictX(), process.at(t), error) is error


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_the_weighted_squares(name):
    """d/dy sum (gain (y_true - y))^2 = -2 V gain^2 V^T (y_true - y)."""
    process, t = Anisotropic(CosineBasis(SHAPE)), batch_times(0.5)
    weighting = ALL[name][0]
    x = random_images(SHAPE)
    answer = torch.zeros_like(x).requires_grad_()
    gain = weighting.error_scale(PredictV(), process.at(t))
    generator = seeded(0)
    loss = DenoisingLoss(Fixed(process, PredictV(), answer), weighting=weighting)
    loss(x, t=t, generator=generator).sum().backward()
    noise = torch.randn(x.shape, generator=seeded(0), dtype=x.dtype)
    error = process.basis.forward(PredictV().target(process.at(t), x, noise))
    torch.testing.assert_close(process.basis.forward(answer.grad), -2 * gain.square() * error, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_single_precision_signals_keep_their_dtype(name):
    process, t = BlurringDiffusion(SHAPE, blur_sigma_max=1.0), batch_times(0.5)
    x, estimate, _ = case(process, 0)
    wide = loss_of(ALL[name][0], process, PredictX(), x, estimate, t)
    denoiser = Fixed(process, PredictX(), estimate.float())
    narrow = DenoisingLoss(denoiser, weighting=ALL[name][0])(x.float(), t=t)
    assert narrow.dtype == torch.float32
    # x's error does not depend on the noise; 24 squares after two transforms of tens of operations.
    torch.testing.assert_close(narrow.double(), wide, rtol=100 * torch.finfo(torch.float32).eps, atol=0)


def test_copies_weigh_alike():
    process, t = IsotropicDiffusion(SHAPE), batch_times(0.5)
    weighting = FrequencyWeighting(MinSNRWeighting(), random_images(SHAPE, batch=1)[0])
    assert torch.equal(copy.deepcopy(weighting).weight(process.at(t)), weighting.weight(process.at(t)))


@pytest.mark.full
def test_every_weighting_compiles_as_one_graph():
    """In another process: run-time checks of annotations would break the graph."""
    script = Path(__file__).parent / "compiled_weightings.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10
