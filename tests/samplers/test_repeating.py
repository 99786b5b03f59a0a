"""Trees and restarts of guided denoisers: labels and observations come along with the states that are repeated."""

import pytest
import torch
from torch import nn

from unmelt.degradations import (
    ColdBlur,
    Deterministic,
    Eta,
    IsotropicDiffusion,
    PredictX,
)
from unmelt.models import DegradedDataPrior, Denoiser, LabelledDenoiser
from unmelt.samplers import (
    InterpolatedNoise,
    PosteriorSampler,
    SharedNoise,
    Start,
    branch,
    restart,
)
from unmelt.samplers.guidance import CovarianceGuidance, LinearObservation
from unmelt.testing.strategies import random_images

SHAPE = (1, 4, 4)


class Classes(nn.Module):
    """Says the class of each row, as the image's brightness."""

    classes = 5

    def forward(self, z, t, labels=None):
        return (0.0 * z) + labels.reshape(-1, 1, 1, 1)


def labelled(*labels, **settings):
    denoiser = Denoiser(Classes(), IsotropicDiffusion(SHAPE), prediction=PredictX())
    return PosteriorSampler(LabelledDenoiser(denoiser, torch.tensor(labels)), steps=6, **settings)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_tree_grows_under_its_one_label(batch_size):
    tree = branch(labelled(3), times=(0.8, 0.5), children=(2, 3), batch_size=batch_size)
    assert tree.samples.shape == (6, *SHAPE)
    assert (tree.samples == 3).all()
    assert all((generation.predictions == 3).all() for generation in tree.generations)


def test_restarts_keep_each_image_s_label():
    found = restart(labelled(1, 4), Start(random_images(SHAPE, batch=2), 0.5), count=3)
    assert (found[0] == 1).all()
    assert (found[1] == 4).all()
    with pytest.raises(ValueError, match="made for a batch of 2.*there are 3 to start from"):
        restart(labelled(1, 4), Start(random_images(SHAPE, batch=3), 0.5))


def test_observations_are_repeated_too():
    process = IsotropicDiffusion(SHAPE)
    denoiser = Denoiser(Classes(), process, prediction=PredictX())
    x = random_images(SHAPE, batch=2)
    seen = LinearObservation.mask(SHAPE, torch.tensor(True), noise_std=0.0)
    guided = CovarianceGuidance(LabelledDenoiser(denoiser, torch.tensor([0, 0])), seen, x, variance=1.0)
    found = restart(PosteriorSampler(guided, steps=4), Start(x, 0.5), count=3)
    # Everything is observed, without noise: only the observation's own rounding is left.
    torch.testing.assert_close(found, x[:, None].expand_as(found).to(found), rtol=0, atol=1e-5)


# ---- noise that is not, or is too much alike -----------------------------------------------------------------


def test_samplers_know_whether_they_draw_noise():
    cold = ColdBlur(SHAPE)
    still = Denoiser(nn.Tanh(), IsotropicDiffusion(SHAPE), prediction=PredictX())
    frozen = Denoiser(nn.Tanh(), cold, prediction=PredictX())
    prior = DegradedDataPrior(cold, random_images(SHAPE))
    assert PosteriorSampler(still).draws_noise
    assert PosteriorSampler(frozen, prior=prior, delta=0.1).draws_noise
    for sampler in (
        PosteriorSampler(still, coupling=Deterministic()),
        PosteriorSampler(still, coupling=Eta(0.0)),
        PosteriorSampler(still, delta=0.0),
        PosteriorSampler(frozen, prior=prior),
    ):
        assert not sampler.draws_noise
        with pytest.raises(ValueError, match="add no noise"):
            branch(sampler, times=(0.5,), children=(2,))
    with pytest.raises(ValueError, match="initial must be the one latent.*got 2"):
        branch(PosteriorSampler(still), times=(0.5,), children=(2,), initial=random_images(SHAPE, batch=2))


def test_shared_noise_is_not_what_its_seed_draws_first_latents_from():
    like = torch.empty(3, *SHAPE)
    shared = SharedNoise(5).stream(slice(0, 3))(like)
    first = torch.randn(like.shape, generator=torch.Generator().manual_seed(5))
    assert abs(torch.corrcoef(torch.stack([shared[0].flatten(), first[0].flatten()]))[0, 1]) < 0.9
    assert torch.equal(shared[0], shared[2])
    assert torch.equal(shared, SharedNoise(5).stream(slice(0, 3))(like))
    assert not torch.equal(shared, SharedNoise(6).stream(slice(0, 3))(like))


def test_weights_are_one_for_each_sample():
    noise = InterpolatedNoise(0, 1, torch.linspace(0, 1, 4))
    drawn, alone = noise.stream(slice(0, 4))(torch.empty(4, *SHAPE)), SharedNoise(0).stream(slice(0, 1))
    assert torch.equal(drawn[:1], alone(torch.empty(1, *SHAPE)))
    with pytest.raises(ValueError, match="4 weights were given, but not one for each sample"):
        labelled(0, 0, 0, 0, 0).sample(5, noise=noise)
