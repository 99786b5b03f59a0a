"""A run's protocol: seeds, shared noise, batches, cuts, callbacks, statistics, and what is refused."""

import builtins
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sampler_support import SHAPE, latents, seeded, soft

from unmelt.degradations import Deterministic, IsotropicDiffusion, PredictEpsilon
from unmelt.models import AbstractDenoiser
from unmelt.samplers import (
    Adaptive,
    Churn,
    Follow,
    Heun,
    InterpolatedNoise,
    Multistep,
    Posterior,
    PredictorCorrector,
    Sampler,
    SeedNoise,
    SharedNoise,
    UniformGrid,
)

COUNT, STEPS = 12, 8
STEPPERS = {
    "markov": Posterior(),
    "deterministic": Posterior(Deterministic()),
    "heun": Heun(),
    "churn": Heun(churn=Churn(2.0, latest=0.9)),
    "sde": Heun(eta=1.0),
    "multistep": Multistep(order=3),
    "either": Multistep(order=3, follow=Follow.EITHER),
    "noisy multistep": Multistep(eta=0.5),
    "predictor-corrector": PredictorCorrector(corrections=2),
}
# Those whose step knows nothing of the steps before, nor of how many there are.
ONE_STEP = ["markov", "deterministic", "heun", "sde", "predictor-corrector"]
CALLS = {"heun": 2, "churn": 2, "sde": 2, "predictor-corrector": 3}
every_stepper = pytest.mark.parametrize("name", STEPPERS)


def isotropic():
    return soft(IsotropicDiffusion(SHAPE), PredictEpsilon())


def made(name="markov", steps=STEPS, denoiser=None):
    return Sampler(denoiser or isotropic(), STEPPERS[name], grid=UniformGrid(steps))


# ---- randomness --------------------------------------------------------------------------------------------


@every_stepper
def test_a_seed_makes_a_sample_whatever_its_batch(name):
    sampler, seeds = made(name), range(100, 100 + COUNT)
    whole = sampler.sample(COUNT, generator=seeds)
    assert torch.equal(sampler.sample(COUNT, generator=seeds, batch_size=1), whole)
    assert torch.equal(sampler.run(COUNT, generator=seeds, batch_size=5).trajectory.states[-1], whole)
    assert torch.equal(sampler.sample(1, generator=[107])[0], whole[7])
    assert len(whole.flatten(1).unique(dim=0)) == COUNT
    assert not torch.equal(sampler.sample(1, generator=[108])[0], whole[7])


@every_stepper
def test_a_generator_makes_a_run_again(name):
    sampler = made(name)
    first = sampler.sample(3, generator=seeded())
    assert torch.equal(first, sampler.run(3, generator=seeded()).samples)
    assert not torch.equal(first, sampler.sample(3, generator=seeded(12)))


def test_a_generator_goes_on_from_batch_to_batch():
    whole = made().sample(4, generator=seeded(), batch_size=2)
    assert torch.equal(whole[:2], made().sample(2, generator=seeded()))
    assert not torch.equal(whole[2:], whole[:2])


def test_without_a_generator_torch_s_own_is_used():
    torch.manual_seed(5)
    first = made().sample(2)
    torch.manual_seed(5)
    assert torch.equal(first, made().sample(2))
    assert not torch.equal(first, made().sample(2))


@every_stepper
def test_samplers_say_whether_they_draw_noise(name):
    sampler, z = made(name), latents()
    before = torch.get_rng_state()
    same = torch.equal(*(sampler.sample(3, initial=z, generator=seeded(seed)) for seed in (1, 2)))
    assert same == (not sampler.draws_noise)
    if same:
        sampler.sample(3, initial=z)
    assert torch.equal(before, torch.get_rng_state())


def test_shared_noise_makes_equal_starts_equal_in_every_batch():
    z = latents(1).expand(5, *SHAPE)
    for size in (5, 2):
        samples = made().sample(5, initial=z, noise=SharedNoise(3), batch_size=size)
        assert torch.equal(samples, samples[:1].expand_as(samples))
    assert not torch.equal(samples, made().sample(5, initial=z, noise=SharedNoise(4)))


