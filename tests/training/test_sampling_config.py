"""The sampler that a run's settings describe."""

import dataclasses

import pytest
import torch
from torch import nn

from unmelt.degradations import BlurringDiffusion, HeatDissipation, PredictX
from unmelt.models import DegradedDataPrior, Denoiser, StandardNormalPrior
from unmelt.samplers import (
    ExponentialSDESampler,
    HeunSampler,
    MultistepSampler,
    PosteriorSampler,
    karras_times,
    log_snr_times,
    uniform_times,
)
from unmelt.testing.strategies import random_images
from unmelt.training import (
    CouplingKind,
    GridKind,
    SamplerKind,
    SamplingConfig,
)

SHAPE = (1, 4, 4)


class Soft(nn.Module):
    def forward(self, z, t):
        return 0.5 * torch.tanh(z)


def build(config, process=None):
    process = process or BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
    prior = DegradedDataPrior(process, random_images(SHAPE)) if process.levels else StandardNormalPrior(process)
    return config.build(Denoiser(Soft(), process, prediction=PredictX()), prior)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (SamplerKind.POSTERIOR, PosteriorSampler),
        (SamplerKind.MULTISTEP, MultistepSampler),
        (SamplerKind.HEUN, HeunSampler),
        (SamplerKind.SDE, ExponentialSDESampler),
    ],
)
def test_each_kind_is_its_sampler_on_the_grid_that_is_named(kind, expected):
    process = BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
    grids = {
        GridKind.UNIFORM: uniform_times(6),
        GridKind.LOG_SNR: log_snr_times(process, 6),
        GridKind.KARRAS: karras_times(process, 6),
    }
    for grid, times in grids.items():
        sampler = build(SamplingConfig(sampler=kind, grid=grid, steps=6, order=3), process)
        assert type(sampler) is expected
        assert torch.equal(sampler.times, times)
        assert sampler.sample(2).shape == (2, *SHAPE)
    assert not torch.equal(grids[GridKind.LOG_SNR], grids[GridKind.KARRAS])


def test_settings_reach_their_sampler():
    config = SamplingConfig(coupling=CouplingKind.INDEPENDENT, delta=0.1, order=3, steps=5)
    posterior = build(config)
    assert (posterior.coupling, posterior.delta) == (CouplingKind.INDEPENDENT.build(), 0.1)
    assert build(dataclasses.replace(config, sampler=SamplerKind.MULTISTEP)).order == 3
    with pytest.raises(ValueError, match="order must be 2 or 3, got 4"):
        build(SamplingConfig(sampler=SamplerKind.MULTISTEP, order=4))


def test_steps_default_to_the_levels_or_to_fifty():
    assert len(build(SamplingConfig(), HeatDissipation(SHAPE, levels=7)).times) == 8
    assert len(build(SamplingConfig()).times) == 51
