"""Loss weightings: the papers' formulas in the papers' own measures, the bound's term, every pair of predictions."""

import copy
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from torch import nn

from unmelt.degradations import (
    BlurringDiffusion,
    ChangedBasis,
    ColdBlur,
    CosineBasis,
    EigenBasis,
    HaarBasis,
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    PixelBasis,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictScore,
    PredictV,
    PredictX,
    RectifiedFlowSchedule,
)
from unmelt.losses import (
    BoundWeighting,
    DenoisingLoss,
    EDMWeighting,
    FrequencyWeighting,
    LearnedLogVariance,
    MeanOverDimensions,
    MinSNRWeighting,
    P2Weighting,
    SigmoidWeighting,
    SimpleWeighting,
    Weighting,
)
from unmelt.models import AbstractDenoiser
from unmelt.testing.strategies import (
    Anisotropic,
    processes,
    random_images,
    seeds,
    times,
)

SHAPE = (2, 3, 4)
# No alpha_t or sigma_t below 1 / STABLE: an estimate's noise then subtracts numbers up to a thousand times its size and
# divides by a thousandth, so that 1e-16 becomes 1e-10 at most. The weights' own exponentials lose less: exponents are
# below 30 in size.
STABLE = 1e3
RTOL = 1e-10


class Fixed(AbstractDenoiser):
    """Puts out a given prediction of a given estimate of the data."""

    def __init__(self, process, prediction, answer):
        super().__init__(process)
        self.prediction = prediction
        self.answer = answer

    def forward(self, z_t, t):
        raise NotImplementedError

    def output(self, z_t, t):
        return self.answer


def case(process, seed):
    """Data, an estimate of it, and a noise, (2, *shape) each."""
    x, estimate, noise = (random_images(process.shape, seed=seed + i) - 0.5 for i in range(3))
    return x, estimate, noise


def answer_of(prediction, process, x, estimate, noise, t):
    """What a network would put out whose estimate of the data is `estimate`: its target, were that the data.

    The latent stays; the noise that it then holds is another one.
    """
    basis = process.basis
    z = basis.forward(process.corrupt(x, noise, t))
    implied = basis.inverse((z - process.alpha(t) * basis.forward(estimate)) / process.sigma(t))
    return prediction.target(process, estimate, implied, t)


def losses_of(weighting, process, predictions, x, estimate, t, seed=7):
    """The losses of `estimate` put out as each prediction, with the noise of one seed."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    loss = DenoisingLoss(process, weighting=weighting)
    for prediction in predictions:
        denoiser = Fixed(process, prediction, answer_of(prediction, process, x, estimate, noise, t))
        yield loss(denoiser, x, t=t, generator=torch.Generator().manual_seed(seed))


def loss_of(weighting, process, prediction, x, estimate, t):
    return next(losses_of(weighting, process, [prediction], x, estimate, t))


@pytest.fixture(autouse=True, scope="module")
def quick_refusals():
    """Hundreds of processes are asked whether they convert a measure: at five times each, not 129."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unmelt.degradations.predictions._TIMES_PROBED", 5)
        yield


def spectral_square(process, x, estimate):
    """(u - u_hat)^2."""
    return (process.basis.forward(x) - process.basis.forward(estimate)).square()


def snr_of(process, t):
    return (process.alpha(t) / process.sigma(t)).square()


def slope_of(process, t, step=1e-5):
    """-dl/dt by a central difference."""
    return (process.log_snr(t - step) - process.log_snr(t + step)) / (2 * step)


