"""A run's protocol: seeds, shared noise, batches, cuts, callbacks, reports, and what is kept when it stops early."""

import builtins
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    Deterministic,
    IsotropicDiffusion,
    PredictEpsilon,
    PredictX,
    VariancePreservingBlur,
)
from unmelt.models import AbstractDenoiser, DegradedDataPrior, Denoiser, StandardNormalPrior
from unmelt.samplers import (
    AdaptiveSampler,
    Churn,
    EulerMaruyamaSampler,
    ExponentialSDESampler,
    HeunSampler,
    InterpolatedNoise,
    MultistepSampler,
    NonFiniteStateError,
    PosteriorSampler,
    PredictorCorrectorSampler,
    SamplingInterrupted,
    SeedNoise,
    SharedNoise,
    uniform_times,
)

# Hundreds of runs: types are checked in the other files.
pytestmark = pytest.mark.usefixtures("as_in_production")

SHAPE = (1, 4, 4)
COUNT = 20
SAMPLERS = {
    "markov": lambda d, **k: Sampler(d, **k),
    "deterministic": lambda d, **k: Sampler(d, Posterior(Deterministic()), **k),
    "heun": lambda d, **k: Sampler(d, Heun(), **k),
    "churn": lambda d, **k: Sampler(d, Heun(churn=Churn(2.0, latest=0.9)), **k),
    "multistep": lambda d, **k: Sampler(d, Multistep(order=3), **k),
    "sde": lambda d, **k: Sampler(d, Heun(eta=1.0), **k),
    "euler-maruyama": lambda d, **k: EulerMaruyamaSampler(d, **k),
    "predictor-corrector": lambda d, **k: Sampler(d, PredictorCorrector(corrections=2), **k),
}
# Those whose step knows nothing of the steps before.
ONE_STEP = [name for name in SAMPLERS if name not in ("multistep", "churn")]


class Soft(nn.Module):
    """A function of each number and the time, so that no sum depends on the batch it is made in."""

    def forward(self, z, t, condition=None, given=None):
        return 0.5 * torch.tanh(z) * (1 - 0.3 * t.to(z.dtype)[:, None, None, None])


def isotropic():
    return Denoiser(Soft(), IsotropicDiffusion(SHAPE), prediction=PredictEpsilon())


def steps_of(name):
    """Few, but as many as explicit steps need."""
    return 40 if name == "euler-maruyama" else 12


def made(name, steps=None, **settings):
    return SAMPLERS[name](isotropic(), steps=steps or steps_of(name), **settings)


def seeded(seed=11):
    return torch.Generator().manual_seed(seed)


def latents(count=3, seed=0):
    return torch.randn((count, *SHAPE), generator=seeded(seed), dtype=torch.float64)


class At(AbstractDenoiser):
    """Does something in one of its calls, and is a soft denoiser in all others."""

    def __init__(self, call, deed):
        super().__init__(IsotropicDiffusion(SHAPE))
        self.call, self.deed, self.calls = call, deed, 0

    def forward(self, z_t, t, condition=None, given=None):
        self.calls += 1
        return self.deed(z_t) if self.calls == self.call else torch.tanh(z_t) / 2


# ---- randomness --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_makes_a_sample_whatever_its_batch(name):
    sampler, seeds = made(name), range(100, 100 + COUNT)
    whole = sampler.sample(COUNT, generator=seeds)
    for size in (1, 7):
        assert torch.equal(sampler.sample(COUNT, generator=seeds, batch_size=size), whole)
        assert torch.equal(sampler.run(COUNT, generator=seeds, batch_size=size).trajectory.states[-1], whole)
    assert torch.equal(sampler.sample(1, generator=[117])[0], whole[17])
    assert len(whole.flatten(1).unique(dim=0)) == COUNT
    assert not torch.equal(sampler.sample(1, generator=[118])[0], whole[17])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_generator_makes_a_run_again(name):
    sampler = made(name)
    first = sampler.sample(3, generator=seeded())
    assert torch.equal(first, sampler.sample(3, generator=seeded()))
    assert torch.equal(first, sampler.run(3, generator=seeded()).trajectory.states[-1])
    assert not torch.equal(first, sampler.sample(3, generator=seeded(12)))


