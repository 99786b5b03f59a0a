"""Checkpoints are whole or absent: a crash in the middle of one leaves the older ones, and the newest is found."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from small_runs import begin, train
from torch import nn

from unmelt.training.checkpoints import latest_checkpoint, list_checkpoints, save_checkpoint


class CrashError(Exception):
    """What a full disk, or a power cut, is to this process."""


@pytest.fixture
def accelerator():
    accelerator = Accelerator(cpu=True)
    accelerator.prepare(nn.Linear(2, 2))
    return accelerator


@pytest.fixture
def crashing(monkeypatch):
    """Make accelerate write one file of a checkpoint and then fail."""

    def crash():
        def save_state(_self, folder):
            Path(folder).mkdir(parents=True)
            (Path(folder) / "model.safetensors").write_bytes(b"half")
            raise CrashError

        monkeypatch.setattr(Accelerator, "save_state", save_state)

    yield crash
    monkeypatch.undo()


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestSave:
    def test_it_is_found_under_its_step(self, accelerator, tmp_path):
        path = save_checkpoint(accelerator, tmp_path, 7, keep=3)
        assert path == tmp_path / "step_00000007"
        assert (path / "model.safetensors").is_file()
        assert latest_checkpoint(tmp_path) == path
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    @pytest.mark.parametrize("keep", [1, 2, 3, 10])
    def test_the_newest_are_kept(self, accelerator, tmp_path, keep):
        steps = [1, 2, 9, 10, 11, 1000, 12_345_678]
        for step in steps:
            save_checkpoint(accelerator, tmp_path, step, keep=keep)
        assert list_checkpoints(tmp_path) == [tmp_path / f"step_{step:08d}" for step in steps[-keep:]]

    def test_the_newest_by_number_is_the_latest(self, accelerator, tmp_path):
        for step in (5, 3):
            save_checkpoint(accelerator, tmp_path, step, keep=5)
        assert latest_checkpoint(tmp_path).name == "step_00000005"

    def test_a_copy_that_someone_set_aside_is_no_checkpoint_of_the_run(self, accelerator, tmp_path):
        aside = tmp_path / "step_00000001_good"
        save_checkpoint(accelerator, tmp_path, 1, keep=1).rename(aside)
        for step in (2, 3):
            save_checkpoint(accelerator, tmp_path, step, keep=1)
        assert latest_checkpoint(tmp_path).name == "step_00000003"
        assert aside.is_dir()

    def test_saving_a_step_again_replaces_it(self, accelerator, tmp_path):
        first = files(save_checkpoint(accelerator, tmp_path, 4, keep=2))
        with torch.no_grad():
            accelerator._models[0].weight += 1
        second = files(save_checkpoint(accelerator, tmp_path, 4, keep=2))
        assert first.keys() == second.keys()
        assert first != second

    def test_there_is_none(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"no checkpoint under {tmp_path}.*another --name"):
            latest_checkpoint(tmp_path)


class TestCrash:
    def test_in_the_middle_of_a_save_the_older_ones_are_whole(self, accelerator, tmp_path, crashing):
        older = save_checkpoint(accelerator, tmp_path, 1, keep=1)
        before = files(older)
        crashing()
        with pytest.raises(CrashError):
            save_checkpoint(accelerator, tmp_path, 2, keep=1)
        assert list_checkpoints(tmp_path) == [older]
        assert latest_checkpoint(tmp_path) == older
        assert files(older) == before

    def test_what_it_leaves_is_no_checkpoint(self, accelerator, tmp_path, crashing):
        crashing()
        with pytest.raises(CrashError):
            save_checkpoint(accelerator, tmp_path, 1, keep=1)
        with pytest.raises(FileNotFoundError, match="no checkpoint"):
            latest_checkpoint(tmp_path)

    def test_the_next_save_of_the_step_is_whole(self, accelerator, tmp_path, crashing, monkeypatch):
        crashing()
        with pytest.raises(CrashError):
            save_checkpoint(accelerator, tmp_path, 3, keep=1)
        monkeypatch.undo()
        path = save_checkpoint(accelerator, tmp_path, 3, keep=1)
        assert (path / "model.safetensors").read_bytes() != b"half"
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    def test_a_run_goes_on_from_the_checkpoint_before_the_crash(self, training, splits, crashing, monkeypatch):
        config = training(steps=4, checkpoint_every=2)
        trainer = train(training(steps=2, checkpoint_every=2), splits)
        crashing()
        with pytest.raises(CrashError):
            train(config, splits, resume=True)
        monkeypatch.undo()
        resumed = begin(config, splits, resume=True)
        assert resumed.progress.step == 2
        for name, parameter in trainer.denoiser.named_parameters():
            assert torch.equal(resumed.denoiser.get_parameter(name), parameter)
        resumed.train()
        assert latest_checkpoint(resumed.run.checkpoints).name == "step_00000004"
