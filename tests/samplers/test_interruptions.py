"""Whatever stops a run, what was finished is rescued, and calls are counted."""

import pytest
import torch
from sampler_support import SHAPE, data_prior, heat, latents, made, soft
from torch import nn

from unmelt.degradations import Deterministic, IsotropicDiffusion
from unmelt.models import AbstractDenoiser, ConstantStd
from unmelt.samplers import Adaptive, NonFiniteStateError, Posterior, SamplingInterrupted
from unmelt.testing.strategies import random_images


class Dropping(nn.Module):
    """A network with dropout that counts its calls, and is spoilt below a time."""

    def __init__(self, spoilt_below=-1.0):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.spoilt_below, self.calls = spoilt_below, 0

    def forward(self, z, t, condition=None):
        self.calls += 1
        y = self.dropout(0.5 * torch.tanh(z))
        return torch.where(t[:, None, None, None] < self.spoilt_below, torch.nan, y)


def dropping(stepper=None, network=None, **settings):
    process = heat(levels=8, sigma=0.1)
    return made(soft(process, network=network or Dropping()), stepper, prior=data_prior(process), **settings)


class At(AbstractDenoiser):
    """Does something in one of its calls, and is a soft denoiser in all others."""

    def __init__(self, call, deed):
        super().__init__(IsotropicDiffusion(SHAPE))
        self.call, self.deed, self.calls = call, deed, 0

    def forward(self, z_t, t, condition=None, given=None):
        self.calls += 1
        return self.deed(z_t) if self.calls == self.call else torch.tanh(z_t) / 2


def interrupt(z):
    raise KeyboardInterrupt


def six_steps(call=0, deed=None, coupling=None):
    return made(At(call, deed), Posterior(coupling) if coupling else None, 6)


@pytest.mark.parametrize("path", [False, True])
def test_an_interrupted_run_keeps_what_it_has_done(path):
    """In the third step of the second batch."""
    seeds = [4, 5, 6, 7, 8]
    full = six_steps().run(5, generator=seeds).trajectory
    with pytest.raises(SamplingInterrupted, match="interrupted: 2 finished samples and the unfinished") as stopped:
        six_steps(6 + 3, interrupt).run(5, generator=seeds, batch_size=2, keep_path=path)
    assert isinstance(stopped.value, KeyboardInterrupt)
    partial = stopped.value.partial
    assert torch.equal(partial.samples, full.states[-1, :2])
    assert partial.rows == slice(2, 4)
    first = 0 if path else 2
    assert torch.equal(partial.states, full.states[first:3, 2:4])
    torch.testing.assert_close(partial.times, full.times[first:3], rtol=0, atol=0)
    # The interrupted call is one of them.
    assert partial.stats == (2, 6 + 3, 2 * (6 + 3))


def test_a_run_goes_on_from_what_an_interrupted_one_kept():
    with pytest.raises(SamplingInterrupted) as stopped:
        six_steps(4, interrupt, Deterministic()).sample(3, initial=latents())
    partial = stopped.value.partial
    assert len(partial.samples) == 0
    again = six_steps(coupling=Deterministic())
    rest = again.sample(3, initial=partial.states[-1], start=partial.times[-1].item())
    assert torch.equal(rest, again.sample(3, initial=latents()))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_latent_that_is_not_finite_stops_the_run(bad):
    def spoil(z):
        out = torch.tanh(z) / 2
        out[1, 0, 2, 3] = bad
        return out

    sampler = six_steps(6 + 3, spoil)
    words = "samples 2 to 3 became infinite or NaN in step 3 of 6, from t = 0.666667 to 0.5.*2 finished samples"
    with pytest.raises(NonFiniteStateError, match=words) as stopped:
        sampler.run(5, generator=[1, 2, 3, 4, 5], batch_size=2)
    partial = stopped.value.partial
    assert (len(partial.samples), partial.rows, partial.states.shape) == (2, slice(2, 4), (3, 2, *SHAPE))
    assert bool(partial.states.isfinite().all())
    assert partial.times.tolist() == sampler.times[:3].tolist()


