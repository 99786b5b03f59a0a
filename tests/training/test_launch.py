"""What a recipe calls: it trains, draws and says where; what the user gave wrong ends it with one message."""

import dataclasses
import re
import sys

import pytest
import torch
from PIL import Image

from unmelt.training import (
    CustomConfig,
    DataConfig,
    DataSource,
    Trainer,
    TrainingConfig,
    launch,
)
from unmelt.training.config import config_from_json


@pytest.fixture
def recipe(config):
    """A run of two steps on the digits."""
    return dataclasses.replace(
        config,
        data=DataConfig(DataSource.DIGITS),
        training=TrainingConfig(steps=2, batch_size=4, log_every=1, cpu=True),
    )


@pytest.fixture
def call(recipe, monkeypatch):
    def with_arguments(*arguments):
        monkeypatch.setattr(sys, "argv", ["recipe.py", *arguments])
        return launch(recipe, "A recipe.")

    return with_arguments


class TestSuccess:
    def test_it_trains_and_draws_and_says_where(self, call, recipe, capsys):
        trainer = call()
        assert isinstance(trainer, Trainer)
        assert trainer.progress.step == 2
        printed = capsys.readouterr().out
        for name in ("samples.png", "forward.png", "trajectory.gif", "loss.png"):
            path = recipe.folder / name
            assert str(path) in printed
            with Image.open(path) as image:
                image.load()
        with Image.open(recipe.folder / "trajectory.gif") as image:
            # Eight levels are nine states.
            assert image.n_frames == 9
            assert image.info["loop"] == 0

    def test_the_command_line_changes_the_recipe(self, call, recipe):
        trainer = call("--training.steps", "1", "--name", "other")
        assert trainer.progress.step == 1
        assert trainer.run.folder == recipe.root / "other"

    @pytest.mark.parametrize("name", ["Pixelation", "VariancePreservingBlur(blur=PowerBlur(3.0))"])
    def test_another_family_in_the_recipe_s_place(self, call, name):
        trainer = call("--degradation", name, "--prediction", "x", "--sampling.steps", "3")
        assert type(trainer.denoiser.process).__name__ == name.partition("(")[0]
        assert config_from_json(trainer.run.config.read_text()).process == CustomConfig(target=name)
        assert (
            call(
                "--degradation", name, "--prediction", "x", "--sampling.steps", "3", "--training.steps", "3", "--resume"
            ).progress.step
            == 3
        )

    def test_a_run_goes_on_where_it_was(self, call):
        call()
        assert call("--training.steps", "3", "--resume").progress.step == 3


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--resume"], "error: .* holds no run to resume"),
            (["--data.source", "folder"], r"error: .*add --data\.folder PATH"),
            (["--data.source", "folder", "--data.folder", "nowhere"], "error: no folder nowhere"),
            (["--data.source", "cifar10"], "error: CIFAR-10 is not on this machine"),
            (["--training.batch-size", "100000"], "error: batch_size=100000 exceeds the 1437"),
            (["--prediction", "epsilon"], "error: PredictEpsilon cannot be converted stably"),
            (["--network.multipliers", "1", "2", "2", "2", "2"], "error: .*multiples of 16, got 8 x 8"),
            (["--degradation", "Pixelatoin"], "error: no process called 'Pixelatoin': the families are"),
            (
                ["--degradation", "HeatDissipation", "--process.levels", "9"],
                r"error: --process.* are settings of the recipe's own process.*'HeatDissipation\(NAME=VALUE\)'",
            ),
            (["--degradation", "Pixelation"], "error: PredictPreviousLevel needs to know the levels.*predict x"),
            (["--process.levels", "1"], "error: levels must be at least 2"),
            (["--data.low", "2"], "error: data_range must rise"),
            (["--optimizer.ema-decay", "1"], r"error: decay must lie in \[0, 1\)"),
            # What is wrong with the sampler is known before training, not after it.
            (["--sampling.steps", "0"], "error: steps must be at least 1, got 0"),
            (["--sampling.count", "0"], "error: count must be at least 1, got 0"),
            (["--sampling.delta", "-1"], "error: delta must be a standard deviation >= 0 in the data's units, got -1"),
            (["--sampling.coupling", "deterministic"], "error: Deterministic steps add no noise, got delta=0.03"),
            (["--training.batch-size", "0"], "error: .*batch.size.*0"),
            (["--training.log-every", "0"], "error: .*log.every.*0"),
            (["--training.checkpoint-every", "0"], "error: .*checkpoint.every.*0"),
            (["--training.sample-every", "0"], "error: .*sample.every.*0"),
            (["--training.keep-checkpoints", "0"], "error: .*keep.checkpoints.*0"),
            (["--training.steps", "0"], "error: .*steps.*0"),
        ],
    )
    def test_what_the_user_gave_wrong_is_one_message_before_anything_is_written(self, call, recipe, arguments, words):
        with pytest.raises(SystemExit) as caught:
            call(*arguments)
        assert re.match(words, str(caught.value.code))
        assert not recipe.folder.exists()

    def test_an_existing_run(self, call):
        call()
        with pytest.raises(SystemExit, match=r"^error: .*exists and is not overwritten.*--resume"):
            call()

    def test_a_run_that_diverges(self, call, recipe):
        with pytest.raises(SystemExit, match=r"^error: the training loss became (nan|inf)"):
            call("--optimizer.learning-rate", "1e39")
        assert not (recipe.folder / "samples.png").exists()

    def test_processes_that_do_not_know_of_each_other(self, call, recipe, monkeypatch):
        if torch.cuda.is_available():
            pytest.skip("two processes with a GPU each do know of each other")
        # As mpirun and Slurm say it; with what torchrun adds, a process would wait here for the other.
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(SystemExit, match=r"^error: 2 processes were started.*--training\.cpu"):
            call("--training.no-cpu")
        assert not recipe.folder.exists()
