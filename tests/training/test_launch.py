"""What a recipe calls: it trains, draws and says where; what the user gave wrong ends it with one line."""

import os
import re
import signal
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import changed, contents, small_run

from unmelt import load_run
from unmelt.core import Shape
from unmelt.training import Trainer, launch
from unmelt.training.folder.records import read_metrics
from unmelt.training.loop.interrupts import STOPPED


@pytest.fixture
def recipe(tmp_path):
    """A run of two steps on the digits."""
    return changed(small_run(tmp_path / "runs"), steps=2, warmup=0, checkpoint_every=1000)


@pytest.fixture
def call(recipe, monkeypatch):
    def with_arguments(*arguments, recipe=recipe):
        monkeypatch.setattr(sys, "argv", ["recipe.py", *arguments])
        return launch(recipe, "A recipe.\n\nMore of it.")

    return with_arguments


class TestSuccess:
    @pytest.mark.full
    def test_it_trains_and_draws_and_says_where_and_goes_on(self, call, recipe, capsys):
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
        with pytest.raises(SystemExit, match=r"^error: .*exists and is not overwritten.*--resume"):
            call()
        assert call("--training.steps", "3", "--resume").progress.step == 3

    @pytest.mark.full
    def test_another_process_in_the_recipe_s_place(self, call, recipe):
        flags = ("--process", "VariancePreservingBlur(blur=PowerBlur(3.0))", "--process.blur.power", "2")
        flags += ("--prediction", "PredictX", "--sampler", "Multistep", "--grid", "UniformGrid(3)", "--name", "other")
        trainer = call(*flags)
        assert trainer.run.path == recipe.root / "other"
        assert load_run(trainer.run.path).config == trainer.config
        assert trainer.denoiser.process.agrees_with(trainer.config.process((1, 8, 8)))
        assert call(*flags, "--training.steps", "3", "--resume").progress.step == 3

    @pytest.mark.full
    def test_a_conditional_run(self, call):
        trainer = call("--network.classes", "10", "--pictures.guidance", "2", "--pictures.count", "12")
        assert trainer.denoiser.classes == 10
        for name in ("samples.png", "trajectory.gif"):
            with Image.open(trainer.run.path / name) as image:
                # Ten columns and two rows of images of 8 x 8 pixels, eight times enlarged, with gaps as wide.
                assert image.size == (10 * 72 + 8, 2 * 72 + 8)
        assert load_run(trainer.run.path).data().train.classes == 10

    def test_help_is_short_and_names_every_field(self, call, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as caught:
            call("--help")
        assert caught.value.code == 0
        printed = capsys.readouterr().out
        assert "A recipe. --resume [runs/NAME] goes on with a run under its stored settings" in printed
        assert "More of it" not in printed
        assert re.search(r"--training.precision +FLOAT32 +arithmetic of the network", printed)
        assert len(printed.splitlines()) < 70
        with pytest.raises(SystemExit):
            call("--training.precision.help")
        assert "FLOAT32 or BF16 or FP16" in capsys.readouterr().out


class TestResume:
    @pytest.mark.full
    def test_the_folder_is_enough_and_the_stored_settings_count(self, call, recipe):
        call("--network.channels", "8", "--training.seed", "7")
        # From a recipe that says otherwise.
        trainer = call("--resume", str(recipe.folder), "--training.steps", "3", recipe=changed(recipe, seed=1))
        assert (trainer.progress.step, trainer.config.training.seed) == (3, 7)
        assert trainer.config == changed(call("--resume", recipe=changed(recipe, log_every=2)).config, steps=3)
        assert load_run(recipe.folder).config.training.log_every == 1

    @pytest.mark.full
    def test_without_a_folder_it_starts_the_run_or_goes_on_with_it(self, call, recipe):
        assert call("--resume").progress.step == 2
        assert call("--resume", "--training.steps", "4").progress.step == 4
        assert [line["step"] for line in read_metrics(recipe.folder / "metrics.jsonl")] == [1, 2, 3, 4]

    @pytest.mark.full
    def test_flags_are_those_of_the_run_that_is_there_and_not_of_the_recipe(self, call, recipe):
        call("--process", "IsotropicDiffusion", "--prediction", "PredictX", "--sampler", "Posterior")
        # The recipe's own process has no such setting.
        with pytest.raises(SystemExit, match=r"^error: .*process.schedule"):
            call("--resume", "--process.schedule", "LinearSchedule", "--name=small")
        assert call("--resume", "--training.steps", "3").progress.step == 3

    @pytest.mark.full
    def test_a_run_that_was_moved_goes_on_where_it_is(self, call, recipe, monkeypatch):
        call()
        moved = recipe.root / "elsewhere" / "moved"
        moved.parent.mkdir()
        recipe.folder.rename(moved)
        trainer = call("--resume", str(moved), "--training.steps", "3")
        assert (trainer.run.path, trainer.progress.step) == (moved, 3)
        monkeypatch.chdir(moved)
        assert call("--resume", ".", "--training.steps", "4").run.path == moved
        assert not recipe.folder.exists()

    @pytest.mark.full
    def test_what_would_make_it_another_run_is_refused_with_the_difference(self, call, recipe):
        call()
        for flags, words in (
            (["--training.seed", "3"], r"training.seed: 0 stored, 3 given\): leave them out, .*--init-from"),
            (["--name", "other"], "goes on in its own folder"),
        ):
            with pytest.raises(SystemExit, match=f"^error: .*{words}"):
                call("--resume", str(recipe.folder), *flags)

    @pytest.mark.full
    def test_other_weights_to_begin_with(self, call, recipe):
        old = call()
        new = call("--init-from", str(old.run.path), "--name", "new", "--training.seed", "3", "--resume")
        assert new.run.load_manifest().content["begun_with"]["run"] == str(old.run.path)
        # The same command again goes on with it.
        again = call("--init-from", str(old.run.path), "--name", "new", "--training.seed", "3", "--resume")
        assert again.progress.step == 2

    @pytest.mark.full
    def test_a_dry_run_of_pictures_that_end_changes_no_manifest(self, call, recipe, tmp_path, monkeypatch):
        for number in range(12):
            pixels = np.full((8, 8), 20 * number, np.uint8)
            (tmp_path / "pictures").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
        flags = ("--data", "ImageFolder", "--data.folder", str(tmp_path / "pictures"), "--data.size", "8")
        run = call(*flags, "--training.steps", "1").run
        before = contents(run.path)
        monkeypatch.setattr("unmelt.training.dry_run._FEWEST", 8)
        monkeypatch.setattr("unmelt.training.dry_run._SECONDS", 0.1)
        for more in ((), ("--resume", str(run.path))):
            with pytest.raises(SystemExit) as caught:
                call(*flags, *more, "--dry-run")
            assert caught.value.code == 0
        assert contents(run.path) == before
        assert list(recipe.root.iterdir()) == [run.path]

    @pytest.mark.full
    def test_a_dry_run_writes_nothing(self, call, recipe, capsys, monkeypatch):
        monkeypatch.setattr("unmelt.training.dry_run._SECONDS", 0.1)
        with pytest.raises(SystemExit) as caught:
            call("--dry-run")
        assert caught.value.code == 0
        printed = capsys.readouterr().out
        for words in ("parameters", "GFLOP per image", "GiB at the peak", "images per second", "2 steps of 4 images"):
            assert words in printed
        assert not recipe.root.exists()


class Stopping(torch.nn.Module):
    """A network that sends this process a signal when it has been called some times."""

    def __init__(self, shape: Shape, calls: int = 3):
        super().__init__()
        self.scale, self.calls, self.count = torch.nn.Parameter(torch.ones(1)), calls, 0

    def forward(self, z, t, condition):
        self.count += self.training
        if self.count == self.calls:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.scale * z


def test_a_run_that_is_stopped_ends_with_a_status_of_its_own(call, recipe, capsys):
    with pytest.raises(SystemExit) as caught:
        call("--network", "test_launch.Stopping", "--training.steps", "50")
    assert caught.value.code == STOPPED == 75
    assert re.search(r"^stopped by SIGTERM after step \d; checkpoint written", capsys.readouterr().err, re.MULTILINE)
    assert not (recipe.folder / "samples.png").exists()


@pytest.mark.full
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"])
def test_a_run_that_is_stopped_while_it_starts_or_draws_says_so(call, recipe, capsys, monkeypatch, name):
    number = getattr(signal, name)

    def interrupted(*_):
        os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(type(recipe.data), "load", interrupted)
        with pytest.raises(SystemExit) as caught:
            call()
    assert caught.value.code == STOPPED
    assert capsys.readouterr().err == f"stopped by {name} before the first step; nothing was written\n"
    assert not recipe.folder.exists()
    with monkeypatch.context() as patch:
        # In the middle of sampling, which has an error of its own for it.
        patch.setattr(
            sys.modules["unmelt.training.launch"],
            "draw_pictures",
            lambda trainer, _: trainer.sampler.run(1, callback=interrupted),
        )
        with pytest.raises(SystemExit) as caught:
            call()
    assert caught.value.code == STOPPED
    said = f"stopped; the last checkpoint is whole: --resume {recipe.folder} goes on, or draws its pictures\n"
    assert capsys.readouterr().err.endswith(said)
    assert call("--resume").progress.step == 2
    assert (recipe.folder / "samples.png").is_file()


# What is typed, its exit status, and what the line says.
REFUSED = [
    # What the constructors refuse, before anything is made: the value, what is allowed, and what to do.
    ("--training.batch-size 0", 2, "--training.batch-size 0: batch_size must be at least 1, got 0"),
    ("--training.log-every 0", 2, "log_every must be at least 1, got 0"),
    ("--training.checkpoint-every 0", 2, "checkpoint_every must be at least 1, got 0"),
    ("--training.sample-every 0", 2, "sample_every must be at least 1, got 0"),
    ("--training.keep-checkpoints 0", 2, "keep_checkpoints must be at least 1, got 0"),
    ("--training.steps 0", 2, "steps must be at least 1, got 0"),
    ("--training.warmup -1", 2, "warmup must be at least 0, got -1"),
    ("--training.clip 0", 2, r"clip must lie in \(0, inf\].*got 0"),
    ("--training.ema-decay 1", 2, r"ema_decay must lie in \[0, 1\).*got 1"),
    ("--training.label-dropout 1", 2, r"label_dropout must lie in \[0, 1\).*got 1"),
    ("--training.precision int8", 2, "expected FLOAT32 or BF16 or FP16"),
    ("--training.stepz 5", 2, r"no setting 'stepz' \(did you mean steps\?\)"),
    ("--training.steps many", 2, "--training.steps many: expected int"),
    ("--prediction PredictNoise", 2, "there are PredictEpsilon, "),
    ("--process Pixelatoin", 2, r"no 'Pixelatoin' \(did you mean Pixelation\?\)"),
    ("--grid UniformGrid(0)", 2, "steps must be at least 1, got 0"),
    ("--pictures.count 0", 2, "count must be at least 1, got 0"),
    ("--pictures.guidance -1", 2, "guidance must be finite and at least 0.*got -1"),
    ("--sampler.reverse_std.delta -1", 2, "delta must be .*got -1"),
    ("--data ImageFolder", 2, "ImageFolder lacks folder"),
    (
        "--sampler Posterior(Deterministic(),ConstantStd(0.03))",
        2,
        "steps add no noise.*leave it out",
    ),
    # What turns out when it is all put together, before anything is written.
    ("--resume elsewhere", 1, "elsewhere holds no run"),
    ("--training.precision fp16", 1, "precision FP16 needs a GPU"),
    ("--name ../elsewhere", 2, "name must be that of a folder below root, got '../elsewhere'"),
    ("--name /elsewhere", 2, "name must be that of a folder below root"),
    ("--name .", 2, "name must be that of a folder below root"),
    ("--init-from", 2, "--init-from needs the folder of a run"),
    ("--init-from=", 2, "--init-from needs the folder of a run"),
    ("--resume=", 2, "--resume needs the folder of a run"),
    ("--data ImageFolder(folder='nowhere')", 1, r"no folder nowhere: .*--data\.folder PATH"),
    ("--data.low 2", 1, "low < high, got low = 2"),
    ("--data CIFAR10", 1, "CIFAR-10 is not on this machine.*--data PhotoCrops"),
    ("--training.batch-size 100000", 1, "1437 training images: lower it, --training.batch-size"),
    ("--prediction PredictEpsilon", 1, "PredictEpsilon cannot be converted stably by HeatDissipation.*PredictX"),
    ("--network.multipliers (1,2,2,2,2)", 1, "multiples of 16, got 8 x 8"),
    ("--process Pixelation", 1, "PredictPreviousLevel needs to know the levels"),
    ("--process.levels 1", 1, "levels must be at least 2"),
    ("--times LevelTimes --process IsotropicDiffusion --prediction PredictX", 1, "LevelTimes.* levels"),
    ("--weighting EDMWeighting --process.blur_sigma_max 24", 1, "EDMWeighting multiplies the error of"),
    ("--prior StandardNormalPrior.fit", 1, "does not end in standard normal"),
    ("--optimizer.lr -1", 1, "Invalid learning rate: -1"),
    ("--optimizer LBFGS", 1, "LBFGS.* cannot take a step of training .*closure.*AdamW"),
    ("--optimizer SparseAdam", 1, "SparseAdam.* cannot take a step of training .*dense gradients"),
    ("--pictures.guidance 2", 1, "guidance=2.* train it with --network.classes"),
    (
        "--network.classes 10 --training.label-dropout 0 --pictures.guidance 2",
        1,
        "trained without labels.*dropout 0.1",
    ),
    ("--network.classes 10 --data PhotoCrops", 1, r"10 classes, .*PhotoCrops\(.*no labels"),
    ("--network.classes 9", 1, "9 classes, .*Digits.*10 classes"),
]


@pytest.mark.parametrize(("typed", "status", "words"), REFUSED, ids=[typed for typed, _, _ in REFUSED])
def test_what_the_user_gave_wrong_is_one_line_before_anything_is_written(
    call, recipe, capsys, monkeypatch, typed, status, words
):
    if "PhotoCrops" in typed:
        from unmelt.training.data import PhotoCrops  # noqa: PLC0415

        monkeypatch.setattr(PhotoCrops, "_crops", lambda *_: torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(SystemExit) as caught:
        call(*typed.split())
    # A status of its own, or a message, with which Python ends in status 1.
    said = capsys.readouterr().err if status == 2 else str(caught.value.code)
    assert (caught.value.code == 2) == (status == 2)
    assert re.search(f"^error: .*{words}", said, re.MULTILINE | re.DOTALL), said
    assert "CIFAR10" in typed or said.strip().count("\n") == 0
    assert not recipe.folder.exists()


class Broken(torch.nn.Module):
    """A network with a mistake in it."""

    def __init__(self, shape: Shape, depth: int = 1):
        super().__init__()
        self.layers = [None for _ in depth]


def test_a_mistake_in_a_class_of_the_user_s_shows_its_place(call, recipe):
    with pytest.raises(TypeError, match="not iterable") as caught:
        call("--network", "test_launch.Broken")
    assert caught.traceback[-1].path.name == "test_launch.py"
    assert not recipe.folder.exists()


def test_a_run_that_diverges_draws_nothing(call, recipe):
    with pytest.raises(SystemExit, match=r"^error: the training gradient norm was (nan|inf)"):
        call("--optimizer.lr", "1e39", "--training.steps", "4")
    assert not (recipe.folder / "samples.png").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes with a GPU each do know of each other")
def test_processes_that_do_not_know_of_each_other(call, recipe, monkeypatch):
    # As mpirun and Slurm say it; with what torchrun adds, a process would wait here for the other.
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match=r"^error: 2 processes were started.*--training\.cpu"):
        call("--training.no-cpu")
    # Each of them would have made it.
    assert not recipe.folder.exists()
