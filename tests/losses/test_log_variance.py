"""The learned scale of the loss at each time: what it multiplies, where it is best, and that it can be learned."""

import math

import pytest
import torch
from support import seeded
from torch import nn
from weighting_cases import SHAPE, Fixed, batch_times

from unmelt.degradations import (
    ColdBlur,
    HeatDissipation,
    IsotropicDiffusion,
    PredictX,
    RectifiedFlowSchedule,
)
from unmelt.losses import DenoisingLoss, LearnedLogVariance, MeanOverDimensions
from unmelt.testing.strategies import random_images

PROCESS = IsotropicDiffusion(SHAPE)


def test_it_starts_as_nothing():
    v = LearnedLogVariance()
    at, losses = PROCESS.at(batch_times(0.5)), torch.tensor([3.0, 5.0], dtype=torch.float64)
    assert torch.equal(v(at), torch.zeros(2))
    assert torch.equal(v.scaled(losses, at), losses)


def test_it_is_scaled_by_what_it_says():
    v = LearnedLogVariance(features=3)
    nn.init.normal_(v.linear.weight, generator=seeded(0))
    at, losses = PROCESS.at(batch_times(0.5)), torch.tensor([3.0, 5.0], dtype=torch.float64)
    said = v(at).double()
    assert (said[0] - said[1]).abs() > 1e-2
    torch.testing.assert_close(v.scaled(losses, at), losses / said.exp() + said, rtol=1e-12, atol=0)


def test_its_best_value_is_the_logarithm_of_the_loss():
    """d/dv (L exp(-v) + v) = 1 - L exp(-v): negative below log L, 0 there, positive above."""
    v, at = LearnedLogVariance(), PROCESS.at(batch_times(0.5))
    losses = torch.tensor([3.0, 3.0], dtype=torch.float64)
    for off, sign in ((-0.1, -1), (0.0, 0), (0.1, 1)):
        nn.init.constant_(v.linear.bias, math.log(3) + off)
        v.zero_grad()
        v.scaled(losses, at).sum().backward()
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
def test_it_learns_the_mean_loss_of_every_time(process):
    """From losses of mean exp(6 t - 3) c with a random c: v is fitted by Newton's steps, being linear."""
    v = LearnedLogVariance(features=8).double()
    t = torch.linspace(0, 1, 201, dtype=torch.float64)
    target, at = (6 * t - 3).exp(), process.at(t)
    optimizer = torch.optim.LBFGS(v.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = v.scaled(target, at).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    # A straight line is a series of odd cosines with coefficients 12 (2 / (pi j))^2 ...: what eight leave out is
    # at most 0.3 at the ends and far less within.
    assert (v(at) - (6 * t - 3)).abs().max() < 0.3
    assert (v(at) - (6 * t - 3)).abs()[20:-20].max() < 0.05


def test_its_features_are_bounded_and_tell_times_apart():
    """Heat's mean log-SNR at t = 1 is -2000, a cold blur's infinite."""
    for process in (
        HeatDissipation((1, 16, 16), blur_sigma_max=24.0, levels=50),
        ColdBlur((1, 16, 16)),
        IsotropicDiffusion(SHAPE, RectifiedFlowSchedule()),
    ):
        v = LearnedLogVariance(features=4)
        nn.init.normal_(v.linear.weight, generator=seeded(0))
        value = v(process.at(torch.linspace(0, 1, 11, dtype=torch.float64)))
        assert value.isfinite().all()
        assert value.diff().abs().min() > 1e-4
        assert v(process.at(0.5)).shape == ()
        assert v(process.at(0.5)).item() == pytest.approx(value[5].item(), rel=1e-5)


def test_it_trains_with_the_loss():
    x = random_images(SHAPE)
    loss = DenoisingLoss(Fixed(PROCESS, PredictX(), torch.zeros_like(x)), log_variance=LearnedLogVariance())
    assert sum(p.numel() for p in loss.parameters()) == 65
    loss(x).mean().backward()
    assert all(p.grad.abs().max() > 0 for p in loss.parameters())
    assert set(loss.state_dict()) == {"log_variance.linear.weight", "log_variance.linear.bias"}


def test_networks_learn_alike_from_sums_and_means():
    """Once v is the loss's logarithm, the gradient is that of log L, whatever L's unit."""
    process, x = PROCESS, random_images(SHAPE, batch=1)
    gradients = []
    for reduction in (None, MeanOverDimensions()):
        answer = torch.zeros_like(x).requires_grad_()
        denoiser = Fixed(process, PredictX(), answer)
        plain = DenoisingLoss(denoiser, reduction=reduction)(x, t=0.5)
        v = LearnedLogVariance().double()
        nn.init.constant_(v.linear.bias, plain.log().item())
        DenoisingLoss(denoiser, reduction=reduction, log_variance=v)(x, t=0.5).sum().backward()
        gradients.append(answer.grad)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=0)


def test_autocast_leaves_it_its_digits():
    v, at = LearnedLogVariance(), PROCESS.at(batch_times(0.5))
    nn.init.normal_(v.linear.weight)
    with torch.autocast("cpu", torch.bfloat16):
        inside = v(at)
    assert torch.equal(inside, v(at))
