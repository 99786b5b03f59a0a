"""A sampler refuses parts that were made for other processes, other data or other batches."""

import pytest
import torch
from torch import nn

from unmelt.degradations import HeatDissipation, IsotropicDiffusion, PredictX
from unmelt.models import DegradedDataPrior, Denoiser, LabelledDenoiser
from unmelt.samplers import MultistepSampler, PosteriorSampler
from unmelt.samplers.guidance import CovarianceGuidance, LinearObservation
from unmelt.testing.strategies import random_images

SHAPE = (1, 4, 4)


class Soft(nn.Module):
    classes = 3

    def forward(self, z, t, condition=None):
        return 0.5 * torch.tanh(z)


def heat(sigma=0.02):
    return HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=5, sigma=sigma)


@pytest.mark.parametrize("kind", [PosteriorSampler, MultistepSampler])
def test_priors_of_another_process_or_of_other_numbers_are_refused(kind):
    process = heat()
    denoiser = Denoiser(Soft(), process, prediction=PredictX(), data_range=(0.0, 1.0))
    prior = DegradedDataPrior(process, random_images(SHAPE))
    assert kind(denoiser, prior=prior).prior is prior
    prior.data_range = (0.0, 1.0)
    assert kind(denoiser, prior=prior).prior is prior
    prior.data_range = (-1.0, 1.0)
    with pytest.raises(ValueError, match=r"the prior is one of data in \[-1, 1\], the denoiser of data in \[0, 1\]"):
        kind(denoiser, prior=prior)
    with pytest.raises(ValueError, match="the prior was made for another process"):
        kind(denoiser, prior=DegradedDataPrior(heat(sigma=0.5), random_images(SHAPE)))


def test_what_wraps_a_denoiser_keeps_its_range_and_knows_its_rows():
    process = IsotropicDiffusion(SHAPE)
    denoiser = Denoiser(Soft(), process, prediction=PredictX(), data_range=(0.0, 1.0))
    assert denoiser.rows is None
    observation = LinearObservation.blur(SHAPE, 1.0, noise_std=0.1)
    for wrapped in (
        LabelledDenoiser(denoiser, torch.tensor([0, 1, 2, 0])),
        CovarianceGuidance(denoiser, observation, random_images(SHAPE, batch=4), variance=1.0),
    ):
        assert wrapped.data_range == (0.0, 1.0)
        assert (wrapped.rows, wrapped.select(slice(1, 3)).rows) == (4, 2)
        sampler = Sampler(wrapped, grid=UniformGrid(2))
        assert len(sampler.sample(4, batch_size=3)) == 4
        for count in (3, 5):
            with pytest.raises(ValueError, match=f"made for a batch of 4.*but {count} samples"):
                sampler.sample(count)