def test_interpolated_noise_has_the_two_seeds_at_its_ends():
    z = latents(1).expand(3, *SHAPE)
    weights = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    mixed = made().sample(3, initial=z, noise=InterpolatedNoise(3, 4, weights), batch_size=2)
    first, last = (made().sample(1, initial=z[:1], noise=SharedNoise(seed))[0] for seed in (3, 4))
    # cos(pi / 2) is 6e-17 rather than 0.
    torch.testing.assert_close(mixed[0], first, rtol=0, atol=1e-12)
    torch.testing.assert_close(mixed[2], last, rtol=0, atol=1e-12)
    assert (mixed[1] - first).abs().max() > 1e-2


@given(weight=st.floats(0, 1))
def test_interpolated_noise_is_white_at_every_weight(weight):
    like = torch.empty(1, 100, 100, dtype=torch.float64)
    draw = InterpolatedNoise(1, 2, torch.tensor([weight], dtype=torch.float64)).stream(slice(0, 1))
    for _ in range(2):
        noise = draw(like)
        # Five standard errors of a variance of 10,000 normal numbers, and of their mean.
        assert abs(noise.var().item() - 1) < 5 * math.sqrt(2 / 1e4)
        assert abs(noise.mean().item()) < 5 / 100
    assert not torch.equal(noise, draw(like))


def test_a_source_of_noise_serves_the_steps_alone():
    """The first latents come from the generator, the steps' noise from the source."""

    def drawn(first, steps):
        return made().sample(2, generator=seeded(first), noise=SeedNoise.of_seeds(steps))

    assert torch.equal(drawn(1, [1, 2]), drawn(1, [1, 2]))
    assert not torch.equal(drawn(1, [1, 2]), drawn(2, [1, 2]))
    assert not torch.equal(drawn(1, [1, 2]), drawn(1, [3, 4]))


# ---- cuts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_STEP)
def test_a_run_cut_in_two_is_the_whole_run(name):
    """At a grid's time, with seeds whose generators go on where they were."""
    sampler, z = made(name), latents()
    stop = sampler.times[5].item()
    whole, _, path = sampler.run(3, initial=z, noise=SeedNoise.of_seeds([1, 2, 3]))
    noise = SeedNoise.of_seeds([1, 2, 3])
    middle = sampler.sample(3, initial=z, noise=noise, stop=stop)
    assert torch.equal(middle, path.states[5])
    assert torch.equal(sampler.sample(3, initial=middle, noise=noise, start=stop), whole)


def test_a_run_stops_and_starts_off_the_grid():
    sampler = made(steps=4)
    path = sampler.run(3, initial=latents(), start=0.9, stop=0.3, generator=seeded()).trajectory
    torch.testing.assert_close(path.times, torch.tensor([0.9, 0.75, 0.5, 0.3], dtype=torch.float64), rtol=0, atol=0)
    z, generator = latents(), seeded()
    for t, s in itertools.pairwise((0.9, 0.75, 0.5, 0.3)):
        z = sampler.step(z, t, s, generator=generator)
    torch.testing.assert_close(path.states[-1], z, rtol=1e-12, atol=1e-12)


def test_a_grid_s_time_computed_another_way_is_no_other_time():
    start, stop = 0.8 + 1e-12, 0.3 - 1e-12
    times = made(steps=10).run(3, initial=latents(), start=start, stop=stop).trajectory.times
    assert (len(times), times[0].item(), times[-1].item()) == (6, start, stop)


# ---- batches and records -----------------------------------------------------------------------------------


@every_stepper
def test_initial_latents_are_split_into_batches(name):
    sampler, z = made(name), latents(5).float()
    pieces = [sampler.sample(1, initial=z[i : i + 1], noise=SeedNoise.of_seeds([i])) for i in range(5)]
    whole = sampler.sample(5, initial=z, noise=SeedNoise.of_seeds(range(5)), batch_size=2)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, torch.cat(pieces))


