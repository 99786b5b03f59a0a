"""Estimates clipped to the data's range."""

import pytest
import torch
from torch import nn

from unmelt.degradations import HeatDissipation, IsotropicDiffusion, PredictEpsilon, PredictPreviousLevel, PredictX
from unmelt.models import ClippedDenoiser, Denoiser, GreyLevels
from unmelt.samplers import Multistep, Posterior, Sampler, UniformGrid

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


def test_what_cannot_be_clipped_is_refused():
    with pytest.raises(ValueError, match=r"the range to clip to is not known: give data_range"):
        ClippedDenoiser(denoiser())
    with pytest.raises(TypeError, match="denoiser"):
        ClippedDenoiser(Far(), (0.0, 1.0))
    process = HeatDissipation(SHAPE, levels=4)
    previous = Denoiser(Far(), process, prediction=PredictPreviousLevel())
    with pytest.raises(ValueError, match="predicts the previous level has no estimate .* PredictX"):
        ClippedDenoiser(previous, (0.0, 1.0))
