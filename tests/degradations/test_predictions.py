"""Conversions between what networks predict: the table in predictions.py, its limits, and what is refused."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    BlurringDiffusion,
    ConstantNoise,
    CosineSchedule,
    GaussianBlur,
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    PredictEpsilon,
    Prediction,
    PredictPreviousLevel,
    PredictScore,
    PredictV,
    PredictX,
    RectifiedFlowSchedule,
    SineBlur,
    WithNoise,
)
from unmelt.degradations.bases.base import is_isotropic
from unmelt.degradations.predictions import LARGEST_GAIN
from unmelt.testing.strategies import DTYPES, processes, random_images


@dataclass(frozen=True)
class PredictMixture(Prediction):
    """As a user writes one: two formulas. Half of the data and a third of the residual, heavier where it is noisy."""

    weight: float = 0.3

    def signal(self, at):
        return 0.5 - self.weight * at.sigma

    def residual(self, at):
        return at.constant(self.weight)


class PredictVelocity(Prediction):
    """epsilon - x, the velocity of a straight path (Liu et al., 2023): b is infinite without noise, b sigma is 1."""

    def signal(self, at):
        return at.constant(-1.0)

    def residual(self, at):
        return (-at.log_sigma).exp()


PREDICTIONS = [
    PredictX(),
    PredictEpsilon(),
    PredictV(),
    PredictScore(),
    PredictPreviousLevel(levels=1),
    PredictMixture(),
]
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: type(p).__name__)


def restored(prediction, process, x, noise, t, log_alpha=None):
    """The estimate that the exact target is converted to, and how much conversion amplifies rounding in it."""
    at = process.at(t, batch=len(x))
    z_t, target = prediction.training_pair(at, x, noise)
    latent, output = prediction.conversion(at, log_alpha)
    gain = max(1.0, latent.abs().max().item(), (output.abs().max() * target.abs().max()).item())
    return process.basis.combine((z_t, latent), (target, output)), gain


@settings(max_examples=8)
@given(process=processes(), t=st.floats(0.01, 1), seed=st.integers(0, 99), dtype=st.sampled_from(DTYPES))
@every_prediction
def test_the_exact_target_gives_the_data_back(prediction, process, t, seed, dtype):
    x, noise = (random_images(process.shape, seed=seed + k, dtype=dtype) for k in (0, 1))
    found, gain = restored(prediction, process, x, noise, torch.full((2,), t, dtype=torch.float64))
    torch.testing.assert_close(found, x, rtol=0, atol=64 * torch.finfo(dtype).eps * gain)


@settings(max_examples=8)
@given(process=processes(), t=st.floats(0.01, 1), s=st.floats(0, 1), seed=st.integers(0, 99))
@every_prediction
def test_the_exact_target_gives_degraded_data_too(prediction, process, t, s, seed):
    """Folding alpha_s into the conversion is what the sampler does at every step."""
    x, noise = random_images(process.shape, seed=seed), random_images(process.shape, seed=seed + 1)
    times = torch.full((2,), t, dtype=torch.float64)
    found, gain = restored(prediction, process, x, noise, times, process.at(s).log_alpha)
    # Where nothing of the data is left their noise does not tell them.
    assume(math.isfinite(gain))
    torch.testing.assert_close(found, process.degrade(x, s)[0], rtol=0, atol=1e-13 * gain)


# ---- the table --------------------------------------------------------------------------------------------------

# What predictions.py's table says, typed once more: (alpha, sigma, alpha of the previous level) -> (latent, output).
TABLE = {
    PredictX(): lambda alpha, sigma, before: (0 * alpha, 1 + 0 * alpha),
    PredictEpsilon(): lambda alpha, sigma, before: (1 / alpha, -sigma / alpha),
    PredictV(): lambda alpha, sigma, before: (alpha / (alpha**2 + sigma**2), -sigma / (alpha**2 + sigma**2)),
    PredictScore(): lambda alpha, sigma, before: (1 / alpha, sigma**2 / alpha),
    PredictPreviousLevel(levels=5): lambda alpha, sigma, before: (1 / before, 1 / before),
}


@pytest.mark.parametrize("name", ["heat", "blurring", "cosine", "mask", "power law", "groups", "no noise"])
@pytest.mark.parametrize("t", [0.0, 0.3, 0.77, 1.0])
@pytest.mark.parametrize("prediction", TABLE, ids=lambda p: type(p).__name__)
def test_the_exact_conversion_is_the_table_s(prediction, t, name):
    """Wherever the table has numbers, at sigma = 0 and where alpha vanishes or underflows too."""
    process = EVERY_PROCESS[name]
    at = process.at(t)
    before = process.at(max(0.0, (torch.tensor(5 * t).ceil().item() - 1) / 5)).alpha
    shape = (1, *process.shape)
    expected = TABLE[prediction](*(c.expand(shape) for c in (at.alpha, at.sigma, before)))
    conversion = Prediction.conversion(prediction, at)
    for ours, theirs in zip(conversion, expected, strict=True):
        known = theirs.isfinite()
        # 1 / alpha where alpha is a hundredth of the smallest normal number is beyond float64 by any route.
        torch.testing.assert_close(ours.expand(shape)[known], theirs[known], rtol=1e-12, atol=1e-300)
    factor = prediction.error_factor(at).expand(shape)
    known = expected[1].isfinite()
    torch.testing.assert_close(factor[known], expected[1].abs()[known], rtol=1e-12, atol=1e-300)


def test_the_share_of_noise_is_a_limit_where_there_is_none():
    at = IsotropicDiffusion((1, 2), RectifiedFlowSchedule()).at(torch.tensor([0.0, 0.4], dtype=torch.float64))
    # Next to t = 0, b sigma is 1 within rounding; what grows like 1 / sigma has no limit.
    torch.testing.assert_close(
        PredictVelocity().noise(at).flatten().double(), torch.ones(2).double(), rtol=1e-15, atol=0
    )
    assert PredictScore().noise(at).flatten().tolist() == [-math.inf, -2.5]


def test_limits_of_the_table():
    """No noise: epsilon and v are forgotten and the latent is divided by alpha. No signal: v is -sigma x."""
    clean, lost = (IsotropicDiffusion((1, 2), RectifiedFlowSchedule()).at(t) for t in (0.0, 1.0))
    for prediction in (PredictEpsilon(), PredictV(), PredictScore()):
        assert [c.item() for c in prediction.conversion(clean)] == [1.0, 0.0]
    assert [c.item() for c in PredictV().conversion(lost)] == [0.0, -1.0]
    assert [c.item() for c in PredictX().conversion(lost)] == [0.0, 1.0]
    assert not any(c.isnan().any() for p in PREDICTIONS for c in p.conversion(lost))


def test_a_ratio_of_alphas_is_formed_in_logarithms():
    """alpha_s / alpha_t is 1 / 2 where both are exp(-400000)."""
    process = HeatDissipation((1, 16), blur_sigma_max=300.0, levels=10)
    at = process.at(1.0)
    assert at.alpha[..., -1].item() == 0
    for prediction in (PredictEpsilon(), PredictScore()):
        latent, _ = prediction.conversion(at, at.log_alpha - math.log(2))
        # A logarithm of size 4e5 is rounded by 6e-11.
        torch.testing.assert_close(latent, torch.full_like(latent, 0.5), rtol=1e-9, atol=0)


@pytest.mark.parametrize("process", [HeatDissipation((1, 4, 4)), IsotropicDiffusion((1, 4, 4))], ids=repr)
@every_prediction
def test_no_transform_is_asked_for_where_one_number_does(prediction, process):
    """Signal and latent under isotropic diffusion, and predicted data under any process, stay where they are."""
    at = process.at(torch.tensor([0.3, 0.6]))
    if isinstance(process, IsotropicDiffusion) or prediction == PredictX():
        numbers = (*prediction.conversion(at), prediction.error_factor(at), prediction.noise(at), prediction.signal(at))
        assert all(is_isotropic(number) for number in numbers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_prediction
def test_half_precision_is_computed_in_single(prediction, dtype):
    for process in (IsotropicDiffusion((1, 4, 4)), BlurringDiffusion((1, 4, 4), blur_sigma_max=0.5)):
        x, noise = (random_images(process.shape, seed=seed).to(dtype) for seed in (0, 1))
        at = process.at(torch.tensor([0.3, 0.6]))
        z_t, target = prediction.training_pair(at, x, noise)
        exact = prediction.training_pair(at, x.float(), noise.float())
        assert z_t.dtype == torch.float32
        assert torch.equal(z_t, exact[0])
        torch.testing.assert_close(target.float(), exact[1], rtol=0, atol=0)


# ---- the previous level -----------------------------------------------------------------------------------------


def test_previous_level_is_the_last_one_strictly_before():
    process = HeatDissipation((1, 4, 4), levels=200)
    levels = torch.arange(0, 201, dtype=torch.float64)
    expected = (levels - 1).clamp(min=0)
    for dtype in DTYPES:
        for times, before in ((levels / 200, expected), ((levels[1:] - 0.5) / 200, expected[1:])):
            previous = PredictPreviousLevel().previous(process.at(times.to(dtype)))
            torch.testing.assert_close(previous.t * 200, before, rtol=1e-12, atol=0)


@given(level=st.integers(1, 40), seed=st.integers(0, 99))
def test_it_is_exact_to_its_level_and_beyond_even_where_alpha_underflows(level, seed):
    """IHDM's own step needs no division: the ratio of alphas is 1 at the previous level and below 1 after it."""
    process = HeatDissipation((1, 8, 8), blur_sigma_max=400.0, levels=40, sigma=0.01)
    x, noise = random_images(process.shape, seed=seed), random_images(process.shape, seed=seed + 1)
    prediction, t = PredictPreviousLevel(), level / 40
    for s in ((level - 1) / 40, (level - 0.5) / 40, level / 40):
        log_alpha = process.at(s).log_alpha
        latent, output = prediction.conversion(process.at(t), log_alpha)
        assert torch.equal(latent, output)
        assert output.max() <= 1
        degraded, _ = restored(prediction, process, x, noise, t, log_alpha)
        torch.testing.assert_close(degraded, process.degrade(x, s)[0], rtol=0, atol=1e-12)
        assert s != (level - 1) / 40 or torch.equal(output, torch.ones_like(output))