def test_a_generator_goes_on_from_batch_to_batch():
    whole = made("markov").sample(4, generator=seeded(), batch_size=2)
    assert torch.equal(whole[:2], made("markov").sample(2, generator=seeded()))
    assert not torch.equal(whole[2:], whole[:2])


def test_without_a_generator_torch_s_own_is_used():
    torch.manual_seed(5)
    first = made("markov").sample(2)
    torch.manual_seed(5)
    assert torch.equal(first, made("markov").sample(2))
    assert not torch.equal(first, made("markov").sample(2))


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_say_whether_they_draw_noise(name):
    sampler = made(name)
    z = latents()
    same = torch.equal(*(sampler.sample(3, initial=z, generator=seeded(seed)) for seed in (1, 2)))
    assert same == (not sampler.draws_noise)


def test_shared_noise_makes_equal_starts_equal_in_every_batch():
    z = latents(1).expand(5, *SHAPE)
    for size in (5, 2):
        samples = made("markov").sample(5, initial=z, noise=SharedNoise(3), batch_size=size)
        assert torch.equal(samples, samples[:1].expand_as(samples))
    assert not torch.equal(samples, made("markov").sample(5, initial=z, noise=SharedNoise(4)))


def test_interpolated_noise_has_the_two_seeds_at_its_ends():
    z = latents(1).expand(3, *SHAPE)
    weights = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    mixed = made("markov").sample(3, initial=z, noise=InterpolatedNoise(3, 4, weights), batch_size=2)
    first, last = (made("markov").sample(1, initial=z[:1], noise=SharedNoise(seed))[0] for seed in (3, 4))
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


@pytest.mark.parametrize("weights", [[-0.1, 0.5], [0.5, 1.1], [float("nan")]])
def test_weights_of_interpolated_noise_are_checked(weights):
    with pytest.raises(ValueError, match=r"weights must be numbers in \[0, 1\], one for each sample, got"):
        InterpolatedNoise(1, 2, torch.tensor(weights))
    with pytest.raises(ValueError, match="must be two seeds, got 3 twice"):
        InterpolatedNoise(3, 3, torch.tensor([0.5]))


def test_a_source_of_noise_serves_the_steps_alone():
    """The first latents come from the generator, the steps' noise from the source."""

    def drawn(first, steps):
        return made("markov").sample(2, generator=seeded(first), noise=SeedNoise.of_seeds(steps))

    assert torch.equal(drawn(1, [1, 2]), drawn(1, [1, 2]))
    assert not torch.equal(drawn(1, [1, 2]), drawn(2, [1, 2]))
    assert not torch.equal(drawn(1, [1, 2]), drawn(1, [3, 4]))


# ---- cuts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_STEP)
def test_a_run_cut_in_two_is_the_whole_run(name):
    """At a grid's time, with seeds whose generators go on where they were."""
    sampler = made(name)
    z, stop = latents(), sampler.times[5].item()
    whole = sampler.sample(3, initial=z, noise=SeedNoise.of_seeds([1, 2, 3]))
    noise = SeedNoise.of_seeds([1, 2, 3])
    middle = sampler.sample(3, initial=z, noise=noise, stop=stop)
    assert torch.equal(sampler.sample(3, initial=middle, noise=noise, start=stop), whole)
    assert torch.equal(middle, sampler.run(3, initial=z, noise=SeedNoise.of_seeds([1, 2, 3])).trajectory.states[5])


def test_a_run_stops_and_starts_off_the_grid():
    sampler = Sampler(isotropic(), grid=UniformGrid(4))
    path = sampler.run(3, initial=latents(), start=0.9, stop=0.3, generator=seeded()).trajectory
    torch.testing.assert_close(path.times, torch.tensor([0.9, 0.75, 0.5, 0.3], dtype=torch.float64), rtol=0, atol=0)
    z, generator = latents(), seeded()
    for t, s in itertools.pairwise((0.9, 0.75, 0.5, 0.3)):
        z = sampler.step(z, t, s, generator=generator)
    torch.testing.assert_close(path.states[-1], z, rtol=1e-12, atol=1e-12)


def test_a_grid_s_time_computed_another_way_is_no_other_time():
    sampler = Sampler(isotropic(), grid=UniformGrid(10))
    start, stop = 0.8 + 1e-12, 0.3 - 1e-12
    path = sampler.run(3, initial=latents(), start=start, stop=stop).trajectory
    assert len(path.times) == 6
    assert (path.times[0].item(), path.times[-1].item()) == (start, stop)