# Each paper's weight on the squared error of the data, per coefficient, typed from the papers.
ON_X = {
    "min SNR": (MinSNRWeighting(2.0), lambda p, t: snr_of(p, t).clamp(max=2.0)),
    "P2": (P2Weighting(0.5, 3.0), lambda p, t: snr_of(p, t) / (3.0 + snr_of(p, t)) ** 0.5),
    "EDM": (
        EDMWeighting(0.7),
        lambda p, t: ((p.sigma(t) / p.alpha(t)) ** 2 + 0.7**2) / (p.sigma(t) / p.alpha(t) * 0.7) ** 2,
    ),
    "x": (SimpleWeighting(PredictX()), lambda p, t: torch.ones(())),
    "epsilon": (SimpleWeighting(PredictEpsilon()), snr_of),
    "score": (SimpleWeighting(PredictScore()), lambda p, t: snr_of(p, t) / p.sigma(t) ** 2),
    "v": (SimpleWeighting(PredictV()), lambda p, t: ((p.alpha(t) ** 2 + p.sigma(t) ** 2) / p.sigma(t)) ** 2),
}
# Weights that hold the log-SNR's rate, which a central difference of step 1e-5 knows to about seven digits.
RATED = {
    "bound": (BoundWeighting(), lambda p, t: snr_of(p, t) * slope_of(p, t) / 2),
    "sigmoid": (
        SigmoidWeighting(-1.0),
        lambda p, t: math.exp(-1) * slope_of(p, t) / 2 * torch.sigmoid(p.log_snr(t) + 1.0),
    ),
}
ALL = {**ON_X, **RATED}
# w over the bound's 1/2 (-dl/dt), as the table of unmelt.losses.weightings.base states it.
RATIO = {
    "min SNR": lambda p, t: 2 * (2.0 / snr_of(p, t)).clamp(max=1.0) / slope_of(p, t),
    "P2": lambda p, t: 2 * (3.0 + snr_of(p, t)) ** -0.5 / slope_of(p, t),
    "EDM": lambda p, t: 2 * (1 + 1 / (0.7**2 * snr_of(p, t))) / slope_of(p, t),
    "x": lambda p, t: 2 / (snr_of(p, t) * slope_of(p, t)),
    "epsilon": lambda p, t: 2 / slope_of(p, t),
    "score": lambda p, t: 2 / (p.sigma(t) ** 2 * slope_of(p, t)),
    "v": lambda p, t: 2 * (p.alpha(t) ** 2 + p.sigma(t) ** 2) ** 2 / p.alpha(t) ** 2 / slope_of(p, t),
    "bound": lambda p, t: torch.ones(()),
    "sigmoid": lambda p, t: torch.sigmoid(-1.0 - p.log_snr(t)),
}
PREDICTIONS = [PredictX(), PredictEpsilon(), PredictV(), PredictScore(), PredictPreviousLevel(levels=7)]


def well_conditioned(process, t, weighting):
    """Whether no conversion loses more than three digits, and the weighting is one for the whole process."""
    if isinstance(weighting, SimpleWeighting) and not (
        process.alpha(1.0).min() > 1 / STABLE and process.sigma(0.0).min() > 1 / STABLE
    ):
        return False  # where measures are refused
    previous = PredictPreviousLevel(levels=7).previous(process, t)
    return bool(
        process.alpha(t).min() > 1 / STABLE
        and process.alpha(previous).min() > 1 / STABLE
        and process.sigma(t).min() > 1 / STABLE
    )


def batch_times(t):
    """Two times near one another, so that a row taken for a column is seen."""
    return torch.tensor([t, 0.9 * t], dtype=torch.float64)


@pytest.mark.parametrize("name", ON_X)
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
@settings(max_examples=10)
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
    gain = SimpleWeighting(PredictX()).gain(process, PredictPreviousLevel(), t)
    torch.testing.assert_close(gain, (1 / previous).expand_as(gain), rtol=1e-12, atol=0)
    gain = EDMWeighting(0.7).gain(process, PredictPreviousLevel(), t)
    expected = (snr_of(process, t) + 1 / 0.7**2).sqrt() / previous
    torch.testing.assert_close(gain, expected.expand_as(gain), rtol=1e-12, atol=0)
    back = SimpleWeighting(PredictPreviousLevel()).gain(process, PredictX(), t)
    torch.testing.assert_close(back, previous.expand_as(back), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=10)
@given(process=processes(), t=times(0.05, 0.95))
def test_each_weight_is_the_bounds_times_the_stated_ratio(name, process, t):
    t, weighting = batch_times(t), ALL[name][0]
    assume(well_conditioned(process, t, weighting))
    bound = BoundWeighting().weight(process, t)
    slopes = slope_of(process, t)
    assume(bool((slopes > 1e-3).all()))
    assume(bool(((2 * bound - slopes).abs() <= 1e-4 * slopes).all()))  # no kink within the difference
    weight, expected = torch.broadcast_tensors(weighting.weight(process, t), RATIO[name](process, t) * bound)
    torch.testing.assert_close(weight, expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: type(p).__name__)