def test_beyond_its_level_it_stays_bounded_by_the_noise():
    process = HeatDissipation((1, 8, 8), blur_sigma_max=400.0, levels=40, sigma=0.01)
    _, output = PredictPreviousLevel().conversion(process.at(1.0))
    assert output.isfinite().all()
    # alpha / (alpha^2 + sigma^2) is largest at alpha = sigma.
    assert output.max() <= 1 / (2 * 0.01) * (1 + 1e-9)
    # The mean of each channel never fades: nothing to restore, nothing damped.
    assert output[..., 0, 0].item() == 1.0


def test_where_the_data_are_well_above_a_network_s_error_it_is_not_damped():
    """In isotropic diffusion the noise is of order 1: damping by it would halve the data at a log-SNR of 0."""
    process = IsotropicDiffusion((1, 2), CosineSchedule(-8.0, 8.0))
    at = process.at(torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64))
    prediction = PredictPreviousLevel(levels=50)
    kept = prediction.conversion(at).latent * prediction.previous(at).alpha
    assert (kept >= 1 / (1 + 2.0**-10 / prediction.previous(at).alpha.square())).all()
    assert (kept <= 1).all()
    assert kept.min() > 0.98


@pytest.mark.parametrize("prediction", [PredictPreviousLevel(levels=4), PredictV()])
def test_a_training_pair_is_the_latent_and_the_target(prediction):
    """The pair shares one transform, by blur matrices where the process has them; its parts are those made alone."""
    for name in ("heat", "blurring", "pixelation", "linear"):
        process = EVERY_PROCESS[name]
        x, noise = (random_images(process.shape, seed=seed) for seed in (0, 1))
        at = process.at(torch.tensor([0.3, 0.8]))
        z_t, target = prediction.training_pair(at, x, noise)
        torch.testing.assert_close(z_t, at.corrupt(x, noise), rtol=0, atol=1e-13)
        torch.testing.assert_close(target, prediction.target(at, x, noise), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("prediction", "most"),
    [
        # The data there and the latent back; the noise there, too, where it differs from frequency to frequency.
        (PredictX(), {"heat": 2, "blurring": 2, "variance preserving blur": 3}),
        (PredictEpsilon(), {"heat": 2, "blurring": 2, "variance preserving blur": 3}),
        # Data and noise there, latent and target back.
        (PredictV(), {"heat": 4, "blurring": 4, "variance preserving blur": 4}),
        # The data by blur matrices, or there and two degraded signals back; the noise as above.
        (PredictPreviousLevel(levels=4), {"heat": 0, "blurring": 3, "variance preserving blur": 2}),
    ],
)
@pytest.mark.parametrize("name", ["heat", "blurring", "variance preserving blur", "linear"])
def test_a_training_pair_takes_no_transform_twice(prediction, name, most, monkeypatch):
    process, done = EVERY_PROCESS[name], []
    for method in ("analyse", "synthesise"):
        transform = getattr(process.basis, method)
        monkeypatch.setattr(process.basis, method, lambda x, f=transform: (done.append(len(x)), f(x))[1])
    x, noise = (random_images(process.shape, seed=seed) for seed in (0, 1))
    prediction.training_pair(process.at(torch.tensor([0.3, 0.8])), x, noise)
    assert sum(done) <= most.get(name, 0) * len(x)