@pytest.mark.parametrize(("start", "stop"), [(0.5, 0.5), (0.2, 0.5), (1.5, 0.0), (1.0, -0.1), (float("nan"), 0.0)])
def test_cuts_that_are_none_are_refused(start, stop):
    with pytest.raises(ValueError, match="a run goes from start down to stop, 1 >= start > stop >= 0, got start="):
        made("markov").sample(3, initial=latents(), start=start, stop=stop)


def test_a_later_start_needs_latents():
    with pytest.raises(ValueError, match="a run that starts at t = 0.5 needs its latents there: give initial="):
        made("markov").sample(3, start=0.5)


# ---- batches and records -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
def test_initial_latents_are_split_into_batches(name):
    sampler, z = made(name), latents(5).float()
    pieces = [made(name).sample(1, initial=z[i : i + 1], noise=SeedNoise.of_seeds([i])) for i in range(5)]
    whole = sampler.sample(5, initial=z, noise=SeedNoise.of_seeds(range(5)), batch_size=2)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, torch.cat(pieces))


CALLS = {"markov": 1, "deterministic": 1, "multistep": 1, "euler-maruyama": 1, "heun": 2, "churn": 2, "sde": 2}


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("name", SAMPLERS)
def test_reports_count_samples_calls_and_evaluations(name, guided):
    steps, batches, count = steps_of(name), 3, 5
    denoiser = Doubled() if guided else isotropic()
    sampler = SAMPLERS[name](denoiser, steps=steps)
    sampler.sample(count, batch_size=2)
    # The last step makes one call, whatever the others make.
    per_batch = (steps - 1) * CALLS.get(name, 3) + 1
    each = 2 if guided else 1
    assert sampler.report.samples == count
    assert sampler.report.calls == batches * per_batch * each
    assert sampler.report.evaluations == count * per_batch * each
    if guided:
        assert denoiser.times_called == batches * per_batch


class Doubled(AbstractDenoiser):
    """Sends every batch through a network twice, as guidance does."""

    network_calls = 2

    def __init__(self):
        super().__init__(IsotropicDiffusion(SHAPE))
        self.times_called = 0

    def forward(self, z_t, t, condition=None, given=None):
        self.times_called += 1
        return torch.tanh(z_t) / 2


@pytest.mark.parametrize("name", SAMPLERS)
def test_callbacks_are_told_every_step(name):
    told = []

    def callback(info):
        told.append((info, info.latent().clone(), info.prediction().clone()))

    sampler, seeds = made(name), range(5)
    samples = sampler.sample(5, generator=seeds, batch_size=3, callback=callback)
    path = sampler.run(5, generator=seeds, batch_size=3).trajectory
    n = steps_of(name)
    assert [info.step for info, *_ in told] == [*range(n), *range(n)]
    assert {info.steps for info, *_ in told} == {n}
    assert [info.rows for info, *_ in told] == [slice(0, 3)] * n + [slice(3, 5)] * n
    for info, latent, prediction in told:
        assert (info.t, info.s) == (path.times[info.step].item(), path.times[info.step + 1].item())
        assert torch.equal(latent, path.states[info.step + 1, info.rows])
        assert torch.equal(prediction, path.predictions[info.step, info.rows])
    assert torch.equal(torch.cat([told[n - 1][1], told[-1][1]]), samples)
    calls = [info.calls for info, *_ in told]
    assert calls[n - 1] == calls[-1] == sampler.report.calls // 2
    assert all(a < b for a, b in itertools.pairwise(calls[:n]))