def test_gains_are_roots_of_weights(name, prediction):
    """gain^2 e_y^2 = w e_eps^2 with e_eps = output_y / sigma e_y, whoever overrides it."""
    process, t = Anisotropic(CosineBasis(SHAPE)), batch_times(0.6)
    weighting, _ = ALL[name]
    output = prediction.conversion(process, t, process.log_alpha(t)).output
    expected = weighting.weight(process, t) * (output / process.sigma(t)).square()
    gain = weighting.gain(process, prediction, t).expand_as(expected)
    assert (gain >= 0).all()
    torch.testing.assert_close(gain.square(), expected, rtol=RTOL, atol=0)


def test_the_bounds_weight_integrates_to_the_drop_of_the_log_snr():
    process = BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
    grid = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    total = BoundWeighting().weight(process, grid).mean(0)
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
        assert DenoisingLoss(process, weighting=ALL[name][0])(denoiser, x, t=0.5).isfinite().all()

    def test_the_own_error_is_left_alone(self):
        process, error = HeatDissipation(SHAPE), random_images(SHAPE)
        t = batch_times(0.5)
        for weighting in (SimpleWeighting(), SimpleWeighting(PredictX())):
            assert weighting.weighted_error(process, PredictX(), t, error) is error


class Constant(Weighting):
    def weight(self, process, t):
        return torch.ones(())


