"""A run's folder: never overwritten, resumed only as what it was, and with a manifest of what a reader must know."""

import dataclasses
import json
import platform
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import accelerate
import pytest
import torch

import unmelt
from unmelt.training import (
    HeatConfig,
    Images,
    ImageSplits,
    IsotropicConfig,
    PredictionKind,
    RunFolder,
    Trainer,
)
from unmelt.training.config import config_from_json


def contents(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


@pytest.fixture
def finished(training, splits):
    """Return the folder of a run of two steps."""
    return Trainer(training(steps=2), splits).train()


class TestStart:
    def test_an_existing_run_is_refused_and_untouched(self, finished, training, splits):
        before = contents(finished.folder)
        with pytest.raises(FileExistsError, match=r"small exists and is not overwritten.*--resume.*--name"):
            Trainer(training(steps=2), splits)
        assert contents(finished.folder) == before

    def test_any_existing_folder_is_refused_and_untouched(self, training, splits):
        folder = training().folder
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="not overwritten"):
            Trainer(training(), splits)
        assert contents(folder) == {Path("notes.txt"): b"mine"}

    def test_it_holds_what_it_says(self, finished):
        names = {path.name for path in finished.folder.iterdir()}
        assert names == {
            "config.json",
            "manifest.json",
            "prior.pt",
            "checkpoints",
            "metrics.jsonl",
            "tensorboard",
            "samples",
        }

    def test_its_configuration_is_the_run_s(self, finished, training):
        assert finished.load_config() == training(steps=2)
        assert config_from_json(finished.config.read_text()) == training(steps=2)


class TestResume:
    @pytest.mark.parametrize(
        ("group", "changes", "words"),
        [
            ("optimizer", {"learning_rate": 0.5}, "optimizer.learning_rate: 0.01 stored, 0.5 given"),
            ("optimizer", {"ema_decay": 0.5}, "optimizer.ema_decay: 0.9 stored, 0.5 given"),
            ("process", {"sigma": 0.5}, "process.sigma: 0.03 stored, 0.5 given"),
            ("network", {"blocks": 2}, "network.blocks: 1 stored, 2 given"),
            ("data", {"flip": False}, "data.flip: True stored, False given"),
            ("training", {"batch_size": 2}, "training.batch_size: 4 stored, 2 given"),
            ("training", {"seed": 1}, "training.seed: 0 stored, 1 given"),
            ("training", {"steps": 1}, "training.steps: 2 stored, 1 given"),
        ],
    )
    def test_another_setting_is_refused_by_name_and_changes_nothing(
        self, finished, training, splits, group, changes, words
    ):
        before = contents(finished.folder)
        config = training(steps=2)
        config = dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **changes)})
        with pytest.raises(ValueError, match="was trained under other settings") as caught:
            Trainer(config, splits, resume=True)
        assert words in str(caught.value)
        # That setting alone.
        assert str(caught.value).count("stored, ") == 1
        assert contents(finished.folder) == before

    def test_another_prediction_or_process_is_refused_by_name(self, finished, training, splits):
        config = training(steps=2)
        with pytest.raises(ValueError, match="prediction: .*less-degraded.* stored, .*v.* given"):
            Trainer(dataclasses.replace(config, prediction=PredictionKind.V), splits, resume=True)
        other = dataclasses.replace(config, process=IsotropicConfig(), prediction=PredictionKind.X)
        with pytest.raises(ValueError, match="process.family: 'heat' stored, 'isotropic' given"):
            Trainer(other, splits, resume=True)

    def test_every_difference_is_named(self, finished, training, splits):
        config = dataclasses.replace(training(steps=2, seed=3), process=HeatConfig(levels=5))
        with pytest.raises(ValueError, match="other settings") as caught:
            Trainer(config, splits, resume=True)
        for name in ("training.seed", "process.levels", "process.sigma", "process.blur_sigma_max"):
            assert name in str(caught.value)

    def test_more_steps_and_other_reports_are_no_other_run(self, finished, training, splits):
        config = training(steps=4, log_every=2, checkpoint_every=1, keep_checkpoints=1, sample_every=3, workers=0)
        config = dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, seed=5, count=1))
        folder = Trainer(config, splits, resume=True).train()
        assert folder.load_config() == config
        assert [path.name for path in folder.checkpoints.iterdir()] == ["step_00000004"]

    def test_a_decaying_learning_rate_is_laid_out_for_its_steps(self, config, splits):
        config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, cosine_decay=True))
        Trainer(config, splits).train()
        longer = dataclasses.replace(config, training=dataclasses.replace(config.training, steps=9))
        with pytest.raises(ValueError, match="training.steps: 6 stored, 9 given"):
            Trainer(longer, splits, resume=True)

    def test_a_run_that_was_moved_goes_on(self, finished, training, splits):
        config = dataclasses.replace(training(steps=3), root=finished.folder.parent / "other", name="moved")
        config.root.mkdir()
        finished.folder.rename(config.folder)
        assert Trainer(config, splits, resume=True).progress.step == 2

    def test_other_data_under_the_same_name_is_refused(self, finished, training, splits):
        # A folder whose images were replaced: the batches would be others, and the manifest would lie.
        other = ImageSplits(Images(255 - splits.train.values), splits.test)
        with pytest.raises(ValueError, match="data"):
            Trainer(training(steps=3), other, resume=True)

    def test_a_failed_resume_leaves_the_stored_configuration(self, finished, training, splits):
        shutil.rmtree(finished.checkpoints)
        finished.checkpoints.mkdir()
        before = finished.config.read_bytes()
        with pytest.raises(FileNotFoundError, match="no checkpoint"):
            Trainer(training(steps=4), splits, resume=True)
        assert finished.config.read_bytes() == before

    def test_a_configuration_of_another_version_is_refused(self, finished, training, splits):
        stored = json.loads(finished.config.read_text())
        stored["training"]["steppes"] = 3
        finished.config.write_text(json.dumps(stored))
        with pytest.raises(ValueError, match="steppes"):
            Trainer(training(steps=2), splits, resume=True)


