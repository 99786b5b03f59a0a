"""Coefficients of steps are made once for all batches and runs, and anew as soon as the process is another."""

import pytest
import torch
from sampler_support import SHAPE, latents, made, soft

from unmelt.degradations import IsotropicDiffusion, LinearGaussianProcess, PixelBasis
from unmelt.samplers import Multistep, Posterior


class Learned(LinearGaussianProcess):
    """log alpha = -rate t with a rate that is learned, log sigma = level, which is a plain attribute."""

    def __init__(self):
        super().__init__(PixelBasis(SHAPE))
        self.rate = torch.nn.Parameter(torch.rand(SHAPE, dtype=torch.float64))
        self.level = -1.0

    def log_alpha(self, t):
        return -self.rate.exp() * self.expand_times(t)

    def log_sigma(self, t):
        return self.level + 0 * self.expand_times(t)


@pytest.fixture
def tables(monkeypatch):
    """How often coefficients were asked for."""
    asked, made_of = [], Posterior.coefficients

    def counted(self, problem, at_t, at_s, *older):
        asked.append(at_t.t)
        return made_of(self, problem, at_t, at_s, *older)

    monkeypatch.setattr(Posterior, "coefficients", counted)
    return asked


def test_batches_and_runs_share_them(tables):
    sampler = made(soft(IsotropicDiffusion(SHAPE)), Posterior(), 10)
    first = sampler.sample(5, batch_size=2, generator=range(5))
    assert len(tables) == 1
    torch.testing.assert_close(sampler.sample(5, generator=range(5)), first)
    assert len(tables) == 1
    # Another part of the grid, and another precision.
    sampler.sample(2, initial=latents(2), start=0.5)
    sampler.sample(2, initial=latents(2).float(), start=0.5)
    assert len(tables) == 3


def test_an_interrupted_run_leaves_no_half_of_them(tables):
    sampler = made(soft(IsotropicDiffusion(SHAPE)), Posterior(), 10)

    def stop(info):
        raise KeyError(info.step)

    with pytest.raises(KeyError):
        sampler.sample(2, callback=stop)
    assert sampler.sample(2).isfinite().all()
    assert len(tables) == 2


@pytest.mark.parametrize("stepper", [Posterior(), Multistep()], ids=str)
@pytest.mark.parametrize("change", ["parameter", "attribute"])
def test_a_process_that_has_changed_gets_its_own(stepper, change):
    process = Learned()
    sampler = made(soft(process), stepper, 6)
    start = latents(2)
    sampler.sample(2, initial=start, generator=range(2))
    if change == "parameter":
        with torch.no_grad():
            process.rate += 0.5
    else:
        process.level = -2.0
    fresh = made(sampler.denoiser, stepper, 6).sample(2, initial=start, generator=range(2))
    torch.testing.assert_close(sampler.sample(2, initial=start, generator=range(2)), fresh, rtol=0, atol=0)


def test_large_ones_are_not_kept(tables, monkeypatch):
    monkeypatch.setattr("unmelt.samplers.plan._KEPT_NUMBERS", 10)
    sampler = made(soft(IsotropicDiffusion(SHAPE)), Posterior(), 10)
    for runs in (1, 2):
        sampler.sample(2)
        assert len(tables) == runs
