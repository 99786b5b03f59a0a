"""The training loop: resumed runs equal straight ones bit for bit, and what goes wrong is said and harms nothing."""

import dataclasses
import itertools
import json
import math
import os
import signal
import sys

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file

from unmelt.training import (
    CustomConfig,
    DataRange,
    Images,
    ImageSplits,
    Precision,
    PredictionKind,
    Trainer,
)
from unmelt.training.checkpoints import list_checkpoints
from unmelt.training.records import read_metrics
from unmelt.training.trainer import learning_rate_factor


def train(config, splits, *, resume=False):
    """Train as a program of its own does: with a fresh accelerate, and random generators in a state of their own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.manual_seed(os.urandom(4)[0])
    np.random.seed(os.urandom(4)[0])  # noqa: NPY002
    trainer = Trainer(config, splits, resume=resume)
    trainer.train()
    return trainer


def parameters(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def assert_identical(ours, theirs):
    """Compare nested states bit for bit."""
    assert type(ours) is type(theirs)
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_identical(ours[key], theirs[key])
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_identical(a, b)
    else:
        assert ours == theirs


def assert_same_run(one, other):
    assert_identical(parameters(one.denoiser), parameters(other.denoiser))
    assert_identical(one.ema.state_dict(), other.ema.state_dict())
    assert_identical(one.optimizer.state_dict(), other.optimizer.state_dict())
    assert_identical(one.scheduler.state_dict(), other.scheduler.state_dict())
    assert_identical(one.progress.state_dict(), other.progress.state_dict())
    assert losses(one) == losses(other)


def losses(trainer):
    """Return what a run recorded of its steps, without how fast they were."""
    return [
        {name: value for name, value in line.items() if name != "images_per_second"}
        for line in read_metrics(trainer.run.metrics)
    ]


class Hooked(Images):
    """Images that call something when a batch is drawn, and remember which were drawn."""

    def __init__(self, values, hook=lambda _batch: None):
        super().__init__(values)
        self.hook, self.drawn = hook, []

    def __getitems__(self, indices):
        self.drawn.append(list(indices))
        self.hook(len(self.drawn))
        return super().__getitems__(indices)


@pytest.fixture
def straight(training, splits):
    """Return a run of eight steps, across the end of the first pass, that nothing stopped."""
    hooked = ImageSplits(Hooked(splits.train.values), splits.test)
    return train(training("straight", steps=8), hooked)


class TestResume:
    # Five batches make a pass: a stop in the middle, one before the end of the pass, at its very end, and after it.
    @pytest.mark.parametrize("stop", [1, 3, 4, 5, 6])
    def test_a_resumed_run_equals_a_straight_one(self, training, splits, straight, stop):
        train(training("broken", steps=stop), splits)
        hooked = ImageSplits(Hooked(splits.train.values), splits.test)
        resumed = train(training("broken", steps=8), hooked, resume=True)
        assert_same_run(resumed, straight)
        # The batches go on where they were; the loader may have fetched some ahead of the steps.
        assert hooked.train.drawn[: 8 - stop] == straight.data.train.drawn[stop:8]

    def test_resuming_twice_equals_a_straight_run(self, training, splits, straight):
        train(training("broken", steps=2), splits)
        train(training("broken", steps=4), splits, resume=True)
        assert_same_run(train(training("broken", steps=8), splits, resume=True), straight)

    def test_batches_differ_from_pass_to_pass_and_cover_each(self, straight):
        first, second = straight.data.train.drawn[:5], straight.data.train.drawn[5:8]
        assert len({i for batch in first for i in batch}) == 20
        assert first[:3] != second

    def test_another_seed_is_another_run(self, training, splits, straight):
        other = train(training("other", steps=8, seed=1), splits)
        assert losses(other)[0]["loss"] != losses(straight)[0]["loss"]

    def test_the_same_seed_is_the_same_run(self, training, splits, straight):
        assert_same_run(train(training("again", steps=8), splits), straight)

    def test_drawing_samples_on_the_way_changes_nothing(self, training, splits, straight):
        sampled = train(training("sampled", steps=8, sample_every=2), splits)
        assert_same_run(sampled, straight)
        assert sorted(path.name for path in sampled.run.samples.iterdir()) == [
            f"step_{step:08d}.png" for step in (2, 4, 6)
        ]
        for path in sampled.run.samples.iterdir():
            with Image.open(path) as image:
                image.load()

    def test_writing_checkpoints_on_the_way_changes_nothing(self, training, splits, straight):
        assert_same_run(train(training("saved", steps=8, checkpoint_every=1), splits), straight)

    def test_a_finished_run_stays_as_it_is(self, training, splits, straight):
        again = train(training("straight", steps=8), splits, resume=True)
        assert_same_run(again, straight)

    def test_records_of_a_stretch_that_is_repeated_are_dropped(self, training, splits, straight):
        trainer = train(training("broken", steps=8), splits)
        newest = list_checkpoints(trainer.run.checkpoints)[-1]
        assert newest.name == "step_00000008"
        # A crash after step 8's records and before its checkpoint, in the middle of writing a line.
        for file in sorted(newest.rglob("*"), reverse=True):
            file.unlink()
        newest.rmdir()
        with trainer.run.metrics.open("a") as lines:
            lines.write('{"step": 9, "lo')
        assert_same_run(train(training("broken", steps=8), splits, resume=True), straight)

    def test_there_is_nothing_to_resume(self, training, splits):
        with pytest.raises(FileNotFoundError, match="holds no run to resume.*leave out --resume"):
            Trainer(training("none"), splits, resume=True)
        assert not training("none").folder.exists()

    def test_there_is_no_checkpoint_yet(self, training, splits):
        Trainer(training("begun"), splits)
        with pytest.raises(FileNotFoundError, match="no checkpoint under .*begun.*another --name"):
            Trainer(training("begun"), splits, resume=True)


class TestSteps:
    def test_the_learning_rate_warms_up_linearly_and_stays(self, config):
        optimizer = dataclasses.replace(config.optimizer, warmup=4)
        factors = [learning_rate_factor(step, 100, optimizer) for step in range(7)]
        assert factors == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0])
        assert learning_rate_factor(10**6, 100, optimizer) == 1.0

    @pytest.mark.parametrize("warmup", [0, 1])
    def test_no_warm_up_starts_at_the_peak(self, config, warmup):
        assert learning_rate_factor(0, 100, dataclasses.replace(config.optimizer, warmup=warmup)) == 1.0

    def test_the_cosine_falls_to_a_hundredth(self, config):
        optimizer = dataclasses.replace(config.optimizer, warmup=1, cosine_decay=True)
        factors = [learning_rate_factor(step, 100, optimizer) for step in range(101)]
        assert factors[0] == pytest.approx(1.0)
        assert factors[50] == pytest.approx((1 + 0.01) / 2)
        assert factors[100] == pytest.approx(0.01)
        assert all(a > b for a, b in itertools.pairwise(factors))
        assert learning_rate_factor(500, 100, optimizer) == pytest.approx(0.01)

    def test_the_first_steps_are_as_long_as_the_warm_up_says(self, training, splits):
        # Adam's first step moves a parameter by the learning rate, whatever its gradient: here a quarter of 1e-2.
        # 1e-8 in its denominator and float32 rounding take less than a thousandth of that from the largest.
        trainer = Trainer(training(steps=1), splits)
        before = parameters(trainer.denoiser)
        trainer.train()
        after = parameters(trainer.denoiser)
        longest = max((after[name] - before[name]).abs().max().item() for name in before)
        assert longest == pytest.approx(1e-2 / 4, rel=1e-3)

    def test_records_hold_every_step_and_its_numbers(self, training, splits):
        trainer = train(training(steps=6, log_every=2), splits)
        lines = read_metrics(trainer.run.metrics)
        assert [line["step"] for line in lines] == [2, 4, 6]
        for line in lines:
            assert line.keys() == {"step", "loss", "gradient_norm", "images_per_second", "learning_rate"}
            assert all(math.isfinite(value) and value > 0 for value in line.values())
        assert list(trainer.run.tensorboard.iterdir())

    def test_a_line_is_the_mean_over_its_steps(self, training, splits):
        each = losses(train(training("each", steps=6), splits))
        pairs = losses(train(training("pairs", steps=6, log_every=2), splits))
        for i, line in enumerate(pairs):
            for name in ("loss", "gradient_norm"):
                # Sums of two float32 numbers.
                assert line[name] == pytest.approx((each[2 * i][name] + each[2 * i + 1][name]) / 2, rel=1e-6)

    def test_the_last_step_is_recorded_and_saved_whatever_the_intervals(self, training, splits):
        trainer = train(training(steps=5, log_every=3, checkpoint_every=3), splits)
        assert [line["step"] for line in read_metrics(trainer.run.metrics)] == [3, 5]
        assert [path.name for path in list_checkpoints(trainer.run.checkpoints)] == ["step_00000003", "step_00000005"]

    def test_training_lowers_the_loss(self, training, splits):
        lines = losses(train(training(steps=150, batch_size=20, log_every=50, checkpoint_every=1000), splits))
        assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]

    def test_bf16_trains_float32_parameters(self, training, splits):
        trainer = train(training(precision=Precision.BF16, steps=2), splits)
        exact = train(training("exact", steps=2), splits)
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in trainer.denoiser.parameters())
        # The network is rounded to 8 bits, and nothing else: its losses stay within a few per cent, but not equal.
        for ours, theirs in zip(losses(trainer), losses(exact), strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.05)
        assert losses(trainer) != losses(exact)

    @pytest.mark.slow
    def test_a_compiled_run_is_resumed_without_compiling_and_the_other_way_round(self, training, splits, straight):
        import jaxtyping  # noqa: PLC0415

        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            compiled = train(training("compiled", steps=8, compile=True), splits)
        finally:
            jaxtyping.config.update("jaxtyping_disable", False)
        for ours, theirs in zip(losses(compiled), losses(straight), strict=True):
            # Generated kernels draw other dropout, a fifth of the features of two blocks.
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.5)
        assert list(compiled.ema.state_dict()) == list(straight.ema.state_dict())
        assert [name for name, _ in compiled.denoiser.named_parameters()] == list(parameters(straight.denoiser))


class TestCheckpoints:
    def test_trained_and_averaged_weights_are_both_there_and_each_right(self, training, splits):
        # Released code wrote checkpoints while the averaged weights were swapped in for the trained ones.
        trainer = train(training(steps=4, checkpoint_every=1), splits)
        folders = list_checkpoints(trainer.run.checkpoints)
        trained = [load_file(folder / "model.safetensors") for folder in folders]
        averaged = [torch.load(folder / "custom_checkpoint_0.pkl", weights_only=False) for folder in folders]
        names = list(parameters(trainer.denoiser))
        for name in names:
            assert torch.equal(trained[-1][f"denoiser.{name}"], trainer.denoiser.get_parameter(name))
            assert torch.equal(averaged[-1][f"model.{name}"], trainer.ema.model.get_parameter(name))
            for n in range(1, 4):
                # What the average was, moved towards what was trained.
                old, new = averaged[n - 1][f"model.{name}"], trained[n][f"denoiser.{name}"]
                decay = min(0.9, (1 + n) / (10 + n))
                torch.testing.assert_close(averaged[n][f"model.{name}"], decay * old + (1 - decay) * new)
        assert any(not torch.equal(trained[-1][f"denoiser.{name}"], averaged[-1][f"model.{name}"]) for name in names)

    def test_training_goes_on_from_the_trained_weights(self, training, splits):
        trainer = train(training(steps=3), splits)
        again = Trainer(training(steps=6), splits, resume=True)
        assert_identical(parameters(again.denoiser), parameters(trainer.denoiser))
        assert_identical(parameters(again.ema.model), parameters(trainer.ema.model))

    def test_the_state_of_every_random_generator_is_in_it(self, training, splits):
        trainer = train(training(steps=3), splits)
        (folder,) = list_checkpoints(trainer.run.checkpoints)
        (file,) = folder.glob("random_states_*.pkl")
        states = torch.load(file, weights_only=False)
        assert states["step"] is not None
        assert torch.equal(states["torch_manual_seed"], torch.get_rng_state())
        assert {"random_state", "numpy_random_seed"} <= states.keys()

    def test_as_many_as_asked_for_are_kept(self, training, splits):
        trainer = train(training(steps=5, checkpoint_every=1, keep_checkpoints=2), splits)
        assert [path.name for path in list_checkpoints(trainer.run.checkpoints)] == ["step_00000004", "step_00000005"]
        assert len(list(trainer.run.checkpoints.iterdir())) == 2


class TestDivergence:
    def test_a_loss_that_overflows_is_an_error_that_names_the_step(self, training, splits):
        wide = ImageSplits(Images(splits.train.values, data_range=DataRange(0.0, 1e30)), splits.test)
        config = training(checkpoint_every=1)
        with pytest.raises(FloatingPointError, match=r"loss became (nan|inf) at or before step 1\b.*learning rate"):
            train(config, wide)
        assert not list_checkpoints(config.folder / "checkpoints")

    @pytest.mark.parametrize("log_every", [1, 1000])
    def test_nothing_is_saved_after_a_diverged_step(self, config, training, splits, log_every):
        # The second step meets parameters of 1e39 in float32, which is infinite.
        config = dataclasses.replace(
            training(log_every=log_every, checkpoint_every=2, steps=10),
            optimizer=dataclasses.replace(config.optimizer, learning_rate=1e39, warmup=1),
        )
        with pytest.raises(FloatingPointError, match=r"loss became (nan|inf) at or before step 2\b"):
            train(config, splits)
        assert not list_checkpoints(config.folder / "checkpoints")
        # Every line is JSON with finite numbers, which NaN would not be.
        text = (config.folder / "metrics.jsonl").read_text()
        assert "NaN" not in text
        assert "Infinity" not in text

    def test_no_checkpoint_holds_parameters_that_are_not_finite(self, config, training, splits):
        # The first step's loss is finite and its update is not: a checkpoint of it could never be resumed.
        config = dataclasses.replace(
            training(checkpoint_every=1, steps=10),
            optimizer=dataclasses.replace(config.optimizer, learning_rate=1e39, warmup=1),
        )
        with pytest.raises(FloatingPointError, match="at or before step"):
            train(config, splits)
        for folder in list_checkpoints(config.folder / "checkpoints"):
            assert all(tensor.isfinite().all() for tensor in load_file(folder / "model.safetensors").values())


class TestInterrupts:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_stops_the_run_after_a_checkpoint_and_it_goes_on_as_if_never_stopped(
        self, training, splits, straight, number
    ):
        def interrupt(batches):
            if batches == 3:
                os.kill(os.getpid(), number)

        before = signal.getsignal(number)
        hooked = ImageSplits(Hooked(splits.train.values, interrupt), splits.test)
        config = training("stopped", steps=8, checkpoint_every=1000)
        # The loader is at most one batch ahead of the steps.
        with pytest.raises(
            KeyboardInterrupt, match=rf"stopped by {number.name} after step [23]; checkpoint written.*--resume"
        ):
            train(config, hooked)
        assert signal.getsignal(number) is before
        (checkpoint,) = list_checkpoints(config.folder / "checkpoints")
        assert checkpoint.name in {"step_00000002", "step_00000003"}
        assert_same_run(train(config, splits, resume=True), straight)

    def test_a_second_interrupt_stops_at_once(self, training, splits):
        def interrupt(batches):
            if batches == 3:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

        config = training("impatient", checkpoint_every=1000)
        hooked = ImageSplits(Hooked(splits.train.values, interrupt), splits.test)
        with pytest.raises(KeyboardInterrupt) as caught:
            train(config, hooked)
        assert str(caught.value) == "stopped at once by a second Ctrl-C, without a checkpoint of this step"
        assert not list_checkpoints(config.folder / "checkpoints")

    def test_a_signal_in_the_last_step_lets_the_run_end(self, training, splits):
        def interrupt(batches):
            if batches == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        hooked = ImageSplits(Hooked(splits.train.values, interrupt), splits.test)
        trainer = train(training("last", steps=1), hooked)
        assert [path.name for path in list_checkpoints(trainer.run.checkpoints)] == ["step_00000001"]


class TestRefusals:
    def test_a_batch_larger_than_the_data(self, training, splits):
        config = training(batch_size=23)
        with pytest.raises(ValueError, match="batch_size=23 exceeds the 22 training images"):
            Trainer(config, splits)
        assert not config.folder.exists()

    @pytest.mark.skipif(torch.cuda.is_available(), reason="two processes with a GPU each do know of each other")
    def test_processes_that_do_not_know_of_each_other(self, training, splits, monkeypatch):
        # As mpirun and Slurm say it; with what torchrun adds, a process would wait here for the other.
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        monkeypatch.setenv("WORLD_SIZE", "2")
        config = training(cpu=False)
        with pytest.raises(RuntimeError, match=r"2 processes were started.*--training\.cpu"):
            Trainer(config, splits)
        # Each of them would have made it.
        assert not config.folder.exists()

    def test_a_prediction_that_the_process_cannot_convert(self, config, splits):
        config = dataclasses.replace(config, prediction=PredictionKind.EPSILON)
        with pytest.raises(ValueError, match=r"PredictEpsilon cannot be converted stably by HeatDissipation.*PredictX"):
            Trainer(config, splits)
        assert not config.folder.exists()


FOG = """
from unmelt.degradations import CosineBasis, LinearGaussianProcess


