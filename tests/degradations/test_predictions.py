"""Conversions between what networks predict."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unmelt.degradations import (
    BlurringDiffusion,
    HeatDissipation,
    IsotropicDiffusion,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictScore,
    PredictV,
    PredictX,
)
from unmelt.degradations.predictions import LARGEST_GAIN
from unmelt.testing.strategies import DTYPES, processes, random_images

PREDICTIONS = [PredictX(), PredictEpsilon(), PredictV(), PredictScore(), PredictPreviousLevel(levels=1)]


@settings(max_examples=60)
@given(
    process=processes(),
    prediction=st.sampled_from(PREDICTIONS),
    t=st.floats(0.01, 1),
    seed=st.integers(0, 99),
    dtype=st.sampled_from(DTYPES),
)
def test_the_exact_target_gives_the_data_back(process, prediction, t, seed, dtype):
    x, noise = (
        random_images(process.shape, seed=seed, dtype=dtype),
        random_images(process.shape, seed=seed + 1, dtype=dtype),
    )
    times = torch.full((2,), t, dtype=torch.float64)
    z_t, target = prediction.training_pair(process, x, noise, times)
    latent, output = prediction.conversion(process, times)
    restored = process.basis.combine((z_t, latent), (target, output))
    # Rounding in latent and target, amplified by the conversion's own coefficients.
    gain = max(1.0, latent.abs().max().item(), (output.abs().max() * target.abs().max()).item())
    torch.testing.assert_close(restored, x, rtol=0, atol=64 * torch.finfo(dtype).eps * gain)


@given(process=processes(), t=st.floats(0.01, 1), s=st.floats(0, 1), seed=st.integers(0, 99))
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_exact_target_gives_degraded_data_too(prediction, process, t, s, seed):
    """Folding alpha_s into the conversion is what the sampler does at every step."""
    x, noise = random_images(process.shape, seed=seed), random_images(process.shape, seed=seed + 1)
    times = torch.full((2,), t, dtype=torch.float64)
    z_t, target = prediction.training_pair(process, x, noise, times)
    log_alpha = process.log_coefficients(process.as_times(s)).log_alpha
    latent, output = prediction.conversion(process, times, log_alpha)
    degraded = process.basis.combine((z_t, latent), (target, output))
    gain = max(1.0, latent.abs().max().item(), (output.abs().max() * target.abs().max()).item())
    torch.testing.assert_close(degraded, process.degrade(x, s)[0], rtol=0, atol=1e-13 * gain)


def test_previous_level_is_the_last_one_strictly_before():
    process = HeatDissipation((1, 4, 4), levels=200)
    prediction = PredictPreviousLevel()
    for dtype in DTYPES:
        levels = torch.arange(0, 201, dtype=dtype)
        previous = prediction.previous(process, levels / 200) * 200
        expected = (levels - 1).clamp(min=0)
        torch.testing.assert_close(previous.to(dtype), expected, rtol=1e-6, atol=0)
        between = prediction.previous(process, (levels[1:] - 0.5) / 200) * 200
        torch.testing.assert_close(between.to(dtype), expected[1:], rtol=1e-6, atol=0)


@given(level=st.integers(1, 40), seed=st.integers(0, 99))
def test_less_degraded_is_exact_to_its_level_and_beyond_even_where_alpha_underflows(level, seed):
    """IHDM's own step needs no division: the ratio of alphas is 1 at the previous level and below 1 after it."""
    process = HeatDissipation((1, 8, 8), blur_sigma_max=400.0, levels=40, sigma=0.01)
    x, noise = random_images(process.shape, seed=seed), random_images(process.shape, seed=seed + 1)
    times = torch.full((2,), level / 40, dtype=torch.float64)
    prediction = PredictPreviousLevel()
    z_t, target = prediction.training_pair(process, x, noise, times)
    for s in ((level - 1) / 40, (level - 0.5) / 40, level / 40):
        log_alpha = process.log_coefficients(process.as_times(s)).log_alpha
        latent, output = prediction.conversion(process, times, log_alpha)
        assert torch.equal(latent, output)
        assert output.max() <= 1
        degraded = process.basis.combine((z_t, latent), (target, output))
        torch.testing.assert_close(degraded, process.degrade(x, s)[0], rtol=0, atol=1e-12)
        assert s != (level - 1) / 40 or torch.equal(output, torch.ones_like(output))


def test_less_degraded_beyond_its_level_stays_bounded_by_the_noise():
    process = HeatDissipation((1, 8, 8), blur_sigma_max=400.0, levels=40, sigma=0.01)
    _, output = PredictPreviousLevel().conversion(process, torch.tensor([1.0], dtype=torch.float64))
    assert output.isfinite().all()
    # alpha / (alpha^2 + sigma^2) is largest at alpha = sigma.
    assert output.max() <= 1 / (2 * 0.01) * (1 + 1e-9)
    # The mean of each channel never fades: nothing to restore, nothing damped.
    assert output[..., 0, 0].item() == 1.0


@pytest.mark.parametrize(
    ("process", "prediction", "alternatives"),
    [
        (HeatDissipation((1, 32, 32)), PredictEpsilon(), ["PredictX()", "PredictV()", "PredictPreviousLevel()"]),
        (HeatDissipation((1, 32, 32)), PredictScore(), ["PredictX()", "PredictV()", "PredictPreviousLevel()"]),
        (HeatDissipation((1, 32, 32), sigma=0.0), PredictV(), ["PredictX()"]),
    ],
)
def test_unstable_predictions_are_refused_with_the_stable_ones_named(process, prediction, alternatives):
    name = f"{type(prediction).__name__} cannot be converted stably by HeatDissipation"
    with pytest.raises(ValueError, match=name) as error:
        prediction.require_stable(process)
    assert str(error.value).split("; use ")[1].split(" or ") == alternatives


@pytest.mark.parametrize(
    ("process", "prediction"),
    [
        (IsotropicDiffusion((1, 8, 8)), PredictEpsilon()),
        (BlurringDiffusion((1, 32, 32)), PredictEpsilon()),
        (HeatDissipation((1, 32, 32)), PredictPreviousLevel()),
        (HeatDissipation((1, 32, 32)), PredictX()),
    ],
)
def test_the_papers_own_predictions_are_accepted(process, prediction):
    prediction.require_stable(process)
    assert prediction.gain(process) <= LARGEST_GAIN


def test_less_degraded_needs_a_number_of_levels():
    with pytest.raises(ValueError, match="IsotropicDiffusion is continuous.*levels=200"):
        PredictPreviousLevel().previous(IsotropicDiffusion((1, 2, 2)), torch.tensor(0.5))
    with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
        PredictPreviousLevel(levels=0)
