"""Gradients by the parameters of a process, some of whose coefficients stand still."""

import math

import pytest
import torch
from problems import Wobbly
from support import LearnedHeat, derivatives, seeded
from torch import nn
from weighting_cases import ALL

from unmelt.core.rates import root_times
from unmelt.degradations import (
    CosineBasis,
    Eta,
    Independent,
    LinearGaussianProcess,
    Markov,
    PredictEpsilon,
    PredictX,
    ReverseSDE,
)
from unmelt.losses import ELBO, BoundWeighting, DenoisingLoss, FrequencyWeighting, PowerLawWeighting, SimpleWeighting
from unmelt.models import ConstantStd, DegradedDataPrior, Denoiser, ForwardStd
from unmelt.testing.strategies import random_images

WEIGHTINGS = {
    "own": SimpleWeighting(),
    **{name: weighting for name, (weighting, _) in ALL.items()},
    "power law": PowerLawWeighting(1.0, BoundWeighting()),
    "some frequencies": FrequencyWeighting(BoundWeighting(), torch.tensor([0.0, 1.0, 1.0, 2.0])),
}
BOUNDS = {
    "Markov": {"coupling": Markov(), "steps": 5},
    "independent": {"coupling": Independent(), "steps": 5},
    "eta": {"coupling": Eta(0.5), "steps": 5},
    "reverse SDE": {"coupling": ReverseSDE(0.5), "steps": 5},
    "forward width": {"coupling": Eta(0.5), "reverse_std": ForwardStd(), "steps": 5},
    "constant width": {"coupling": Independent(), "reverse_std": ConstantStd(0.1), "steps": 5},
    "continuous": {"steps": math.inf},
}


def denoiser_of(process, prediction):
    return Denoiser(Wobbly().double(), process, prediction=prediction)


def check_gradient(process, objective):
    """Differences are off by 1e-10 of what a third derivative makes of the value, and by 1e-11 of the value."""
    parameters = list(process.parameters())
    gradients = [gradient.item() for gradient in torch.autograd.grad(objective(), parameters)]
    assert gradients == pytest.approx(derivatives(objective, parameters), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("prediction", [PredictX(), PredictEpsilon()], ids=["x", "epsilon"])
@pytest.mark.parametrize("weighting", WEIGHTINGS.values(), ids=WEIGHTINGS.keys())
def test_weighted_losses_have_their_gradient(weighting, prediction):
    process = LearnedHeat()
    loss, x = DenoisingLoss(denoiser_of(process, prediction), weighting=weighting), random_images(process.shape)
    check_gradient(process, lambda: loss(x, generator=seeded()).sum())


@pytest.mark.parametrize("settings", BOUNDS.values(), ids=BOUNDS.keys())
def test_bounds_have_their_gradient(settings):
    process = LearnedHeat()
    x = random_images(process.shape)
    prior = DegradedDataPrior.fit(process, x, stddev=0.1)
    bound = ELBO(denoiser_of(process, PredictX()), prior=prior, first=0.01, **settings)
    check_gradient(process, lambda: bound(x, generator=seeded()).total.sum())


class Still(LinearGaussianProcess):
    """Slopes of log alpha and log sigma, each a parameter, which may start at 0."""

    def __init__(self, fade, growth):
        super().__init__(CosineBasis((1, 4, 4)))
        self.fade = nn.Parameter(torch.tensor(fade, dtype=torch.float64))
        self.growth = nn.Parameter(torch.tensor(growth, dtype=torch.float64))

    def log_alpha(self, t):
        return -self.fade * t

    def log_sigma(self, t):
        return self.growth * t - 1


@pytest.mark.parametrize("settings", BOUNDS.values(), ids=BOUNDS.keys())
@pytest.mark.parametrize(("fade", "growth"), [(1.0, 0.0), (0.0, 1.0)], ids=["constant noise", "constant signal"])
def test_what_is_learned_may_start_at_a_standstill(fade, growth, settings):
    process = Still(fade, growth)
    x = random_images(process.shape)
    prior = DegradedDataPrior.fit(process, x, stddev=0.1)
    bound = ELBO(denoiser_of(process, PredictX()), prior=prior, first=0.01, **settings)
    check_gradient(process, lambda: bound(x, generator=seeded()).total.sum())


@pytest.mark.parametrize("weighting", WEIGHTINGS.values(), ids=WEIGHTINGS.keys())
def test_weighted_losses_have_their_gradient_where_nothing_happens_yet(weighting):
    """At a rate of 0 it is the limit of that at smaller and smaller rates: a lower one than 0 would be no process."""

    def gradient(rate):
        process = Still(rate, rate)
        loss, x = DenoisingLoss(denoiser_of(process, PredictX()), weighting=weighting), random_images(process.shape)
        return torch.stack(torch.autograd.grad(loss(x, generator=seeded()).sum(), list(process.parameters())))

    torch.testing.assert_close(gradient(0.0), gradient(1e-9), rtol=1e-7, atol=1e-7)


def test_nothing_times_infinity_is_left_to_its_limit():
    """A weight of 0 stays 0 there: only the NaN tells that a limit is to be taken."""
    weight = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    found = root_times(weight, torch.tensor([torch.inf, 3.0], dtype=torch.float64))
    assert found[0].isnan()
    (gradient,) = torch.autograd.grad(found[1].square(), weight)
    assert gradient.tolist() == pytest.approx([0.0, 9.0], rel=1e-12)