class TestFrequencies:
    def test_factors_multiply_squared_errors(self):
        process = BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
        factors = random_images(SHAPE, batch=1, seed=3)[0]
        x, estimate, _ = case(process, 0)
        t = batch_times(0.6)
        for base, on_x in (ON_X["min SNR"], ON_X["x"]):
            loss = loss_of(FrequencyWeighting(base, factors), process, PredictX(), x, estimate, t)
            expected = factors * on_x(process, t) * spectral_square(process, x, estimate)
            torch.testing.assert_close(loss, expected.flatten(1).sum(1), rtol=RTOL, atol=0)
        weight = FrequencyWeighting(P2Weighting(), factors).weight(process, t)
        torch.testing.assert_close(weight, factors * P2Weighting().weight(process, t), rtol=1e-14, atol=0)

    @pytest.mark.parametrize("shape", [(), (4,), (3, 1), (2, 1, 1), (3, 4), SHAPE])
    def test_factors_of_any_shape_that_fits(self, shape):
        """(3, 1) is three rows of coefficients, not three examples."""
        process = ChangedBasis(IsotropicDiffusion(SHAPE), CosineBasis(SHAPE))
        factors = random_images((*shape, 1), batch=1, seed=3)[0, ..., 0]
        x = random_images(SHAPE, batch=3)
        denoiser = Fixed(process, PredictX(), torch.zeros_like(x))
        loss = DenoisingLoss(process, weighting=FrequencyWeighting(SimpleWeighting(), factors))
        expected = (factors * process.basis.forward(x).square()).flatten(1).sum(1)
        torch.testing.assert_close(loss(denoiser, x, t=0.5), expected, rtol=RTOL, atol=0)

    def test_one_number_times_factors_keeps_rows_apart_from_examples(self):
        weighting = FrequencyWeighting(Constant(), torch.ones(3, 1))
        assert weighting.weight(IsotropicDiffusion(SHAPE), batch_times(0.5)).shape == (1, 1, 3, 1)

    def test_factors_multiply_one_another(self):
        process, t = IsotropicDiffusion(SHAPE), batch_times(0.5)
        inner = FrequencyWeighting(MinSNRWeighting(), torch.tensor(2.0))
        weight = FrequencyWeighting(inner, torch.tensor(3.0)).weight(process, t)
        torch.testing.assert_close(weight, 6 * MinSNRWeighting().weight(process, t), rtol=1e-14, atol=0)

    @pytest.mark.parametrize("exponent", [1.0, -0.5, 0.0])
    def test_a_power_law_of_squared_frequencies(self, exponent):
        basis = CosineBasis((2, 4, 4))
        weighting = FrequencyWeighting.power_law(SimpleWeighting(PredictX()), basis, exponent)
        process = IsotropicDiffusion((2, 4, 4))
        row = (math.pi * torch.arange(4, dtype=torch.float64) / 4) ** 2
        expected = (row[:, None] + row + (math.pi / 4) ** 2) ** exponent
        weight = weighting.gain(process, PredictX(), batch_times(0.5)).square()
        torch.testing.assert_close(weight[0, 0], expected / expected.mean(), rtol=1e-12, atol=0)

    def test_a_power_law_of_a_graphs_eigenvalues(self):
        path = torch.tensor([[1.0, -1, 0], [-1, 2, -1], [0, -1, 1]], dtype=torch.float64)
        basis = EigenBasis((2, 3), path)
        factors = FrequencyWeighting.power_law(SimpleWeighting(), basis, 1.0).factors
        # The path's eigenvalues are 0, 1 and 3: plus 1, over their mean.
        expected = torch.tensor([1.0, 2, 4], dtype=torch.float64) * 3 / 7
        torch.testing.assert_close(factors, expected, rtol=1e-12, atol=0)

    def test_factors_follow_the_loss_and_stay_out_of_checkpoints(self):
        loss = DenoisingLoss(
            IsotropicDiffusion(SHAPE), weighting=FrequencyWeighting(SimpleWeighting(), torch.rand(SHAPE))
        )
        assert not loss.state_dict()
        assert loss.half().weighting.factors.dtype == torch.float64
        assert loss.to("meta").weighting.factors.device.type == "meta"

    @pytest.mark.parametrize(
        ("factors", "message"),
        [
            (torch.tensor(-1.0), "finite and at least 0.*-1"),
            (torch.tensor([1.0, math.inf]), "finite and at least 0"),
            (torch.tensor([1.0, math.nan]), "finite and at least 0"),
            (torch.zeros(3), "not all 0"),
        ],
    )
    def test_impossible_factors_are_refused(self, factors, message):
        with pytest.raises(ValueError, match=message):
            FrequencyWeighting(SimpleWeighting(), factors)

    @pytest.mark.parametrize("shape", [(5,), (2, 2, 3, 4), (1, 2, 3, 4)])
    def test_factors_that_do_not_fit_are_refused(self, shape):
        """One more axis than a signal has could only be the batch's."""
        weighting = FrequencyWeighting(SimpleWeighting(), torch.ones(shape))
        with pytest.raises(ValueError, match=r"must broadcast to the process's shape \(2, 3, 4\), got \("):
            DenoisingLoss(IsotropicDiffusion(SHAPE), weighting=weighting)

    def test_bases_without_eigenvalues_are_refused(self):
        for basis in (HaarBasis((1, 4, 4)), PixelBasis((1, 4, 4))):
            with pytest.raises(TypeError, match="needs eigenvalues.*factors of your own"):
                FrequencyWeighting.power_law(SimpleWeighting(), basis, 1.0)
        negative = EigenBasis((2,), torch.diag(torch.tensor([-1.0, 1.0])))
        with pytest.raises(ValueError, match="eigenvalues of at least 0.*-1"):
            FrequencyWeighting.power_law(SimpleWeighting(), negative, 1.0)
        with pytest.raises(ValueError, match="exponent must be finite"):
            FrequencyWeighting.power_law(SimpleWeighting(), CosineBasis(SHAPE), math.inf)