def test_predictions_are_what_the_step_was_made_with():
    denoiser = isotropic()
    path = Sampler(denoiser, grid=UniformGrid(10)).run(3, initial=latents(), generator=seeded()).trajectory
    for k in range(10):
        expected = denoiser(path.states[k], path.times[k].item())
        torch.testing.assert_close(path.predictions[k], expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(path.states[0], latents())


@pytest.mark.parametrize("training", [True, False])
def test_networks_are_in_evaluation_mode_only_while_a_run_lasts(training):
    seen = []

    class Watched(Soft):
        def forward(self, z, t, condition=None, given=None):
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(z, t)

    denoiser = Denoiser(Watched(), IsotropicDiffusion(SHAPE), prediction=PredictEpsilon())
    denoiser.train(training)
    Sampler(denoiser, grid=UniformGrid(3)).sample(2)
    assert seen
    assert not any(mode or grad for mode, grad in seen)
    assert denoiser.training is training
    assert denoiser.network.training is training
    sampler = Sampler(At(2, lambda z: 1 / 0), grid=UniformGrid(3))
    sampler.denoiser.train(training)
    with pytest.raises(ZeroDivisionError):
        sampler.sample(2)
    assert sampler.denoiser.training is training


def test_finished_samples_are_kept_where_they_are_wanted():
    path = made("markov").run(2, generator=seeded(), keep_on="cpu").trajectory
    assert path.states.device.type == "cpu"
    sampler = made("markov")
    # The meta device has no numbers: what arrives there was moved there.
    assert sampler.sample(2, generator=seeded(), batch_size=1, keep_on="meta").device.type == "meta"
    assert sampler.sample(2, generator=seeded(), keep_on=torch.device("cpu")).device.type == "cpu"


# ---- runs that stop early ----------------------------------------------------------------------------------


def interrupted(z):
    raise KeyboardInterrupt


@pytest.mark.parametrize("path", [False, True])
def test_an_interrupted_run_keeps_what_it_has_done(path):
    """In the third step of the second batch."""
    whole = Sampler(At(0, None), grid=UniformGrid(6))
    seeds = [4, 5, 6, 7, 8]
    full = whole.run(5, generator=seeds).trajectory
    sampler = Sampler(At(6 + 3, interrupted), grid=UniformGrid(6))
    run = sampler.trajectory if path else sampler.sample
    with pytest.raises(SamplingInterrupted, match="interrupted: 2 finished samples and the unfinished") as stopped:
        run(5, generator=seeds, batch_size=2)
    assert isinstance(stopped.value, KeyboardInterrupt)
    kept = stopped.value.partial
    assert torch.equal(kept.samples, full.states[-1, :2])
    assert kept.rows == slice(2, 4)
    first = 0 if path else 2
    assert torch.equal(kept.states, full.states[first:3, 2:4])
    torch.testing.assert_close(kept.times, full.times[first:3], rtol=0, atol=0)
    assert sampler.report.samples == 2
    # The interrupted call is one of them.
    assert sampler.report.calls == 6 + 3
    assert sampler.report.evaluations == 2 * (6 + 3)


def test_a_run_goes_on_from_what_an_interrupted_one_kept():
    sampler = Sampler(At(4, interrupted), Posterior(Deterministic()), grid=UniformGrid(6))
    with pytest.raises(SamplingInterrupted) as stopped:
        sampler.sample(3, initial=latents())
    kept = stopped.value.partial
    assert len(kept.samples) == 0
    rest = sampler.sample(3, initial=kept.states[-1], start=kept.times[-1].item())
    assert torch.equal(
        rest, Sampler(At(0, None), Posterior(Deterministic()), grid=UniformGrid(6)).sample(3, initial=latents())
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_latent_that_is_not_finite_stops_the_run(bad):
    def spoil(z):
        out = torch.tanh(z) / 2
        out[1, 0, 2, 3] = bad
        return out

    sampler = Sampler(At(6 + 3, spoil), grid=UniformGrid(6))
    words = "samples 2 to 3 became infinite or NaN in step 3 of 6, from t = 0.666667 to 0.5.*2 finished samples"
    with pytest.raises(NonFiniteStateError, match=words) as stopped:
        sampler.run(5, generator=[1, 2, 3, 4, 5], batch_size=2).trajectory
    kept = stopped.value.partial
    assert len(kept.samples) == 2
    assert kept.rows == slice(2, 4)
    assert kept.states.shape == (3, 2, *SHAPE)
    assert bool(kept.states.isfinite().all())
    assert kept.times.tolist() == sampler.times[:3].tolist()


def test_initial_latents_that_are_not_finite_stop_the_run():
    z = latents()
    z[0, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteStateError, match="the initial latents at t = 1") as stopped:
        made("markov").sample(3, initial=z)
    assert len(stopped.value.partial.states) == len(stopped.value.partial.times) == 0


# ---- what is refused ---------------------------------------------------------------------------------------


def test_numbers_and_shapes_are_checked():
    sampler = made("markov")
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        sampler.sample(0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        sampler.sample(2, batch_size=0)
    with pytest.raises(ValueError, match="initial holds 3 latents, but 2 samples were asked for"):
        sampler.sample(2, initial=latents())
    with pytest.raises(ValueError, match="initial must have shape"):
        sampler.sample(2, initial=torch.zeros(2, 1, 4, 5))


def test_seeds_are_checked(as_in_production):
    sampler = made("markov")
    with pytest.raises(ValueError, match=r"2 seeds for 3 samples: give one seed for each, such as range\(3\)"):
        sampler.sample(3, generator=[1, 2])
    with pytest.raises(TypeError, match="one integer seed for each sample, got"):
        sampler.sample(2, generator=[1.5, 2.5])
    with pytest.raises(TypeError, match="noise must be a Noise"):
        sampler.sample(2, noise=SharedNoise)


def test_grids_that_rise_are_refused():
    with pytest.raises(ValueError, match=r"times must fall strictly from 1 to 0.*give times.flip\(0\)"):
        Sampler(isotropic(), grid=UniformGrid(4).flip(0))
    with pytest.raises(ValueError, match="give steps or times, not both: got steps=4 and a grid of 5 times"):
        Sampler(isotropic(), grid=UniformGrid(4), grid=UniformGrid(4))


def test_priors_of_other_processes_are_refused():
    with pytest.raises(ValueError, match="the prior was made for another process"):
        Sampler(isotropic(), prior=StandardNormalPrior(VariancePreservingBlur(SHAPE)))


@pytest.mark.parametrize("kind", [ExponentialSDESampler, EulerMaruyamaSampler, PredictorCorrectorSampler, HeunSampler])
def test_noise_is_asked_of_processes_that_have_some(kind):
    process = EVERY_PROCESS["cold"]
    x = torch.zeros(2, *process.shape)
    denoiser = Denoiser(Soft(), process, prediction=PredictX())
    settings = {"churn": Churn(1.0)} if kind is HeunSampler else {}
    with pytest.raises(ValueError, match="needs noise, but ColdBlur is deterministic, sigma = 0"):
        kind(denoiser, prior=DegradedDataPrior(process, x, stddev=0.1), **settings)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: Sampler(d, Multistep(order=4)), "order must be 2 or 3, got 4"),
        (lambda d: Sampler(d, Multistep(order=1)), r"order must be 2 or 3, got 1 .*PosteriorSampler"),
        (lambda d: Sampler(d, Heun(eta=0.0)), "eta must be positive.*got 0.0"),
        (lambda d: EulerMaruyamaSampler(d, eta=-1.0), "eta must be positive.*got -1.0"),
        (lambda d: Sampler(d, PredictorCorrector(corrections=0)), "corrections must be at least 1, got 0"),
        (lambda d: Sampler(d, PredictorCorrector(size=0.0)), "size must be positive.*got 0.0"),
        (lambda d: Sampler(d, Adaptive(rtol=0.0)), "rtol must be a finite number > 0.*got 0.0"),
        (lambda d: Sampler(d, Adaptive(atol=float("inf"))), "atol must be a finite number > 0.*got inf"),
        (lambda d: Sampler(d, Adaptive(most_calls=0)), "most_calls must be at least 1, got 0"),
        (lambda d: Churn(-1.0), "amount must be at least 0.*amount=-1.0"),
        (lambda d: Churn(1.0, noise=0.0), "noise positive.*noise=0.0"),
        (lambda d: Churn(1.0, earliest=0.5, latest=0.5), "0 <= earliest < latest <= 1, got earliest=0.5"),
    ],
)
def test_settings_are_checked(make, words):
    with pytest.raises(ValueError, match=words):
        make(isotropic())


def test_euler_and_maruyama_refuse_steps_that_blow_up():
    with pytest.raises(ValueError, match=r"multiplies a coefficient by -\d.*unstable.*times as many steps"):
        made("euler-maruyama", steps=8).sample(1)


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
        made("markov", steps=2).sample(1, progress=True)


def test_progress_goes_over_all_steps_of_all_batches(capsys):
    made("markov", steps=3).sample(5, batch_size=2, progress=True)
    assert "9/9" in capsys.readouterr().err
