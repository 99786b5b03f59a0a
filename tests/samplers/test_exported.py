"""torch.export of denoisers and of sampler steps: one program for batches of any size, with eager code's results."""

import pytest
import torch
from diffusers_models import dit, unet
from support import seeded
from torch import nn
from torch.export import Dim, export

from unmelt.degradations import (
    BlurringDiffusion,
    Deterministic,
    DiscreteSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictX,
)
from unmelt.models import ClippedDenoiser, DegradedDataPrior, Denoiser, DiffusersNetwork, UNet
from unmelt.samplers import Heun, Multistep, Posterior, PredictorCorrector, Sampler

SHAPE = (3, 8, 8)
TIMES = torch.tensor([0.35, 0.5, 0.6, 0.7, 0.9], dtype=torch.float64)
DDPM = DiscreteSchedule(torch.linspace(1e-4, 0.02, 1000))

full = pytest.mark.full


class Estimate(nn.Module):
    """The whole of a denoiser, as a program."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, z, t, condition=None):
        return self.denoiser(z, t, condition)


class Step(nn.Module):
    """A sampler's step, as a program; the sampler itself is no module."""

    def __init__(self, sampler):
        super().__init__()
        self.denoiser, self.sampler = sampler.denoiser, sampler

    def forward(self, z, t, s):
        return self.sampler.step(z, t, s)


@torch.no_grad()
def network(**settings):
    torch.manual_seed(0)
    made = UNet(SHAPE, channels=8, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.0, **settings)
    for weight in made.parameters():
        # Last layers start at 0, and all of the network with them.
        weight.add_(0.05 * torch.randn_like(weight))
    return made


def latents(channels=SHAPE[0]):
    return torch.randn((len(TIMES), channels, *SHAPE[1:]), generator=seeded())


def check(module, *arguments, most=None):
    """Check a program of batches of 4 with batches of 1, 2 and 5; a batch of 4 cannot hide as a constant."""
    module.eval()
    batch = Dim("batch", max=most)
    given = [argument[:4] for argument in arguments]
    program = export(module, tuple(given), dynamic_shapes=tuple({0: batch} for _ in given)).module()
    for count in (1, 2, 5):
        rows = [argument[:count] for argument in arguments]
        torch.manual_seed(0)
        found = program(*rows)
        torch.manual_seed(0)
        with torch.no_grad():
            expected = module(*rows)
        assert found.shape[0] == count
        # The same operations, some of them put together.
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("process", "prediction"),
    [
        (IsotropicDiffusion(SHAPE, DDPM), PredictEpsilon()),
        pytest.param(HeatDissipation(SHAPE, levels=10), PredictPreviousLevel(), marks=full),
        pytest.param(BlurringDiffusion(SHAPE), PredictX(), marks=full),
    ],
    ids=["isotropic", "heat", "blurring"],
)
def test_a_denoiser(process, prediction):
    check(Estimate(Denoiser(network(), process, prediction=prediction)), latents(), TIMES)


@full
def test_a_denoiser_of_labels():
    denoiser = Denoiser(network(classes=4), IsotropicDiffusion(SHAPE), prediction=PredictX())
    check(Estimate(denoiser), latents(), TIMES, torch.tensor([0, 4, 1, 2, 3]))


STEPPERS = [Posterior(Deterministic()), *(pytest.param(s, marks=full) for s in (Posterior(), Multistep(), Heun()))]


@pytest.mark.parametrize("stepper", [*STEPPERS, pytest.param(PredictorCorrector(), marks=full)], ids=repr)
@pytest.mark.parametrize(
    "process",
    [IsotropicDiffusion(SHAPE, DDPM), pytest.param(BlurringDiffusion(SHAPE), marks=pytest.mark.slow)],
    ids=["isotropic", "blurring"],
)
def test_a_step(process, stepper):
    denoiser = Denoiser(network(), process, prediction=PredictX())
    prior = DegradedDataPrior.fit(process, latents())
    check(Step(Sampler(denoiser, stepper, prior=prior)), latents(), TIMES, TIMES / 2)


def test_a_step_of_a_network_of_diffusers():
    """Theirs copies batches of 64 and more, for CUDA's sake, which a program has to be told of."""
    process = IsotropicDiffusion(SHAPE, DDPM)
    denoiser = Denoiser(DiffusersNetwork(unet()), process, prediction=PredictEpsilon())
    clipped = ClippedDenoiser(denoiser, (-1.0, 1.0), keep_noise=True)
    check(Step(Sampler(clipped, Posterior(Deterministic()))), latents(), TIMES, TIMES / 2, most=63)


@full
def test_a_transformer_of_diffusers():
    process = IsotropicDiffusion((4, 8, 8), DDPM)
    denoiser = Denoiser(DiffusersNetwork(dit()), process, prediction=PredictEpsilon())
    check(Estimate(denoiser), latents(4), TIMES, torch.tensor([0, 4, 1, 2, 5]))