class TestLimits:
    # At the last level the highest frequency's alpha is exp(-4900).
    HEAT = HeatDissipation((1, 16, 16), blur_sigma_max=24.0, levels=50)
    END = torch.ones(2, dtype=torch.float64)

    @pytest.mark.parametrize("name", sorted(set(ALL) - {"score", "v"}))
    def test_heat_whose_alpha_underflows(self, name):
        gain = ALL[name][0].gain(self.HEAT, PredictX(), self.END)
        assert gain.isfinite().all()
        # Without signal only weights on the x-error are left: 1, and EDM's 1 / d^2.
        highest = gain.expand(2, 1, 16, 16)[0, 0, -1, -1].item()
        assert highest == pytest.approx({"x": 1.0, "EDM": 1 / 0.7}.get(name, 0.0), rel=1e-12)

    def test_heats_measures_in_the_limit(self):
        """(alpha^2 + sigma^2) / sigma is sigma without signal."""
        gain = SimpleWeighting(PredictV()).gain(self.HEAT, PredictX(), self.END)
        assert gain[0, 0, -1, -1].item() == pytest.approx(0.01, rel=1e-12)
        less = MinSNRWeighting().gain(self.HEAT, PredictPreviousLevel(), self.END)
        # alpha_t / alpha_p / sigma, the weight being 1.
        fade = self.HEAT.log_alpha(self.END) - self.HEAT.log_alpha(self.END - 1 / 50)
        torch.testing.assert_close(less[:, 0, 8, 8], fade.expand_as(less)[:, 0, 8, 8].exp() / 0.01, rtol=1e-9, atol=0)

    @pytest.mark.parametrize("name", ALL)
    @pytest.mark.parametrize("prediction", [PredictX(), PredictV()], ids=["x", "v"])
    def test_no_signal_at_all(self, name, prediction):
        """A rectified flow at t = 1: its log-SNR is -inf and falls infinitely fast, alpha^2 dl/dt = -2 (1 - t)."""
        process = IsotropicDiffusion(SHAPE, RectifiedFlowSchedule())
        gain = ALL[name][0].gain(process, prediction, self.END)
        assert gain.isfinite().all()
        near = ALL[name][0].gain(process, prediction, self.END - 1e-7)
        # Gains that vanish do so like sqrt(1 - t) at the slowest; the limit is read off 2^-40 before the end.
        torch.testing.assert_close(gain, near, rtol=1e-5, atol=1e-3)
        if name in ("min SNR", "P2", "epsilon", "bound", "sigmoid"):
            assert gain.max() < 1e-5

    def test_no_noise_at_the_start(self):
        """What epsilon's own error weighs at t = 0 is the limit of its weight; x's error would weigh infinitely."""
        process = IsotropicDiffusion(SHAPE, LinearSchedule())
        start = torch.zeros(2, dtype=torch.float64)
        assert MinSNRWeighting().gain(process, PredictEpsilon(), start).max() < 1e-4
        gain = EDMWeighting().gain(process, PredictEpsilon(), start)
        torch.testing.assert_close(gain, torch.ones_like(gain), rtol=1e-8, atol=0)
        x = random_images(SHAPE)
        denoiser = Fixed(process, PredictX(), torch.zeros_like(x))
        message = "SimpleWeighting multiplies the error of PredictX by inf at t = 0, coefficient.*times away from that"
        with pytest.raises(ValueError, match=message):
            DenoisingLoss(process, weighting=SimpleWeighting(PredictEpsilon()))(denoiser, x, t=0.0)

    def test_an_infinite_rate_is_refused_by_name(self):
        process = IsotropicDiffusion(SHAPE, LinearSchedule())
        x = random_images(SHAPE)
        denoiser = Fixed(process, PredictEpsilon(), torch.zeros_like(x))
        with pytest.raises(ValueError, match="BoundWeighting multiplies the error of PredictEpsilon by inf at t = 0"):
            DenoisingLoss(process, weighting=BoundWeighting())(denoiser, x, t=0.0)

    def test_the_time_named_is_the_one_at_fault(self):
        process = IsotropicDiffusion(SHAPE, LinearSchedule())
        x = random_images(SHAPE)
        denoiser = Fixed(process, PredictEpsilon(), torch.zeros_like(x))
        times = torch.tensor([0.5, 0.0], dtype=torch.float64)
        with pytest.raises(ValueError, match="at t = 0, "):
            DenoisingLoss(process, weighting=BoundWeighting())(denoiser, x, t=times)

    def test_a_weight_too_large_for_single_precision_is_refused(self):
        """1 / alpha of the level before: exp(60), whose square float32 has not."""
        process = HeatDissipation((1, 4, 4), blur_sigma_max=4.0, levels=2, blur_sigma_min=3.0)
        assert 1e19 < 1 / process.alpha(0.5).min() < 1e38
        x = random_images((1, 4, 4))
        for dtype in (torch.float64, torch.float32):
            denoiser = Fixed(process, PredictPreviousLevel(), torch.zeros_like(x, dtype=dtype))
            loss = DenoisingLoss(process, weighting=SimpleWeighting(PredictX()))
            if dtype == torch.float64:
                assert loss(denoiser, x.to(dtype), t=1.0).isfinite().all()
            else:
                with pytest.raises(ValueError, match="1.84e\\+19 is the most"):
                    loss(denoiser, x.to(dtype), t=1.0)

    @pytest.mark.parametrize("name", sorted(set(ALL) - {"x"}))
    def test_without_noise_its_errors_cannot_be_weighed(self, name):
        process = ColdBlur((1, 4, 4))
        with pytest.raises(
            ValueError, match="weighs errors of the noise.*ColdBlur has none|cannot be converted stably"
        ):
            DenoisingLoss(process, weighting=ALL[name][0])

    def test_factors_do_not_make_up_for_noise(self):
        weighting = FrequencyWeighting(MinSNRWeighting(), torch.ones(()))
        with pytest.raises(ValueError, match="MinSNRWeighting weighs errors of the noise"):
            DenoisingLoss(ColdBlur((1, 4, 4)), weighting=weighting)

    def test_without_noise_errors_of_the_data_can(self):
        process = ColdBlur((1, 4, 4))
        t = batch_times(0.5)
        gain = SimpleWeighting(PredictX()).gain(process, PredictPreviousLevel(levels=1), t)
        torch.testing.assert_close(gain, torch.ones_like(gain), rtol=1e-12, atol=0)

    def test_coefficients_at_rest_count_nothing_in_the_bound(self):
        weight = BoundWeighting().weight(self.HEAT, batch_times(0.5))
        assert (weight[..., 0, 0] == 0).all()
        assert (weight[..., 1:, 1:] > 0).all()


