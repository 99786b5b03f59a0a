"""What tests share: seeds, signals, small processes, a network, and tables of what is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from unmelt.degradations import (
    BlurringDiffusion,
    CosineBasis,
    CosineSchedule,
    Deterministic,
    Eta,
    HeatDissipation,
    Independent,
    LinearGaussianProcess,
    LinearSchedule,
    Markov,
    ReverseSDE,
    SpectralDiffusion,
)

# Axes of different sizes, of which one divides by two more often than the other.
SHAPE = (2, 4, 6)

COUPLINGS = [Markov(), Deterministic(), Independent(), Eta(0.6), ReverseSDE(0.7)]
every_coupling = pytest.mark.parametrize("coupling", COUPLINGS, ids=lambda c: type(c).__name__)

# So few coefficients that covariances of whole paths are small matrices.
TINY = {
    "blurring": BlurringDiffusion((1, 2, 2), blur_sigma_max=0.6, schedule=CosineSchedule(-4.0, 4.0)),
    "heat": HeatDissipation((1, 3), blur_sigma_max=1.0, blur_sigma_min=0.3, levels=5, sigma=0.4),
    "coloured": SpectralDiffusion.power_law((1, 3), -1.0, schedule=LinearSchedule(0.1, 5.0)),
}


def seeded(seed=0):
    """A generator of one seed."""
    return torch.Generator().manual_seed(seed)


def draw(shape, *, batch=2, seed=0):
    """Data with no symmetry, float64."""
    return torch.randn((batch, *shape), generator=seeded(seed), dtype=torch.float64)


class SoftNetwork(nn.Module):
    """A network with one parameter whose output depends smoothly on latent, time and condition."""

    def __init__(self, weight=0.7):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, z, t, condition=None):
        t = t.reshape(-1, *(1,) * (z.ndim - 1)).to(z.dtype)
        shift = 0 if condition is None else condition.reshape(t.shape).to(z.dtype)
        return torch.tanh(self.weight * z + t + shift)


def refusals(*rows):
    """Parametrise a test over (call, error, words): the call raises the error, whose message has the words."""
    return pytest.mark.parametrize(("call", "error", "words"), rows, ids=[words[:50] for _, _, words in rows])


class LearnedHeat(LinearGaussianProcess):
    """Heat whose rate and noise are parameters; the mean stands still, and its noise with it."""

    def __init__(self, shape=(1, 4, 4)):
        super().__init__(CosineBasis(shape))
        self.register_constant("rates", self.basis.laplacian_eigenvalues())
        self.rate = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.log_noise = nn.Parameter(torch.tensor(-2.3, dtype=torch.float64))

    def log_alpha(self, t):
        return -self.rates * functional.softplus(self.rate) * self.expand_times(t)

    def log_sigma(self, t):
        return self.log_noise + self.rate * self.rates / (1 + self.rates) * self.expand_times(t)


def derivatives(function, parameters, step=1e-5):
    """Central differences of a function without arguments by each of its parameters, numbers in float64.

    They are off by the step's square times a third derivative, and by 1e-16 of the function's value over the step.
    """
    found = []
    for parameter in parameters:
        middle, values = parameter.detach().clone(), []
        for moved in (middle + step, middle - step):
            with torch.no_grad():
                parameter.copy_(moved)
                values.append(function().item())
                parameter.copy_(middle)
        found.append((values[0] - values[1]) / (2 * step))
    return found
