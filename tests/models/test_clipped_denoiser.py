"""Estimates clipped to the data's range."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from unmelt.degradations import (
    BrownianBridge,
    HeatDissipation,
    IsotropicDiffusion,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictX,
    estimate_spectrum,
)
from unmelt.models import ClippedDenoiser, Denoiser, GreyLevels
from unmelt.samplers import Multistep, Posterior, Sampler, UniformGrid
from unmelt.samplers.guidance import ClassifierFreeGuidance, CovarianceGuidance, LinearObservation, restore
from unmelt.testing.strategies import random_images

SHAPE = (1, 4, 4)


class Far(nn.Module):
    """Says 3 everywhere."""

    def forward(self, z, t, condition=None):
        return torch.full_like(z, 3.0) if condition is None else condition.reshape(-1, 1, 1, 1).expand_as(z).float()


def denoiser(prediction=None, grey_levels=None):
    return Denoiser(Far(), IsotropicDiffusion(SHAPE), prediction=prediction or PredictX(), grey_levels=grey_levels)


def test_estimates_stay_in_the_range_and_others_are_as_they_are():
    inner = denoiser(grey_levels=GreyLevels(256, -1.0, 1.0))
    clipped = ClippedDenoiser(inner)
    z, t = torch.randn(2, *SHAPE), torch.tensor([0.2, 0.7])
    assert clipped(z, t).unique().tolist() == [1.0]
    assert ClippedDenoiser(inner, (-5.0, 5.0))(z, t).unique().tolist() == [3.0]
    condition = torch.tensor([0, -4])
    assert clipped(z, t, condition).flatten(1).unique(dim=1).tolist() == [[0.0], [-1.0]]
    assert clipped.network_calls(t) == 1


@pytest.mark.parametrize("stepper", [Posterior(), Multistep()])
def test_every_sampler_takes_it(stepper):
    inner = denoiser(PredictEpsilon(), GreyLevels(256, -1.0, 1.0))
    free, clipped = (
        Sampler(each, stepper, grid=UniformGrid(5)).sample(3, generator=range(3))
        for each in (inner, ClippedDenoiser(inner))
    )
    # Noise of 3 everywhere leaves an estimate far outside.
    assert free.abs().max() > 2
    assert clipped.abs().max() <= 1


class Told(nn.Module):
    """Says what it is told, as an image condition."""

    classes = 7

    def forward(self, z, t, condition=None):
        return z if condition is None else condition


def thresholded(x, percentile, low, high):
    """Saharia et al. (2022), section 2.3, on data of [-1, 1], each image by numpy; and back."""
    scaled = 2 * (x.double().numpy() - low) / (high - low) - 1
    for each in scaled:
        s = max(np.percentile(np.abs(each), 100 * percentile), 1.0)
        each[:] = np.clip(each, -s, s) / s
    return torch.from_numpy((scaled + 1) / 2 * (high - low) + low)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (2.0, 10.0)])
@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.995])
def test_dynamic_thresholding_is_the_papers_in_any_range(low, high, percentile, dtype):
    inner = Denoiser(Told(), IsotropicDiffusion(SHAPE), prediction=PredictX())
    # One image far outside, one at its edge, one inside.
    widths = torch.tensor([3.0, 1.0, 0.1], dtype=dtype).reshape(-1, 1, 1, 1)
    x = (low + high) / 2 + (high - low) / 2 * widths * random_images(SHAPE, batch=3, dtype=dtype)
    clipped = ClippedDenoiser(inner, (low, high), percentile=percentile)
    found = clipped(torch.zeros_like(x), 0.5, x)
    assert found.dtype == dtype
    # A dozen roundings of numbers up to 40.
    torch.testing.assert_close(
        found.double(), thresholded(x, percentile, low, high), rtol=0, atol=500 * torch.finfo(dtype).eps
    )
    assert found.min() >= low
    assert found.max() <= high
    # What is inside stays, but for the rounding of its distance from the middle; the far one is not cut but shrunk.
    torch.testing.assert_close(found[2], x[2], rtol=4 * torch.finfo(dtype).eps, atol=0)
    assert (found[0] - x[0].clamp(low, high)).abs().max() > 0.1 * (high - low)
    # Rows do not know of each other.
    torch.testing.assert_close(clipped(torch.zeros_like(x[:1]), 0.5, x[:1]), found[:1], rtol=0, atol=0)


def test_it_knows_what_its_denoiser_knows():
    levels = GreyLevels(256, -1.0, 1.0)
    inner = Denoiser(Told(), IsotropicDiffusion(SHAPE), prediction=PredictX(), grey_levels=levels)
    for each in (inner, ClassifierFreeGuidance(inner, 2.0)):
        clipped = ClippedDenoiser(each, percentile=0.9)
        assert clipped.classes == 7
        assert clipped.grey_levels == levels
        assert clipped.process is inner.process
        assert clipped.prediction == PredictX()
        assert not clipped.needs_given
        labels = torch.zeros(3, dtype=torch.long)
        assert clipped.network_calls(torch.tensor(0.5), labels) == each.network_calls(torch.tensor(0.5), labels)
    assert "data_range=(-1.0, 1.0), percentile=0.9" in repr(clipped)


def test_a_known_end_reaches_the_denoiser():
    process = BrownianBridge(SHAPE)
    clipped = ClippedDenoiser(Denoiser(Far(), process, prediction=PredictX()), (-1.0, 1.0))
    assert clipped.needs_given
    y = random_images(SHAPE, batch=2, dtype=torch.float32)
    assert (Sampler(clipped, grid=UniformGrid(3)).sample(2, given=y, generator=range(2)) == 1).all()
    with pytest.raises(ValueError, match="given"):
        clipped(y, 0.5)


@pytest.mark.parametrize(("clip", "percentile"), [(True, None), (0.8, 0.8)])
def test_samplers_clip_when_asked(clip, percentile):
    inner = denoiser(PredictEpsilon(), GreyLevels(256, -1.0, 1.0))
    sampler = Sampler(inner, grid=UniformGrid(5), clip=clip)
    theirs = Sampler(ClippedDenoiser(inner, percentile=percentile), grid=UniformGrid(5))
    assert torch.equal(sampler.sample(3, generator=range(3)), theirs.sample(3, generator=range(3)))
    assert repr(sampler) == repr(theirs)
    assert "ClippedDenoiser" in repr(sampler)
    assert "Clipped" not in repr(Sampler(inner, grid=UniformGrid(5)))


def test_guided_runs_start_where_they_would_without_clipping():
    """Heat leaves the mean of an image, which the guided denoiser draws, and no prior knows."""
    process = HeatDissipation(SHAPE)
    x = random_images(SHAPE, batch=20, dtype=torch.float32)
    levels = GreyLevels(256, -1.0, 1.0)
    inner = Denoiser(Told(), process, prediction=PredictX(), grey_levels=levels)
    observation = LinearObservation.mask(SHAPE, torch.arange(4) < 2, noise_std=0.1)
    guided = CovarianceGuidance(inner, observation, variance=estimate_spectrum(process.basis, x))
    free, clipped = Sampler(guided, grid=UniformGrid(3)), Sampler(guided, grid=UniformGrid(3), clip=True)
    starts = [each.initial_latents(2, given=5 * x[:2], generator=range(2)) for each in (free, clipped)]
    assert torch.equal(*starts)
    # Samples have been through the process's basis and back.
    assert restore(clipped, 5 * x[0], 4, generator=range(4)).samples.abs().max() <= 1 + 1e-6
    assert restore(free, 5 * x[0], 4, generator=range(4)).samples.abs().max() > 2


@pytest.mark.usefixtures("as_in_production")
def test_what_cannot_be_clipped_is_refused():
    for percentile in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"percentile must lie in \(0, 1\) \(0.995 is usual.*got"):
            ClippedDenoiser(denoiser(), (0.0, 1.0), percentile=percentile)
    for data_range in ((1.0, 0.0), (0.0, math.inf), (0.0, 0.0)):
        with pytest.raises(
            ValueError, match=r"data_range must be two finite numbers \(low, high\) with low < high, got"
        ):
            ClippedDenoiser(denoiser(), data_range)
    for data_range in ((0.0, 1.0, 2.0), 1.0):
        with pytest.raises((TypeError, ValueError), match=r"data_range must be .*\(low, high\)"):
            ClippedDenoiser(denoiser(), data_range)
    with pytest.raises(TypeError, match=r"clipped already, to \(0.0, 1.0\)"):
        Sampler(ClippedDenoiser(denoiser(), (0.0, 1.0)), clip=True)
    # The percentile of a number that only looks like True.
    with pytest.raises(ValueError, match=r"clip must lie in \(0, 1\).*got 1"):
        Sampler(denoiser(), clip=1)
    with pytest.raises(TypeError, match="clip must be a number, got 'a'"):
        Sampler(denoiser(), clip="a")
    with pytest.raises(ValueError, match=r"the range to clip to is not known"):
        Sampler(denoiser(), clip=True)
    with pytest.raises(
        ValueError, match=r"the range to clip to is not known: clip by ClippedDenoiser.*or give the denoiser"
    ):
        ClippedDenoiser(denoiser())
    with pytest.raises(TypeError, match="denoiser"):
        ClippedDenoiser(Far(), (0.0, 1.0))
    bridge = Denoiser(Far(), BrownianBridge(SHAPE), prediction=PredictX())
    with pytest.raises(ValueError, match="keep_noise is for processes without a known end, and BrownianBridge has one"):
        ClippedDenoiser(bridge, (0.0, 1.0), keep_noise=True)
    process = HeatDissipation(SHAPE, levels=4)
    previous = Denoiser(Far(), process, prediction=PredictPreviousLevel())
    with pytest.raises(ValueError, match="predicts the previous level has no estimate .* PredictX"):
        ClippedDenoiser(previous, (0.0, 1.0))
