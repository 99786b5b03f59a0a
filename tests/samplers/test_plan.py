"""Coefficients of steps are made once for all batches of a run, and anew for each run, whatever has changed."""

import pytest
import torch
from sampler_support import SHAPE, latents, made, soft

from unmelt.degradations import IsotropicDiffusion, LinearGaussianProcess, Markov, PixelBasis
from unmelt.models import FittedStd
from unmelt.samplers import Multistep, Posterior, UniformGrid


class Learned(LinearGaussianProcess):
    """log alpha = -rate t - shift t, rate learned and shift a plain attribute; log sigma = level, learned."""

    def __init__(self):
        super().__init__(PixelBasis(SHAPE))
        self.rate = torch.nn.Parameter(torch.rand(SHAPE, dtype=torch.float64))
        # Returned as it is, so that what is kept of it would change with it.
        self.level = torch.nn.Parameter(torch.tensor(-1.0, dtype=torch.float64))
        self.shift = 0.0

    def log_alpha(self, t):
        t = self.expand_times(t)
        return -self.rate.exp() * t - self.shift * t

    def log_sigma(self, t):
        return self.level.expand(t.shape)


@pytest.fixture
def tables(monkeypatch):
    """How often coefficients were asked for."""
    asked, made_of = [], Posterior.coefficients

    def counted(self, problem, at_t, at_s, *older):
        asked.append(at_t.t)
        return made_of(self, problem, at_t, at_s, *older)

    monkeypatch.setattr(Posterior, "coefficients", counted)
    return asked


def test_batches_share_them_and_runs_do_not(tables):
    sampler = made(soft(IsotropicDiffusion(SHAPE)), Posterior(), 10)
    first = sampler.sample(5, batch_size=2, generator=range(5))
    assert len(tables) == 1
    torch.testing.assert_close(sampler.sample(5, generator=range(5)), first)
    assert len(tables) == 2


def test_an_interrupted_run_leaves_no_half_of_them(tables):
    sampler = made(soft(IsotropicDiffusion(SHAPE)), Posterior(), 10)

    def stop(info):
        raise KeyError(info.step)

    with pytest.raises(KeyError):
        sampler.sample(2, callback=stop)
    assert sampler.sample(2).isfinite().all()
    assert len(tables) == 2


@pytest.mark.parametrize("stepper", [Posterior(), Multistep()], ids=str)
@pytest.mark.parametrize("change", ["rate", "level", "shift"])
def test_a_process_that_has_changed_gets_its_own(stepper, change):
    process = Learned()
    sampler = made(soft(process), stepper, 6)
    start = latents(2)
    sampler.sample(2, initial=start, generator=range(2))
    with torch.no_grad():
        if change == "shift":
            process.shift = 0.7
        else:
            getattr(process, change).add_(0.5)
    fresh = made(sampler.denoiser, stepper, 6).sample(2, initial=start, generator=range(2))
    torch.testing.assert_close(sampler.sample(2, initial=start, generator=range(2)), fresh, rtol=0, atol=0)


def test_steppers_of_fitted_widths_take_those_that_they_have_now():
    process = IsotropicDiffusion(SHAPE)
    times = UniformGrid(6).times(process).flip(0)
    fitted = FittedStd(times, torch.zeros(6, *SHAPE))
    sampler = made(soft(process), Posterior(Markov(), fitted), 6)
    sampler.sample(2, initial=latents(2), generator=range(2))
    fitted.load_state_dict({**fitted.state_dict(), "log_stddev": torch.full((6, *SHAPE), -1.0)})
    fresh = made(sampler.denoiser, Posterior(Markov(), fitted), 6).sample(2, initial=latents(2), generator=range(2))
    torch.testing.assert_close(sampler.sample(2, initial=latents(2), generator=range(2)), fresh, rtol=0, atol=0)


def test_large_ones_are_not_kept(tables, monkeypatch):
    monkeypatch.setattr("unmelt.samplers.plan._KEPT_NUMBERS", 10)
    made(soft(IsotropicDiffusion(SHAPE)), Posterior(), 10).sample(4, batch_size=2)
    assert len(tables) == 2