class Doubled(AbstractDenoiser):
    """Sends every batch through a network twice, as guidance does."""

    def network_calls(self, t, condition=None):
        return 2

    def __init__(self):
        super().__init__(IsotropicDiffusion(SHAPE))
        self.times_called = 0

    def forward(self, z_t, t, condition=None, given=None):
        self.times_called += 1
        return torch.tanh(z_t) / 2


@pytest.mark.parametrize("guided", [False, True])
@every_stepper
def test_statistics_count_samples_calls_and_evaluations(name, guided):
    batches, count = 3, 5
    denoiser = Doubled() if guided else isotropic()
    stats = made(name, denoiser=denoiser).run(count, batch_size=2, keep_path=False).stats
    # The last step makes one call, whatever the others make.
    per_batch = (STEPS - 1) * CALLS.get(name, 1) + 1
    each = 2 if guided else 1
    assert stats == (count, batches * per_batch * each, count * per_batch * each)
    if guided:
        assert denoiser.times_called == batches * per_batch


@every_stepper
def test_callbacks_are_told_every_step(name):
    told = []

    def callback(info):
        told.append((info, info.latent().clone(), info.prediction().clone()))

    sampler, seeds = made(name), range(5)
    samples, stats, _ = sampler.run(5, generator=seeds, batch_size=3, callback=callback, keep_path=False)
    path = sampler.run(5, generator=seeds, batch_size=3).trajectory
    n = STEPS
    assert [info.step for info, *_ in told] == [*range(n), *range(n)]
    assert {info.steps for info, *_ in told} == {n}
    assert [info.rows for info, *_ in told] == [slice(0, 3)] * n + [slice(3, 5)] * n
    for info, latent, prediction in told:
        assert (info.t, info.s) == (path.times[info.step].item(), path.times[info.step + 1].item())
        assert torch.equal(latent, path.states[info.step + 1, info.rows])
        assert torch.equal(prediction, path.predictions[info.step, info.rows])
    assert torch.equal(torch.cat([told[n - 1][1], told[-1][1]]), samples)
    calls = [info.calls for info, *_ in told]
    assert calls[n - 1] == calls[-1] == stats.calls // 2
    assert all(a < b for a, b in itertools.pairwise(calls[:n]))


def test_predictions_are_what_the_step_was_made_with():
    sampler = made(steps=10)
    path = sampler.run(3, initial=latents(), generator=seeded()).trajectory
    for k in range(10):
        expected = sampler.denoiser(path.states[k], path.times[k].item())
        torch.testing.assert_close(path.predictions[k], expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(path.states[0], latents())


def test_finished_samples_are_kept_where_they_are_wanted():
    assert made().run(2, keep_on="cpu").trajectory.states.device.type == "cpu"
    # The meta device has no numbers: what arrives there was moved there.
    assert made().sample(2, batch_size=1, keep_on="meta").device.type == "meta"
    assert made().sample(2, keep_on=torch.device("cpu")).device.type == "cpu"


def test_the_solver_takes_a_batch_at_one_time_only():
    sampler = Sampler(isotropic(), Adaptive())
    times = torch.tensor([0.5, 0.6, 0.5], dtype=torch.float64)
    with pytest.raises(ValueError, match="the solver takes a whole batch from one time to another, got times"):
        sampler.step(latents(), times, 0.2)
    sampler.step(latents(), torch.full((3,), 0.5, dtype=torch.float64), 0.2)


def test_progress_says_when_tqdm_is_missing(monkeypatch):
    imported = builtins.__import__

    def without(name, *args, **settings):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return imported(name, *args, **settings)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="shows a bar with tqdm, which is not installed: pip install tqdm"):
        made(steps=2).sample(1, progress=True)


def test_progress_goes_over_all_steps_of_all_batches(capsys):
    made(steps=3).sample(5, batch_size=2, progress=True)
    assert "9/9" in capsys.readouterr().err
