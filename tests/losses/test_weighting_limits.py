"""Where signal or noise vanishes: finite limits of the scales of errors."""

import pytest
import torch
from weighting_cases import ALL, SHAPE, Fixed, batch_times

from unmelt.degradations import (
    ColdBlur,
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
    PredictX,
    RectifiedFlowSchedule,
)
from unmelt.losses import (
    BoundWeighting,
    DenoisingLoss,
    EDMWeighting,
    MinSNRWeighting,
    SimpleWeighting,
)
from unmelt.testing.strategies import random_images

# At the last level the highest frequency's alpha is exp(-4900).
HEAT = HeatDissipation((1, 16, 16), blur_sigma_max=24.0, levels=50)
END = torch.ones(2, dtype=torch.float64)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"score", "v"}))
def test_heat_whose_alpha_underflows(name):
    gain = ALL[name][0].error_scale(PredictX(), HEAT.at(END))
    assert gain.isfinite().all()
    # Without signal only weights on the x-error are left: 1, and EDM's 1 / d^2.
    highest = gain.expand(2, 1, 16, 16)[0, 0, -1, -1].item()
    assert highest == pytest.approx({"x": 1.0, "EDM": 1 / 0.7}.get(name, 0.0), rel=1e-12)


def test_heats_other_predictions_in_the_limit():
    """(alpha^2 + sigma^2) / sigma is sigma without signal."""
    gain = SimpleWeighting(PredictV()).error_scale(PredictX(), HEAT.at(END))
    assert gain[0, 0, -1, -1].item() == pytest.approx(0.01, rel=1e-12)
    less = MinSNRWeighting().error_scale(PredictPreviousLevel(), HEAT.at(END))
    # alpha_t / alpha_p / sigma, the weight being 1.
    fade = HEAT.log_alpha(END) - HEAT.log_alpha(END - 1 / 50)
    torch.testing.assert_close(less[:, 0, 8, 8], fade.expand_as(less)[:, 0, 8, 8].exp() / 0.01, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("prediction", [PredictX(), PredictV()], ids=["x", "v"])
def test_no_signal_at_all(name, prediction):
    """A rectified flow at t = 1: its log-SNR is -inf and falls infinitely fast, alpha^2 dl/dt = -2 (1 - t)."""
    process = IsotropicDiffusion(SHAPE, RectifiedFlowSchedule())
    gain = ALL[name][0].error_scale(prediction, process.at(END))
    assert gain.isfinite().all()
    near = ALL[name][0].error_scale(prediction, process.at(END - 1e-7))
    # Gains that vanish do so like sqrt(1 - t) at the slowest; the limit is read off 2^-40 before the end.
    torch.testing.assert_close(gain, near, rtol=1e-5, atol=1e-3)
    if name in ("min SNR", "P2", "epsilon", "bound", "sigmoid"):
        assert gain.max() < 1e-5


def test_no_noise_at_the_start():
    """What epsilon's own error weighs at t = 0 is the limit of its weight."""
    process = IsotropicDiffusion(SHAPE, LinearSchedule())
    start = torch.zeros(2, dtype=torch.float64)
    assert MinSNRWeighting().error_scale(PredictEpsilon(), process.at(start)).max() < 1e-4
    gain = EDMWeighting().error_scale(PredictEpsilon(), process.at(start))
    torch.testing.assert_close(gain, torch.ones_like(gain), rtol=1e-8, atol=0)


def test_a_weight_too_large_for_single_precision_is_taken_in_double():
    """1 / alpha of the level before: exp(60), whose square float32 has not."""
    process = HeatDissipation((1, 4, 4), blur_sigma_max=4.0, levels=2, blur_sigma_min=3.0)
    assert 1e19 < 1 / process.alpha(0.5).min() < 1e38
    x = random_images((1, 4, 4))
    denoiser = Fixed(process, PredictPreviousLevel(), torch.zeros_like(x))
    assert DenoisingLoss(denoiser, weighting=SimpleWeighting(PredictX()))(x, t=1.0).isfinite().all()


def test_without_noise_errors_of_the_data_can():
    process = ColdBlur((1, 4, 4))
    t = batch_times(0.5)
    gain = SimpleWeighting(PredictX()).error_scale(PredictPreviousLevel(levels=1), process.at(t))
    torch.testing.assert_close(gain, torch.ones_like(gain), rtol=1e-12, atol=0)


def test_coefficients_at_rest_count_nothing_in_the_bound():
    weight = BoundWeighting().weight(HEAT.at(batch_times(0.5)))
    assert (weight[..., 0, 0] == 0).all()
    assert (weight[..., 1:, 1:] > 0).all()
