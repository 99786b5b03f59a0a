"""Whatever stops a run, what was finished is kept, and calls are counted."""

import pytest
import torch
from torch import nn

from unmelt.degradations import HeatDissipation, IsotropicDiffusion, PredictX
from unmelt.models import DegradedDataPrior, Denoiser
from unmelt.samplers import (
    AdaptiveSampler,
    End,
    NonFiniteStateError,
    PosteriorSampler,
)
from unmelt.testing.strategies import random_images

SHAPE = (1, 4, 4)


class Soft(nn.Module):
    def __init__(self, spoilt_below=-1.0):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.spoilt_below, self.calls = spoilt_below, 0

    def forward(self, z, t):
        self.calls += 1
        y = self.dropout(0.5 * torch.tanh(z))
        return torch.where(t[:, None, None, None] < self.spoilt_below, torch.nan, y)


def built(kind, network, **settings):
    process = HeatDissipation(SHAPE, blur_sigma_max=2.0, levels=8, sigma=0.1)
    prior = DegradedDataPrior(process, random_images(SHAPE))
    return kind(Denoiser(network, process, prediction=PredictX()), prior=prior, **settings)


def test_an_error_of_the_caller_s_own_carries_what_was_finished():
    sampler = built(PosteriorSampler, Soft(), steps=4)
    whole = sampler.sample(6, generator=range(6))

    def callback(info):
        if info.rows.start == 4 and info.step == 1:
            raise OSError

    with pytest.raises(OSError) as caught:  # noqa: PT011  # it has no message
        sampler.sample(6, generator=range(6), batch_size=2, callback=callback)
    kept = caught.value.kept
    assert torch.equal(kept.samples, whole[:4])
    assert kept.rows == slice(4, 6)
    assert len(kept.states) == len(kept.times) >= 1
    assert any("4 finished samples" in note for note in caught.value.__notes__)


def test_a_solver_that_meets_what_is_not_finite_names_the_step_and_keeps_the_state():
    sampler = built(AdaptiveSampler, Soft(spoilt_below=0.4), times=torch.tensor([1.0, 0.7, 0.2, 0.0]))
    with pytest.raises(
        NonFiniteStateError, match=r"step 2 of 3, from t = 0.7 to 0.2: .*infinite or NaN at t = 0\."
    ) as e:
        sampler.sample(2)
    assert e.value.kept.times.tolist()[-1] == pytest.approx(0.7)
    assert e.value.kept.states.isfinite().all()


def test_a_solver_that_gives_up_keeps_what_was_finished():
    sampler = built(AdaptiveSampler, Soft(), most_calls=5, rtol=1e-9, atol=1e-9)
    with pytest.raises(RuntimeError, match="most_calls=5") as caught:
        sampler.sample(2)
    assert caught.value.kept.states.shape == (1, 2, *SHAPE)


def test_predictions_that_take_a_call_of_their_own_are_counted():
    network = Soft()
    # To z_0 the last step is the solver's too, and its prediction a call after all steps.
    sampler = built(AdaptiveSampler, network, times=torch.linspace(1, 0, 5), end=End.LATENT)
    for run in (
        lambda: sampler.trajectory(2),
        lambda: sampler.trajectory(3, batch_size=2),
        lambda: sampler.sample(2, callback=lambda info: info.prediction()),
    ):
        network.calls = 0
        run()
        assert sampler.report.calls == network.calls > 0


def test_steps_are_taken_in_evaluation_mode_and_leave_the_mode_as_it_was():
    sampler = built(PosteriorSampler, Soft(), steps=4, delta=0.0)
    denoiser = sampler.denoiser.train()
    z = random_images(SHAPE, batch=3)
    assert torch.equal(sampler.step(z, 1.0, 0.5), sampler.step(z, 1.0, 0.5))
    assert denoiser.network.dropout.training


@pytest.mark.usefixtures("as_in_production")
def test_numbers_of_steps_samples_and_rows_are_whole():
    denoiser = Denoiser(Soft(), IsotropicDiffusion(SHAPE), prediction=PredictX())
    for wrong in (2.5, True, "3"):
        with pytest.raises(TypeError, match="steps must be an integer, got"):
            PosteriorSampler(denoiser, steps=wrong)
        with pytest.raises(TypeError, match="count must be an integer, got"):
            PosteriorSampler(denoiser).sample(wrong)
        with pytest.raises(TypeError, match="batch_size must be an integer, got"):
            PosteriorSampler(denoiser).sample(2, batch_size=wrong)
    with pytest.raises(TypeError, match="times must be a Tensor"):
        PosteriorSampler(denoiser, times=[1.0, 0.0])
    with pytest.raises(ValueError, match=r"\(1001 times\): sampling goes from noise to data, so give times.flip") as e:
        PosteriorSampler(denoiser, times=torch.linspace(0, 1, 1001))
    assert len(str(e.value)) < 400