class TestManifest:
    def test_it_says_what_a_reader_must_know(self, training, splits):
        trainer = Trainer(training(steps=1), splits)
        manifest = json.loads(trainer.run.manifest.read_text())
        assert manifest["unmelt"] == unmelt.__version__
        assert manifest["python"] == platform.python_version()
        assert manifest["torch"] == version("torch")
        assert manifest["numpy"] == version("numpy")
        assert manifest["accelerate"] == accelerate.__version__
        assert manifest["parameters"] == sum(p.numel() for p in trainer.denoiser.parameters())
        assert manifest["data"] == {
            "train": {"images": 22, "sha256": splits.train.fingerprint()},
            "test": {"images": 6, "sha256": splits.test.fingerprint()},
            "shape": [1, 4, 4],
            "levels": 256,
            "range": [0.0, 1.0],
        }
        age = datetime.now(UTC) - datetime.fromisoformat(manifest["started"])
        assert timedelta(seconds=-1) <= age < timedelta(minutes=10)
        assert manifest["command"]
        assert manifest["device"]

    def test_the_range_is_the_data_s(self, training, splits):
        wide = ImageSplits(
            Images(splits.train.values, data_range=splits.train.data_range._replace(low=-1.0)), splits.test
        )
        trainer = Trainer(training(steps=1), wide)
        assert json.loads(trainer.run.manifest.read_text())["data"]["range"] == [-1.0, 1.0]

    def test_the_commit_is_that_of_the_code_that_runs(self, training, splits):
        commit = json.loads(Trainer(training(steps=1), splits).run.manifest.read_text())["commit"]
        package = Path(unmelt.__file__).parent
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=package, capture_output=True, text=True, check=False
        ).stdout.strip()
        assert (commit.removesuffix("+") if commit else "") == head

    def test_a_resumed_run_keeps_the_manifest_it_began_with(self, finished, training, splits):
        before = finished.manifest.read_bytes()
        Trainer(training(steps=3), splits, resume=True).train()
        assert finished.manifest.read_bytes() == before


class TestPaths:
    def test_paths_lie_in_the_folder(self, tmp_path):
        run = RunFolder(tmp_path)
        paths = (run.config, run.manifest, run.checkpoints, run.metrics, run.tensorboard, run.samples)
        assert all(path.parent == tmp_path for path in paths)
        assert len(set(paths)) == 6

    def test_a_run_without_cuda_says_so(self, training, splits):
        device = json.loads(Trainer(training(steps=1), splits).run.manifest.read_text())["device"]
        assert device == (torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu")