def test_initial_latents_that_are_not_finite_stop_the_run():
    z = latents()
    z[0, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteStateError, match="the initial latents at t = 1") as stopped:
        six_steps().sample(3, initial=z)
    assert len(stopped.value.partial.states) == len(stopped.value.partial.times) == 0


def test_an_error_of_the_caller_s_own_carries_what_was_finished():
    sampler = dropping(steps=4)
    whole = sampler.sample(6, generator=range(6))

    def callback(info):
        if info.rows.start == 4 and info.step == 1:
            raise OSError

    with pytest.raises(OSError) as caught:  # noqa: PT011  # it has no message
        sampler.sample(6, generator=range(6), batch_size=2, callback=callback)
    partial = caught.value.partial
    assert torch.equal(partial.samples, whole[:4])
    assert partial.rows == slice(4, 6)
    assert len(partial.states) == len(partial.times) >= 1
    assert any("4 finished samples" in note for note in caught.value.__notes__)


def test_a_solver_that_meets_what_is_not_finite_names_the_step_and_keeps_the_state():
    sampler = dropping(Adaptive(), Dropping(spoilt_below=0.4), times=[1.0, 0.7, 0.2, 0.0])
    with pytest.raises(
        NonFiniteStateError, match=r"step 2 of 3, from t = 0.7 to 0.2: .*infinite or NaN at t = 0\."
    ) as e:
        sampler.sample(2)
    # One thing to do, not the solver's and the loop's in a row.
    assert str(e.value).count("look at") == 1
    assert e.value.partial.times.tolist()[-1] == pytest.approx(0.7)
    assert e.value.partial.states.isfinite().all()


def test_a_solver_that_gives_up_keeps_what_was_finished():
    with pytest.raises(RuntimeError, match="most_calls=5") as caught:
        dropping(Adaptive(1e-9, 1e-9, most_calls=5)).sample(2)
    assert caught.value.partial.states.shape == (1, 2, *SHAPE)


def test_predictions_that_take_a_call_of_their_own_are_counted():
    network = Dropping()
    # To z_0 the last step is the solver's too, and its prediction a call after all steps.
    sampler = dropping(Adaptive(), network, times=torch.linspace(1, 0, 3), denoise_last=False)
    for run in (
        lambda: sampler.run(2),
        lambda: sampler.run(3, batch_size=2),
        lambda: sampler.run(2, callback=lambda info: info.prediction(), keep_path=False),
    ):
        network.calls = 0
        assert run().stats.calls == network.calls > 0


@pytest.mark.parametrize("training", [True, False])
def test_networks_are_in_evaluation_mode_only_while_a_run_lasts(training):
    seen = []

    class Watched(Dropping):
        def forward(self, z, t, condition=None):
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(z, t)

    sampler = dropping(network=Watched(), steps=3)
    sampler.denoiser.train(training)
    sampler.sample(2)
    assert seen
    assert not any(mode or grad for mode, grad in seen)
    assert sampler.denoiser.training is sampler.denoiser.network.dropout.training is training
    broken = made(At(2, lambda z: 1 / 0), steps=3)
    broken.denoiser.train(training)
    with pytest.raises(ZeroDivisionError):
        broken.sample(2)
    assert broken.denoiser.training is training


def test_steps_are_taken_in_evaluation_mode_and_leave_the_mode_as_it_was():
    sampler = dropping(Posterior(reverse_std=ConstantStd(0.0)), steps=4)
    denoiser = sampler.denoiser.train()
    z = random_images(SHAPE, batch=3)
    assert torch.equal(sampler.step(z, 1.0, 0.5), sampler.step(z, 1.0, 0.5))
    assert denoiser.network.dropout.training
