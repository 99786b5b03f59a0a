"""torch.func.vmap over times, and torch.export for batches of any size."""

import pytest
import torch
from support import SoftNetwork, draw
from torch import nn
from zoo import EVERY_PROCESS, SHAPE, every_process

from unmelt.degradations import Markov, PredictX
from unmelt.models import Denoiser


@every_process()
def test_each_row_may_be_mapped_with_its_time(name):
    process = EVERY_PROCESS[name]

    def results(x, t):
        x = x[None]
        posterior = process.posterior(x, 2 * x, t / 2, t, Markov())
        rates = process.log_snr_rate(t).expand(x.shape)
        return torch.cat([process.marginal(x, t).mean, *process.degrade(x, t), posterior.mean, rates])

    x, t = draw(process.shape, batch=3), torch.tensor([0.2, 0.45, 0.9], dtype=torch.float64)
    expected = torch.stack([results(*row) for row in zip(x, t, strict=True)])
    # Products of matrices may be added up in another order; rates are up to 1e5.
    torch.testing.assert_close(torch.func.vmap(results)(x, t), expected, rtol=1e-12, atol=1e-12, equal_nan=True)


class Corruption(nn.Module):
    """What a model in production is made of: both directions, at a time for each row."""

    def __init__(self, process):
        super().__init__()
        self.denoiser = Denoiser(SoftNetwork(), process, prediction=PredictX())

    def forward(self, x, t):
        process = self.denoiser.process
        z = process.corrupt(x, torch.ones_like(x), t)
        posterior = process.posterior(z, self.denoiser(z, t), t / 2, t)
        return z, *process.degrade(x, t), process.transition(x, t / 2, t).mean, posterior.mean


@pytest.mark.full
@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("name", ["heat", "blurring"])
def test_an_exported_program_takes_batches_of_any_size(name):
    module, batch = Corruption(EVERY_PROCESS[name]), torch.export.Dim("batch", min=2, max=64)
    x, t = draw(SHAPE, batch=5).float(), torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    program = torch.export.export(module, (x[:3], t[:3]), dynamic_shapes=({0: batch}, {0: batch})).module()
    for ours, theirs in zip(program(x, t), module(x, t), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


class Rates(nn.Module):
    def __init__(self, process):
        super().__init__()
        self.process = process

    def forward(self, t):
        return tuple(getattr(self.process, rate)(t) for rate in ("drift", "log_snr_rate", "diffusion"))


@pytest.mark.full
def test_an_exported_program_differentiates():
    """Of blurring; torch.export (2.13) does not know the derivatives of all processes."""
    module, t = Rates(EVERY_PROCESS["blurring"]), torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    program = torch.export.export(module, (t,)).module()
    # Forwards in the program and backwards here: rounding alone, of rates up to 1e3.
    torch.testing.assert_close(program(t), module(t), rtol=1e-12, atol=1e-11)
