"""The training loop: resumed runs equal straight ones bit for bit, and what goes wrong is said and harms nothing."""

import itertools
import math
import os
import random
import signal
from shutil import copytree

import numpy as np
import pytest
import torch
import torch._inductor.config
from PIL import Image
from safetensors.torch import load_file
from small_runs import assert_identical, assert_same_run, begin, held_out, images, metrics, parameters, small_run, train

from unmelt.core import later
from unmelt.losses import LearnedLogVariance, LossAwareTimes
from unmelt.models import GreyLevels
from unmelt.training import ArrayExamples, Precision, Splits, Training
from unmelt.training.folder.checkpoints import list_checkpoints, read_checkpoint
from unmelt.training.folder.records import read_metrics
from unmelt.training.loop.interrupts import StoppedError, StopRequest
from unmelt.training.loop.learning_rate import Schedule
from unmelt.training.loop.random_states import restore_random_states

DIVERGING = later(torch.optim.AdamW, lr=1e39, fused=True)


class Hooked(ArrayExamples):
    """Images that call something when a batch is drawn, and remember which were drawn."""

    def __init__(self, values, hook=lambda _batch: None):
        super().__init__(values)
        self.hook, self.drawn = hook, []

    def __getitems__(self, indices):
        self.drawn.append(list(indices))
        self.hook(len(self.drawn))
        return super().__getitems__(indices)


def hooked(splits, *hook):
    return Splits(Hooked(splits.train.values, *hook), splits.test)