class TestLearnedLogVariance:
    PROCESS = IsotropicDiffusion(SHAPE)

    def test_it_starts_as_nothing(self):
        v = LearnedLogVariance(self.PROCESS)
        t, losses = batch_times(0.5), torch.tensor([3.0, 5.0], dtype=torch.float64)
        assert torch.equal(v(t), torch.zeros(2))
        assert torch.equal(v.scaled(losses, t), losses)

    def test_it_is_scaled_by_what_it_says(self):
        v = LearnedLogVariance(self.PROCESS, features=3)
        nn.init.normal_(v.linear.weight, generator=torch.Generator().manual_seed(0))
        t, losses = batch_times(0.5), torch.tensor([3.0, 5.0], dtype=torch.float64)
        said = v(t).double()
        assert (said[0] - said[1]).abs() > 1e-2
        torch.testing.assert_close(v.scaled(losses, t), losses / said.exp() + said, rtol=1e-12, atol=0)

    def test_its_best_value_is_the_logarithm_of_the_loss(self):
        """d/dv (L exp(-v) + v) = 1 - L exp(-v): negative below log L, 0 there, positive above."""
        v, t = LearnedLogVariance(self.PROCESS), batch_times(0.5)
        losses = torch.tensor([3.0, 3.0], dtype=torch.float64)
        for off, sign in ((-0.1, -1), (0.0, 0), (0.1, 1)):
            nn.init.constant_(v.linear.bias, math.log(3) + off)
            v.zero_grad()
            v.scaled(losses, t).sum().backward()
            expected = 2 * (1 - math.exp(-off))
            # The parameters are float32.
            assert v.linear.bias.grad.item() == pytest.approx(expected, abs=1e-5)
            assert abs(expected) < 1e-12 if sign == 0 else expected * sign > 0

    @pytest.mark.parametrize(
        "process",
        [
            IsotropicDiffusion(SHAPE),
            IsotropicDiffusion(SHAPE, RectifiedFlowSchedule()),
            HeatDissipation((1, 16, 16), blur_sigma_max=24.0, levels=50),
            ColdBlur((1, 16, 16)),
        ],
        ids=["cosine", "flow", "heat", "cold"],
    )
    def test_it_learns_the_mean_loss_of_every_time(self, process):
        """From losses of mean exp(6 t - 3) c with a random c: v is fitted by Newton's steps, being linear."""
        v = LearnedLogVariance(process, features=8).double()
        t = torch.linspace(0, 1, 201, dtype=torch.float64)
        target = (6 * t - 3).exp()
        optimizer = torch.optim.LBFGS(v.parameters(), max_iter=200, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            loss = v.scaled(target, t).mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        # A straight line is a series of odd cosines with coefficients 12 (2 / (pi j))^2 ...: what eight leave out is
        # at most 0.3 at the ends and far less within.
        assert (v(t) - (6 * t - 3)).abs().max() < 0.3
        assert (v(t) - (6 * t - 3)).abs()[20:-20].max() < 0.05

    def test_its_features_are_bounded_and_tell_times_apart(self):
        """Heat's mean log-SNR at t = 1 is -2000, a cold blur's infinite."""
        for process in (TestLimits.HEAT, ColdBlur((1, 16, 16)), IsotropicDiffusion(SHAPE, RectifiedFlowSchedule())):
            v = LearnedLogVariance(process, features=4)
            nn.init.normal_(v.linear.weight, generator=torch.Generator().manual_seed(0))
            value = v(torch.linspace(0, 1, 11, dtype=torch.float64))
            assert value.isfinite().all()
            assert value.diff().abs().min() > 1e-4
            assert v(0.5).shape == ()
            assert v(0.5).item() == pytest.approx(value[5].item(), rel=1e-5)

    def test_it_trains_with_the_loss(self):
        process = self.PROCESS
        loss = DenoisingLoss(process, uncertainty=LearnedLogVariance(process))
        assert sum(p.numel() for p in loss.parameters()) == 65
        x = random_images(SHAPE)
        loss(Fixed(process, PredictX(), torch.zeros_like(x)), x).mean().backward()
        assert all(p.grad.abs().max() > 0 for p in loss.parameters())
        assert set(loss.state_dict()) == {"uncertainty.linear.weight", "uncertainty.linear.bias"}

    def test_networks_learn_alike_from_sums_and_means(self):
        """Once v is the loss's logarithm, the gradient is that of log L, whatever L's unit."""
        process, x = self.PROCESS, random_images(SHAPE, batch=1)
        gradients = []
        for reduction in (None, MeanOverDimensions()):
            answer = torch.zeros_like(x).requires_grad_()
            denoiser = Fixed(process, PredictX(), answer)
            plain = DenoisingLoss(process, reduction=reduction)(denoiser, x, t=0.5)
            v = LearnedLogVariance(process).double()
            nn.init.constant_(v.linear.bias, plain.log().item())
            DenoisingLoss(process, reduction=reduction, uncertainty=v)(denoiser, x, t=0.5).sum().backward()
            gradients.append(answer.grad)
        torch.testing.assert_close(*gradients, rtol=1e-12, atol=0)

    def test_autocast_leaves_it_its_digits(self):
        v, t = LearnedLogVariance(self.PROCESS), batch_times(0.5)
        nn.init.normal_(v.linear.weight)
        with torch.autocast("cpu", torch.bfloat16):
            inside = v(t)
        assert torch.equal(inside, v(t))

    def test_that_of_another_process_is_refused(self):
        with pytest.raises(ValueError, match="uncertainty was made for another process.*build both from one"):
            DenoisingLoss(self.PROCESS, uncertainty=LearnedLogVariance(HeatDissipation(SHAPE)))
        with pytest.raises(ValueError, match="features must be at least 1, got 0"):
            LearnedLogVariance(self.PROCESS, features=0)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_the_weighted_squares(name):
    """d/dy sum (gain (y_true - y))^2 = -2 V gain^2 V^T (y_true - y)."""
    process, t = Anisotropic(CosineBasis(SHAPE)), batch_times(0.5)
    weighting = ALL[name][0]
    x = random_images(SHAPE)
    answer = torch.zeros_like(x).requires_grad_()
    gain = weighting.gain(process, PredictV(), t)
    generator = torch.Generator().manual_seed(0)
    loss = DenoisingLoss(process, weighting=weighting)
    loss(Fixed(process, PredictV(), answer), x, t=t, generator=generator).sum().backward()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    error = process.basis.forward(PredictV().target(process, x, noise, t))
    torch.testing.assert_close(process.basis.forward(answer.grad), -2 * gain.square() * error, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_single_precision_signals_keep_their_dtype(name):
    process, t = BlurringDiffusion(SHAPE, blur_sigma_max=1.0), batch_times(0.5)
    x, estimate, _ = case(process, 0)
    wide = loss_of(ALL[name][0], process, PredictX(), x, estimate, t)
    denoiser = Fixed(process, PredictX(), estimate.float())
    narrow = DenoisingLoss(process, weighting=ALL[name][0])(denoiser, x.float(), t=t)
    assert narrow.dtype == torch.float32
    # x's error does not depend on the noise; 24 squares after two transforms of tens of operations.
    torch.testing.assert_close(narrow.double(), wide, rtol=100 * torch.finfo(torch.float32).eps, atol=0)


class PerExample(Weighting):
    """A weighting of one's own that forgets the signal's axes."""

    def weight(self, process, t):
        return t


def test_a_weight_per_example_needs_the_signals_axes():
    process = IsotropicDiffusion((2, 3, 2))
    x = random_images((2, 3, 2))
    with pytest.raises(ValueError, match=r"PerExample.weight.*shape \(2,\).*must broadcast to .*process.expand_times"):
        DenoisingLoss(process, weighting=PerExample())(Fixed(process, PredictX(), x), x, t=batch_times(0.5))


def test_the_own_error_has_no_weight_without_a_network():
    with pytest.raises(ValueError, match="whichever that is: name it.*PredictX"):
        SimpleWeighting().weight(IsotropicDiffusion(SHAPE), batch_times(0.5))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MinSNRWeighting(0.0), "gamma must be positive.*got 0.0"),
        (lambda: MinSNRWeighting(math.nan), "gamma must be positive.*got nan"),
        (lambda: P2Weighting(gamma=-1.0), "gamma must be finite and at least 0.*got -1.0"),
        (lambda: P2Weighting(k=0.0), "k must be positive and finite.*got 0.0"),
        (lambda: EDMWeighting(0.0), "data_stddev must be positive and finite.*got 0.0"),
        (lambda: EDMWeighting(math.inf), "data_stddev must be positive and finite.*got inf"),
        (lambda: SigmoidWeighting(math.inf), "bias must be a finite log-SNR, got inf.*BoundWeighting"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SimpleWeighting(PredictX), "measure must be a Prediction.*class PredictX itself"),
        (lambda: DenoisingLoss(IsotropicDiffusion(SHAPE), weighting=PredictX()), "weighting must be a Weighting"),
        (lambda: DenoisingLoss(IsotropicDiffusion(SHAPE), uncertainty=1.0), "uncertainty must be a LearnedLogVariance"),
        (lambda: FrequencyWeighting(PredictX(), torch.ones(())), "base must be a Weighting"),
        (lambda: FrequencyWeighting(SimpleWeighting(), 1.0), "factors must be a Tensor"),
        (lambda: FrequencyWeighting(SimpleWeighting(), torch.ones(3).int()), "factors must be floating-point"),
        (lambda: LearnedLogVariance(SHAPE), "process must be a LinearGaussianProcess"),
    ],
)
def test_the_wrong_kind_is_refused(build, message):
    with pytest.raises(TypeError, match=message):
        build()


def test_copies_weigh_alike():
    process, t = IsotropicDiffusion(SHAPE), batch_times(0.5)
    weighting = FrequencyWeighting(MinSNRWeighting(), random_images(SHAPE, batch=1)[0])
    assert torch.equal(copy.deepcopy(weighting).weight(process, t), weighting.weight(process, t))


def test_every_weighting_compiles_as_one_graph():
    """In a process of its own: the tests' run-time checks of annotations would break the graph."""
    script = Path(__file__).parent / "compiled_weightings.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10