class Fog(LinearGaussianProcess):
    def __init__(self, shape):
        super().__init__(CosineBasis(shape))

    def log_alpha(self, t):
        return -8 * t

    def log_sigma(self, t):
        return -4 * (1 - t)


class Clearing(Fog):
    def log_alpha(self, t):
        return 9 * t


class Needy:
    def __init__(self, shape, density):
        pass
"""


class TestOwnProcesses:
    @pytest.fixture(autouse=True)
    def module(self, tmp_path, monkeypatch):
        (tmp_path / "fog_of_a_user.py").write_text(FOG)
        monkeypatch.syspath_prepend(tmp_path)

    def test_a_class_of_the_user_s_own_trains_and_samples_unchanged(self, config, training, splits):
        config = dataclasses.replace(
            training(steps=2, sample_every=1),
            process=CustomConfig(target="fog_of_a_user:Fog"),
            prediction=PredictionKind.X,
        )
        trainer = train(config, splits)
        assert type(trainer.denoiser.process).__name__ == "Fog"
        assert [line["step"] for line in read_metrics(trainer.run.metrics)] == [1, 2]
        assert (trainer.run.samples / "step_00000001.png").is_file()
        assert json.loads(trainer.run.config.read_text())["process"] == {
            "family": "custom",
            "target": "fog_of_a_user:Fog",
        }

    def test_a_class_that_was_edited_since_is_another_process(self, config, training, splits, tmp_path):
        config = dataclasses.replace(
            training(steps=1), process=CustomConfig(target="fog_of_a_user:Fog"), prediction=PredictionKind.X
        )
        train(config, splits)
        longer = dataclasses.replace(config, training=dataclasses.replace(config.training, steps=2))
        sys.modules["fog_of_a_user"].Fog.log_sigma = lambda self, t: -4.001 * (1 - t)
        with pytest.raises(ValueError, match="other coefficients than Fog gives now.*restore it"):
            Trainer(longer, splits, resume=True)
        del sys.modules["fog_of_a_user"]
        assert Trainer(longer, splits, resume=True).progress.step == 1

    def test_a_rising_log_snr_is_told_before_training(self):
        with pytest.raises(
            ValueError, match="fog_of_a_user:Clearing is no forward process: the log-SNR rises.*check_process"
        ):
            CustomConfig(target="fog_of_a_user:Clearing").build((1, 4, 4))

    @pytest.mark.parametrize(
        ("target", "words"),
        [
            ("no_such_module:Fog", "no process called 'no_such_module:Fog'.*module:Class"),
            ("fog_of_a_user:Mist", "no process called 'fog_of_a_user:Mist'.*module:Class"),
            ("fog_of_a_user", "no process called 'fog_of_a_user'.*module:Class"),
            (":Fog", "no process called ':Fog'.*module:Class"),
            ("builtins:list", "builtins:list makes a list, not a LinearGaussianProcess"),
        ],
    )
    def test_a_target_that_is_no_process(self, target, words):
        with pytest.raises(ValueError, match=words):
            CustomConfig(target=target).build((1, 4, 4))