# ---- what is refused --------------------------------------------------------------------------------------------

SHARP = GaussianBlur((1, 32, 32), SineBlur(20.0), ConstantNoise(0.01))


@pytest.mark.parametrize(
    ("process", "prediction", "alternatives"),
    [
        (HeatDissipation((1, 32, 32)), PredictEpsilon(), ["PredictX()", "PredictV()", "PredictPreviousLevel()"]),
        (HeatDissipation((1, 32, 32)), PredictScore(), ["PredictX()", "PredictV()", "PredictPreviousLevel()"]),
        (HeatDissipation((1, 32, 32), sigma=0.0), PredictV(), ["PredictX()"]),
        (SHARP, PredictEpsilon(), ["PredictX()", "PredictV()"]),
        (IsotropicDiffusion((1, 2), RectifiedFlowSchedule()), PredictScore(), ["PredictX()", "PredictV()"]),
        (
            IsotropicDiffusion((1, 2), LinearSchedule()),
            PredictScore(),
            ["PredictX()", "PredictEpsilon()", "PredictV()"],
        ),
        (IsotropicDiffusion((1, 2), ConstantNoise(0.0)), PredictVelocity(), ["PredictX()", "PredictEpsilon()"]),
        (IsotropicDiffusion((1, 2), ConstantNoise(0.0)), PredictScore(), ["PredictX()", "PredictEpsilon()"]),
    ],
)
def test_unstable_predictions_are_refused_with_the_stable_ones_named(process, prediction, alternatives):
    with pytest.raises(ValueError, match=f"{type(prediction).__name__} cannot be converted stably by") as error:
        prediction.require_stable(process)
    named = str(error.value).split("; use ")[1].split(" or ")
    assert named[: len(alternatives)] == alternatives


@pytest.mark.parametrize(
    ("process", "prediction"),
    [
        (IsotropicDiffusion((1, 8, 8)), PredictEpsilon()),
        (BlurringDiffusion((1, 32, 32)), PredictEpsilon()),
        (HeatDissipation((1, 32, 32)), PredictPreviousLevel()),
        (HeatDissipation((1, 32, 32)), PredictX()),
        (HeatDissipation((1, 32, 32)), PredictMixture(-0.3)),
        (WithNoise(HeatDissipation((1, 8, 8)), RectifiedFlowSchedule()), PredictV()),
        (IsotropicDiffusion((1, 2), RectifiedFlowSchedule()), PredictVelocity()),
        (IsotropicDiffusion((1, 2), LinearSchedule()), PredictVelocity()),
    ],
)
def test_the_papers_own_predictions_are_accepted(process, prediction):
    prediction.require_stable(process)
    assert prediction.gain(process) <= LARGEST_GAIN
