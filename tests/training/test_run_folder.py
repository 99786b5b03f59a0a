"""A run's folder: never overwritten, resumed only as what it was, with a manifest of what a reader must know."""

import dataclasses
import json
import platform
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from small_runs import ROOT, begin, changed, contents, images, small_run, train

import unmelt
from unmelt.core import later
from unmelt.core.configuration import parse
from unmelt.degradations import HeatDissipation, IsotropicDiffusion, PredictX
from unmelt.models import GreyLevels, UNet
from unmelt.samplers import Posterior
from unmelt.training import ArrayExamples, Pictures, RunFolder, Splits
from unmelt.training.folder.manifest import FORMAT

HEAT = {"blur_sigma_min": 0.3, "blur_sigma_max": 3.0, "levels": 8, "sigma": 0.03}
TINY = {"channels": 4, "multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), "dropout": 0.2}


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return train(small_run(tmp_path_factory.mktemp("runs"), steps=2), images()).run


@pytest.fixture
def finished(once, training):
    """Return the folder of a run of two steps."""
    return RunFolder(shutil.copytree(once.path, training().folder))


def edited(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


class TestStart:
    def test_an_existing_folder_is_refused_and_untouched(self, finished, training, splits):
        before = contents(finished.path)
        with pytest.raises(FileExistsError, match=r"small exists and is not overwritten.*--resume.*--name"):
            begin(training(steps=2), splits)
        assert contents(finished.path) == before
        folder = training("mine").folder
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="not overwritten"):
            begin(training("mine"), splits)
        assert contents(folder) == {Path("notes.txt"): b"mine"}

    def test_it_holds_what_it_says(self, finished, training):
        assert {path.name for path in finished.path.iterdir()} == {
            "config.json",
            "manifest.json",
            "prior.safetensors",
            "spectrum.safetensors",
            ".lock",
            "checkpoints",
            "metrics.jsonl",
            "tensorboard",
            "samples",
        }
        assert dataclasses.replace(finished.load_config(), root=training().root) == training(steps=2)

    def test_its_configuration_is_text_that_people_and_the_command_line_read(self, finished, training):
        record = json.loads(finished.config.read_text())
        assert record["process"].startswith("HeatDissipation(blur_sigma_max=3.0, blur_sigma_min=0.3, levels=8")
        assert record["training"]["precision"] == "FLOAT32"
        assert "\n  " in finished.config.read_text()
        assert parse(training("other"), ["--config", str(finished.config)]) == finished.load_config()

    @pytest.mark.full
    def test_a_crash_while_it_is_made_leaves_none(self, training, splits, monkeypatch):
        def full(*arguments):
            msg = "no space left"
            raise OSError(msg)

        monkeypatch.setattr("unmelt.training.trainer.write_manifest", full)
        with pytest.raises(OSError, match="no space left"):
            train(training(), splits)
        assert not list(training().root.iterdir())
        monkeypatch.undo()
        assert train(training(), splits).run.manifest.is_file()


class TestResume:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            (
                {"optimizer": later(torch.optim.AdamW, lr=0.5, weight_decay=0.1, fused=True)},
                "optimizer.weight_decay: 0.0 stored, 0.1 given",
            ),
            ({"ema_decay": 0.5}, "training.ema_decay: 0.9 stored, 0.5 given"),
            ({"process": later(HeatDissipation, **HEAT | {"sigma": 0.5})}, "process.sigma: 0.03 stored, 0.5 given"),
            (
                {"process": later(IsotropicDiffusion), "prediction": PredictX()},
                r"process: HeatDissipation\(.*Isotropic",
            ),
            ({"network": later(UNet, **TINY | {"blocks": 2})}, "network.blocks: 1 stored, 2 given"),
            ({"prediction": PredictX()}, r"prediction: PredictPreviousLevel\(levels=None\) stored, PredictX\(\) given"),
            ({"flip": False}, "training.flip: True stored, False given"),
            ({"seed": 1}, "training.seed: 0 stored, 1 given"),
            ({"seed": 3, "batch_size": 2}, "training.batch_size: 4 stored, 2 given; training.seed: 0 stored, 3 given"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
    )
    def test_another_setting_is_refused_by_name_and_changes_nothing(self, finished, training, splits, changes, words):
        before = contents(finished.path)
        with pytest.raises(ValueError, match=f"was trained under other settings .*{words}") as caught:
            begin(training(**{"steps": 2, **changes}), splits, resume=True)
        # Those settings alone.
        assert str(caught.value).count("stored, ") == len(changes)
        assert contents(finished.path) == before

    def test_more_steps_and_other_reports_are_no_other_run(self, finished, training, splits):
        config = training(steps=4, log_every=2, checkpoint_every=1, keep_checkpoints=1, sample_every=3)
        config = changed(config, pictures=Pictures(count=1, seed=5), sampler=Posterior())
        run = train(config, splits, resume=True).run
        assert run.load_config() == config
        assert [path.name for path in run.checkpoints.iterdir()] == ["step_00000004"]

    def test_a_run_that_was_moved_goes_on(self, finished, training, splits):
        config = changed(training("moved", steps=3), root=finished.path.parent / "other")
        config.root.mkdir()
        finished.path.rename(config.folder)
        assert begin(config, splits, resume=True).progress.step == 2

    def test_other_data_under_the_same_name_is_refused(self, finished, training, splits):
        # A folder whose images were replaced: the batches would be others, and the manifest would lie.
        other = Splits(ArrayExamples(255 - splits.train.values), splits.test)
        with pytest.raises(ValueError, match="was trained on other images than these .*restore the data"):
            begin(training(steps=3), other, resume=True)

    def test_without_a_run_nothing_is_resumed_or_made(self, training, splits):
        with pytest.raises(FileNotFoundError, match="holds no run.*without --resume"):
            begin(training("none"), splits, resume=True)
        assert not training("none").folder.exists()

    def test_files_of_another_format_are_refused(self, finished, training, splits):
        edited(finished.config, lambda record: record["training"].update(steppes="3"))
        with pytest.raises(ValueError, match="training.steppes: 3 stored, None given"):
            begin(training(steps=2), splits, resume=True)
        with pytest.raises(ValueError, match=r"config.json.*no setting 'steppes' \(did you mean steps\?\)"):
            finished.load_config()
        edited(finished.manifest, lambda manifest: manifest.pop("format"))
        with pytest.raises(
            ValueError, match=rf"a run of format 1, written by an older unmelt, and this one \({unmelt.__version__}\)"
        ):
            finished.load_config()
        edited(finished.manifest, lambda manifest: manifest.update(format=FORMAT + 1, unmelt="9.1"))
        with pytest.raises(ValueError, match=rf"format {FORMAT + 1}, written by a newer unmelt \(9.1\).*update unmelt"):
            finished.load_config()


class TestManifest:
    def test_it_says_what_a_reader_must_know(self, training, splits):
        wide = Splits(*(ArrayExamples(part.values, GreyLevels(256, -1.0, 1.0)) for part in (splits.train, splits.test)))
        trainer = train(training(steps=1), wide)
        manifest = json.loads(trainer.run.manifest.read_text())
        assert manifest["format"] == FORMAT
        assert manifest["unmelt"] == unmelt.__version__
        assert manifest["python"] == platform.python_version()
        for library in ("torch", "numpy", "accelerate"):
            assert manifest[library] == version(library)
        assert manifest["parameters"] == sum(p.numel() for p in trainer.denoiser.parameters())
        assert manifest["data"] == {
            "train": {"images": 22, "sha256": splits.train.fingerprint()},
            "test": {"images": 6, "sha256": splits.test.fingerprint()},
            "shape": [1, 4, 4],
            "grey_levels": 256,
            "range": [-1.0, 1.0],
        }
        age = datetime.now(UTC) - datetime.fromisoformat(manifest["started"])
        assert timedelta(seconds=-1) <= age < timedelta(minutes=10)
        assert manifest["command"]
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu"
        assert manifest["device"] == device
        git = ("git", "rev-parse", "HEAD")
        head = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        assert (manifest["commit"] or "").removesuffix("+") == head

    def test_a_resumed_run_keeps_the_manifest_it_began_with(self, finished, training, splits):
        before = finished.manifest.read_bytes()
        train(training(steps=3), splits, resume=True)
        assert finished.manifest.read_bytes() == before


def test_the_folder_is_root_and_name():
    assert small_run(Path("a/b"), "c").folder == Path("a/b/c")
    with pytest.raises(dataclasses.FrozenInstanceError):
        small_run(Path("a")).name = "other"