def checkpoints(trainer_or_config):
    folder = getattr(trainer_or_config, "run", None)
    folder = folder.path if folder else trainer_or_config.folder
    return [path.name for path in list_checkpoints(folder / "checkpoints")]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return a run of eight steps, across the end of the first pass, that nothing stopped."""
    return train(small_run(tmp_path_factory.mktemp("runs"), "straight", steps=8), hooked(images()))


class TestResume:
    # Five batches make a pass: a stop in the middle, one before the end of the pass, at its very end, and after it.
    @pytest.mark.parametrize("stop", [pytest.param(n, marks=pytest.mark.full) for n in (1, 3, 4, 6)] + [5])
    def test_a_resumed_run_equals_a_straight_one(self, training, splits, straight, stop):
        train(training("broken", steps=stop), splits)
        resumed = train(training("broken", steps=8), hooked(splits), resume=True)
        assert_same_run(resumed, straight)
        # The batches go on where they were; the loader may have fetched some ahead of the steps.
        assert resumed.data.train.drawn[: 8 - stop] == straight.data.train.drawn[stop:8]

    @pytest.mark.full
    def test_resuming_twice_equals_a_straight_run(self, training, splits, straight):
        train(training("broken", steps=2), splits)
        train(training("broken", steps=4), splits, resume=True)
        assert_same_run(train(training("broken", steps=8), splits, resume=True), straight)

    def test_batches_differ_from_pass_to_pass_and_cover_each(self, straight):
        first, second = straight.data.train.drawn[:5], straight.data.train.drawn[5:8]
        assert len({i for batch in first for i in batch}) == 20
        assert first[:3] != second

    @pytest.mark.full
    def test_the_same_seed_is_the_same_run_and_another_is_another(self, training, splits, straight):
        assert_same_run(train(training("again", steps=8), splits), straight)
        other = train(training("other", steps=1, seed=1), splits)
        assert metrics(other)[0]["loss"] != metrics(straight)[0]["loss"]

    @pytest.mark.full
    def test_samples_and_checkpoints_on_the_way_change_nothing(self, training, splits, straight):
        sampled = train(training("sampled", steps=8, sample_every=2, checkpoint_every=1), splits)
        assert_same_run(sampled, straight)
        pictures = sorted(sampled.run.samples.iterdir())
        assert [path.name for path in pictures] == [f"step_{step:08d}.png" for step in (2, 4, 6)]
        for path in pictures:
            with Image.open(path) as image:
                image.load()

    def test_a_finished_run_stays_as_it_is(self, training, splits, straight):
        copytree(straight.run.path, training("copy").folder)
        assert_same_run(train(training("copy", steps=8), splits, resume=True), straight)

    @pytest.mark.full
    def test_records_of_a_stretch_that_is_repeated_are_dropped(self, training, splits, straight):
        trainer = train(training("broken", steps=8), splits)
        newest = list_checkpoints(trainer.run.checkpoints)[-1]
        assert newest.name == "step_00000008"
        # A crash after step 8's records and before its checkpoint, in the middle of writing a line.
        newest.rename(newest.with_name("aside"))
        with trainer.run.metrics.open("a") as lines:
            lines.write('{"step": 9, "lo')
        assert_same_run(train(training("broken", steps=8), splits, resume=True), straight)

    def test_what_the_loss_learns_is_resumed(self, training, splits):
        changes = {"log_variance": later(LearnedLogVariance), "times": LossAwareTimes()}
        trainer = train(training(steps=3, **changes), splits)
        learned = trainer.loss.log_variance.linear.weight
        assert learned.abs().max() > 0
        resumed = begin(training(steps=4, **changes), splits, resume=True)
        assert torch.equal(resumed.loss.log_variance.linear.weight, learned)
        states = [each.loss.state_dict() for each in (trainer, resumed)]
        assert_identical(dict(states[0]), dict(states[1]))
        assert any("times" in name and value.numel() for name, value in states[0].items())


class TestSteps:
    def test_the_learning_rate_warms_up_linearly_and_stays(self):
        factor = Schedule.of(Training(steps=100, warmup=4)).factor
        assert [factor(step) for step in (*range(6), 10**6)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0])
        assert [Schedule.of(Training(warmup=warmup)).factor(0) for warmup in (0, 1)] == [1.0, 1.0]

    def test_the_cosine_falls_to_a_hundredth(self):
        factor = Schedule.of(Training(steps=100, warmup=1, cosine_decay=True)).factor
        factors = [factor(step) for step in range(101)]
        assert [factors[0], factors[50], factors[100], factor(500)] == pytest.approx([1, (1 + 0.01) / 2, 0.01, 0.01])
        assert all(a > b for a, b in itertools.pairwise(factors))

    def test_the_first_steps_are_as_long_as_the_warm_up_says(self, training, splits):
        # Adam's first step moves a parameter by the learning rate, whatever its gradient: here a quarter of 1e-2.
        # 1e-8 in its denominator and float32 rounding take less than a thousandth of that from the largest.
        trainer = begin(training(steps=1), splits)
        before = parameters(trainer.denoiser)
        trainer.train()
        after = parameters(trainer.denoiser)
        longest = max((after[name] - before[name]).abs().max().item() for name in before)
        assert longest == pytest.approx(1e-2 / 4, rel=1e-3)

    @pytest.mark.full
    def test_a_line_is_the_mean_over_its_steps(self, training, splits):
        each = metrics(train(training("each", steps=6), splits))
        trainer = train(training("pairs", steps=6, log_every=2), splits)
        pairs = metrics(trainer)
        assert [line["step"] for line in pairs] == [2, 4, 6]
        assert list(trainer.run.tensorboard.iterdir())
        for i, line in enumerate(pairs):
            assert line.keys() == {"step", "loss", "loss_per_dim", "gradient_norm", "learning_rate", "skipped"}
            assert line.pop("skipped") == 0
            assert all(math.isfinite(value) and value > 0 for value in line.values())
            # Sixteen pixels, over which the loss is a sum.
            assert line["loss_per_dim"] == line["loss"] / 16
            for name in ("loss", "gradient_norm"):
                # Sums of two float32 numbers.
                assert line[name] == pytest.approx((each[2 * i][name] + each[2 * i + 1][name]) / 2, rel=1e-6)

    def test_the_last_step_is_recorded_and_saved_whatever_the_intervals(self, training, splits):
        trainer = train(training(steps=5, log_every=3, checkpoint_every=3), splits)
        assert [line["step"] for line in metrics(trainer)] == [3, 5]
        assert checkpoints(trainer) == ["step_00000003", "step_00000005"]

    @pytest.mark.full
    def test_held_out_images_are_measured_at_each_checkpoint_and_change_nothing(self, training, splits, straight):
        trainer = train(training("held", steps=7, log_every=2, checkpoint_every=3), splits)
        found = held_out(trainer)
        assert list(found) == [3, 6, 7]
        assert found[6] == held_out(straight)[6]
        assert found[6] != found[3]
        # The average of the checkpoint, on the same images, times and noise, after the run as in it.
        assert begin(trainer.config, splits, resume=True).held_out.measure() == found[7]
        lines = read_metrics(trainer.run.metrics)
        assert [line["step"] for line in lines] == [2, 3, 4, 6, 7]
        assert ["loss" in line for line in lines] == [True, False, True, True, True]

    def test_training_lowers_the_loss(self, training, splits):
        lines = metrics(train(training(steps=60, batch_size=20, log_every=20, checkpoint_every=1000), splits))
        assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]

    def test_bf16_trains_float32_parameters(self, training, splits):
        trainer, exact = (
            train(training(p.name, precision=p, steps=2), splits) for p in (Precision.BF16, Precision.FLOAT32)
        )
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in trainer.denoiser.parameters())
        # The network is rounded to 8 bits, and nothing else: its losses stay within a few per cent, but not equal.
        for ours, theirs in zip(metrics(trainer), metrics(exact), strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.05)
        assert metrics(trainer) != metrics(exact)

    @pytest.mark.slow
    def test_a_compiled_run_is_one_that_is_not(self, training, splits, straight, as_in_production, monkeypatch):
        # Generated kernels would draw other numbers.
        monkeypatch.setattr(torch._inductor.config, "fallback_random", True)
        compiled = train(training("compiled", steps=8, compile=True), splits)
        for ours, theirs in zip(metrics(compiled), metrics(straight), strict=True):
            # Eight steps of Adam, which makes much of rounding where gradients are small.
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-2)
        assert list(compiled.ema.state_dict()) == list(straight.ema.state_dict())
        assert list(parameters(compiled.denoiser)) == list(parameters(straight.denoiser))


class TestCheckpoints:
    def test_trained_and_averaged_weights_are_both_there_and_each_right(self, training, splits):
        # Released code wrote checkpoints while the averaged weights were swapped in for the trained ones.
        trainer = train(training(steps=4, checkpoint_every=1), splits)
        folders = list_checkpoints(trainer.run.checkpoints)
        trained = [load_file(folder / "model.safetensors") for folder in folders]
        averaged = [load_file(folder / "average_0.9.safetensors") for folder in folders]
        names = list(parameters(trainer.denoiser))
        for name in names:
            assert torch.equal(trained[-1][f"denoiser.{name}"], trainer.denoiser.get_parameter(name))
            assert torch.equal(averaged[-1][name], trainer.ema.model.get_parameter(name))
            for n in range(1, 4):
                # What the average was, moved towards what was trained.
                old, new = averaged[n - 1][name], trained[n][f"denoiser.{name}"]
                decay = min(0.9, (1 + n) / (10 + n))
                torch.testing.assert_close(averaged[n][name], decay * old + (1 - decay) * new)
        assert any(not torch.equal(trained[-1][f"denoiser.{name}"], averaged[-1][name]) for name in names)

    def test_samples_are_drawn_from_the_average(self, training, splits):
        trainer = train(training(steps=3), splits)
        assert trainer.sampler.denoiser is trainer.ema.model
        again = begin(training(steps=6), splits, resume=True)
        assert_identical(parameters(again.denoiser), parameters(trainer.denoiser))
        assert torch.equal(again.draw(2, seed=1), trainer.draw(2, seed=1))

    def test_the_state_of_every_random_generator_is_in_it(self, training, splits):
        trainer = train(training(steps=3), splits)
        (folder,) = list_checkpoints(trainer.run.checkpoints)
        after = [random.getstate(), np.random.rand(), torch.rand(1)]  # noqa: NPY002
        restore_random_states(read_checkpoint(folder).parts["process_0"]["random"], torch.device("cpu"))
        assert [random.getstate(), np.random.rand(), torch.rand(1)] == after  # noqa: NPY002
        assert trainer.progress.step == 3

    def test_as_many_as_asked_for_are_kept(self, training, splits):
        trainer = train(training(steps=5, checkpoint_every=1, keep_checkpoints=2), splits)
        assert checkpoints(trainer) == ["step_00000004", "step_00000005"]
        assert len(list(trainer.run.checkpoints.iterdir())) == 2


class TestDivergence:
    def test_a_loss_that_overflows_is_an_error_that_names_the_step(self, training, splits):
        wide = Splits(*(ArrayExamples(part.values, GreyLevels(256, 0.0, 1e30)) for part in (splits.train, splits.test)))
        config = training(checkpoint_every=1)
        with pytest.raises(
            FloatingPointError,
            match=r"gradient norm was (nan|inf) in 21 steps in a row at or before step 1\b.*Lower the learning",
        ):
            train(config, wide)
        assert not checkpoints(config)

    @pytest.mark.parametrize("log_every", [1, 1000])
    def test_nothing_is_saved_after_a_diverged_step(self, training, splits, log_every):
        # The second step meets parameters of 1e39 in float32, which is infinite.
        config = training(log_every=log_every, checkpoint_every=2, steps=10, warmup=1, optimizer=DIVERGING)
        with pytest.raises(
            FloatingPointError, match=r"gradient norm was (nan|inf) in 21 steps in a row at or before step 2\b"
        ):
            train(config, splits)
        assert not checkpoints(config)
        # Every line is JSON with finite numbers, which NaN would not be.
        text = (config.folder / "metrics.jsonl").read_text()
        assert "NaN" not in text
        assert "Infinity" not in text

    def test_no_checkpoint_holds_parameters_that_are_not_finite(self, training, splits):
        # The first step's loss is finite and its update is not: a checkpoint of it could never be resumed.
        config = training(checkpoint_every=1, steps=10, warmup=1, optimizer=DIVERGING)
        with pytest.raises(FloatingPointError, match="at or before step"):
            train(config, splits)
        for folder in list_checkpoints(config.folder / "checkpoints"):
            assert all(tensor.isfinite().all() for tensor in load_file(folder / "model.safetensors").values())


class TestInterrupts:
    @staticmethod
    def at(batch, *numbers):
        def interrupt(drawn):
            for number in numbers if drawn == batch else ():
                os.kill(os.getpid(), number)

        return interrupt

    @pytest.mark.full
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
    def test_a_signal_stops_the_run_after_a_checkpoint_and_it_goes_on_as_if_never_stopped(
        self, training, splits, straight, number
    ):
        before = signal.getsignal(number)
        config = training("stopped", steps=8, checkpoint_every=1000)
        # The loader is at most one batch ahead of the steps.
        with pytest.raises(
            StoppedError,
            match=rf"stopped by {number.name} after step [23]; checkpoint written.*--resume {config.folder}",
        ):
            train(config, hooked(splits, self.at(3, number)))
        assert signal.getsignal(number) is before
        assert checkpoints(config) in (["step_00000002"], ["step_00000003"])
        assert_same_run(train(config, splits, resume=True), straight)

    def test_a_process_whose_launcher_is_gone_stops(self, training, splits, monkeypatch):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
        parent = [os.getppid()]
        monkeypatch.setattr(os, "getppid", lambda: parent[0])

        def orphan(drawn):
            parent[0] = 1 if drawn == 3 else parent[0]

        with pytest.raises(StoppedError, match=r"stopped by SIGTERM after step [23]; checkpoint written"):
            train(training("orphan", checkpoint_every=1000), hooked(splits, orphan))

    @pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals that close")
    def test_a_closed_terminal_that_is_to_be_ignored_is_ignored(self, training, splits):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            trainer = train(training("nohup", steps=4), hooked(splits, self.at(2, signal.SIGHUP)))
        finally:
            signal.signal(signal.SIGHUP, before)
        assert trainer.progress.step == 4

    def test_a_second_interrupt_stops_at_once(self, training, splits, monkeypatch):
        # A second later, by this clock.
        monkeypatch.setattr("unmelt.training.loop.interrupts.time.monotonic", itertools.count(0.0, 1.5).__next__)
        config = training("impatient", checkpoint_every=1000)
        with pytest.raises(StoppedError) as caught:
            train(config, hooked(splits, self.at(3, signal.SIGINT, signal.SIGINT)))
        assert str(caught.value) == "stopped at once by a second Ctrl-C, without a checkpoint of this step"
        assert not checkpoints(config)

    @pytest.mark.parametrize("several", [False, True])
    def test_the_same_interrupt_twice_is_one(self, training, splits, monkeypatch, several):
        # Of the terminal and of a launcher that hands it on; of several processes however late.
        ticks = itertools.count(0.0, 100.0 if several else 0.001)
        request = StopRequest()
        with request, monkeypatch.context() as patch:
            patch.setattr("unmelt.training.loop.interrupts.time.monotonic", ticks.__next__)
            patch.setenv("WORLD_SIZE", "2" if several else "1")
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
            assert request.received == signal.SIGINT

    def test_a_signal_in_the_last_step_lets_the_run_end(self, training, splits):
        trainer = train(training("last", steps=1), hooked(splits, self.at(1, signal.SIGTERM)))
        assert checkpoints(trainer) == ["step_00000001"]
