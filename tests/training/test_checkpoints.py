"""Checkpoints are whole or absent, and a damaged one is never loaded: the one before it is."""

import json
import os
import shutil

import pytest
import torch
from small_runs import assert_same_run, begin, contents, images, small_run, train

from unmelt import load_run
from unmelt.core.tensor_files import decode, encode
from unmelt.training.folder.checkpoints import (
    DamagedError,
    clear_up,
    list_checkpoints,
    newest_whole,
    read_checkpoint,
    write_checkpoint,
)

PARTS = {
    "model": {"weight": torch.arange(6.0).reshape(2, 3)},
    "process_0": {"state": [1, (2, None)], "names": {3: "x"}},
}


def save(folder, step, keep=3, parts=PARTS):
    return write_checkpoint(folder, step, parts, {"progress": {"epoch": 1}}, keep=keep)


class TestWrite:
    def test_what_is_written_is_read(self, tmp_path):
        path = save(tmp_path, 7)
        assert path == tmp_path / "step_00000007"
        found = newest_whole(tmp_path, pytest.fail)
        assert (found.path, found.step, found.facts) == (path, 7, {"step": 7, "progress": {"epoch": 1}})
        assert torch.equal(found.parts["model"]["weight"], PARTS["model"]["weight"])
        assert found.parts["process_0"] == PARTS["process_0"]
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    def test_some_parts_alone(self, tmp_path):
        path = save(tmp_path, 7)
        (path / "process_0.safetensors").unlink()
        assert read_checkpoint(path, lambda name: name == "model").parts.keys() == {"model"}

    @pytest.mark.parametrize("keep", [1, 2, 3, 10])
    def test_the_newest_are_kept(self, tmp_path, keep):
        steps = [1, 2, 9, 10, 11, 1000, 12_345_678]
        for step in steps:
            save(tmp_path, step, keep)
        assert list_checkpoints(tmp_path) == [tmp_path / f"step_{step:08d}" for step in steps[-keep:]]
        assert len(list(tmp_path.iterdir())) == min(keep, len(steps))

    def test_a_copy_that_someone_set_aside_is_no_checkpoint_of_the_run(self, tmp_path):
        aside = tmp_path / "step_00000001_good"
        save(tmp_path, 1, keep=1).rename(aside)
        for step in (2, 3):
            save(tmp_path, step, keep=1)
        assert newest_whole(tmp_path, pytest.fail).step == 3
        assert aside.is_dir()

    def test_saving_a_step_again_replaces_it(self, tmp_path):
        save(tmp_path, 4)
        save(tmp_path, 4, parts={"model": {"weight": torch.ones(1)}})
        found = newest_whole(tmp_path, pytest.fail)
        assert found.parts.keys() == {"model"}
        assert torch.equal(found.parts["model"]["weight"], torch.ones(1))
        assert len(list(tmp_path.iterdir())) == 1

    def test_there_is_none(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"no checkpoint under {tmp_path}.*start it again"):
            newest_whole(tmp_path, pytest.fail)

    def test_what_a_file_cannot_say_is_refused_by_its_place(self, tmp_path):
        with pytest.raises(TypeError, match="optimizer/0 holds a set, which a checkpoint cannot keep"):
            save(tmp_path, 1, parts={"model": {"optimizer": [{1, 2}]}})
        assert not list(tmp_path.iterdir())


class TestStates:
    def test_nested_states_come_back_as_they_were(self):
        tied = torch.randn(3)
        state = {
            "a": tied,
            "b": tied,
            "$tensor": "a key like ours",
            "meet": {"a": {"b": torch.zeros(1)}, "a/b": torch.ones(1), 3: torch.zeros(1), "3": torch.ones(1)},
            "none": None,
            "numbers": [1, 2.5, float("inf"), True, (1, ("x", [])), {}],
            1: {"scalar": torch.tensor(3), "empty": torch.zeros(0, 2), (1, 2): "pair"},
            "half": torch.ones(2, dtype=torch.bfloat16).t(),
        }
        found = decode(encode(state))
        for name in ("a", "b", "half"):
            assert torch.equal(found[name], state[name])
            assert found[name].dtype == state[name].dtype
        assert found["numbers"] == state["numbers"]
        met = found["meet"]
        assert [met["a"]["b"].item(), met["a/b"].item(), met[3].item(), met["3"].item()] == [0, 1, 0, 1]
        assert (found["none"], found["$tensor"], found[1][1, 2]) == (None, "a key like ours", "pair")
        assert (found[1]["scalar"].shape, found[1]["empty"].shape) == (torch.Size([]), (0, 2))

    def test_tensors_of_other_programs_are_read_by_their_names(self):
        from safetensors.torch import save  # noqa: PLC0415

        assert decode(save({"x": torch.ones(2)}))["x"].tolist() == [1.0, 1.0]

    @pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100, encode({"x": torch.ones(9)})[:-1]])
    def test_other_content_is_refused(self, content):
        with pytest.raises(ValueError, match="no whole safetensors file of unmelt"):
            decode(content)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def pickled(path):
    torch.save({"x": torch.ones(2)}, path)


DAMAGES = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "one bit": flip_a_bit,
    "another's": pickled,
}
FILES = ("state.json", "model.safetensors", "average_0.9.safetensors", "optimizer.safetensors", "process_0.safetensors")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run with checkpoints of steps 2 and 4."""
    return train(small_run(tmp_path_factory.mktemp("runs"), steps=4, checkpoint_every=2), images())


class TestDamage:
    @pytest.fixture
    def run(self, stopped, training):
        shutil.copytree(stopped.run.path, training().folder)
        return training().folder

    @pytest.mark.parametrize("damage", DAMAGES)
    @pytest.mark.parametrize("file", FILES)
    def test_any_damage_of_any_file_falls_back_to_the_one_before_and_names_the_file(self, run, file, damage):
        DAMAGES[damage](run / "checkpoints" / "step_00000004" / file)
        said = []
        assert newest_whole(run / "checkpoints", said.append).step == 2
        (line,) = said
        assert f"step_00000004/{file}" in line
        assert "going on from step_00000002" in line

    def test_a_whole_checkpoint_with_weights_that_are_not_finite_falls_back_too(self, run):
        newest = run / "checkpoints" / "step_00000004"
        found = read_checkpoint(newest)
        next(iter(found.parts["average_0.9"].values()))[0] = float("nan")
        write_checkpoint(newest.parent, 4, found.parts, found.facts, keep=9)
        with pytest.raises(DamagedError, match=r"average_0.9.safetensors holds weights that are NaN or infinite"):
            read_checkpoint(newest)
        with pytest.warns(UserWarning, match="going on from step_00000002"):
            assert load_run(run).checkpoint.name == "step_00000002"

    @pytest.mark.parametrize("damage", ["one bit", "missing"])
    def test_a_run_goes_on_from_there_and_ends_as_if_nothing_had_happened(
        self, run, training, splits, stopped, capsys, damage
    ):
        DAMAGES[damage](run / "checkpoints" / "step_00000004" / "process_0.safetensors")
        resumed = train(training(steps=4, checkpoint_every=2), splits, resume=True)
        assert "step_00000004/process_0.safetensors" in capsys.readouterr().err
        assert_same_run(resumed, stopped)
        # What was damaged is kept aside, and pushes out no whole one.
        names = {path.name for path in (run / "checkpoints").iterdir()}
        assert names == {"step_00000002", "step_00000004", "damaged_step_00000004"}

    def test_where_none_is_whole_nothing_is_changed(self, run, training, splits):
        for step in (2, 4):
            flip_a_bit(run / "checkpoints" / f"step_{step:08d}" / "model.safetensors")
        before = contents(run)
        with pytest.raises(DamagedError, match=r"no whole checkpoint .*step_00000004.*step_00000002"):
            begin(training(steps=6), splits, resume=True)
        assert contents(run) == before

    def test_a_checksum_that_was_made_to_fit_does_not_make_a_pickle_run(self, run, tmp_path):
        # Whoever prepares a folder can compute sums as well.
        newest, mark = run / "checkpoints" / "step_00000004", tmp_path / "mark"

        class Evil:
            def __reduce__(self):
                return (mark.touch, ())

        torch.save(Evil(), newest / "model.safetensors")
        state = json.loads((newest / "state.json").read_text())
        content = (newest / "model.safetensors").read_bytes()
        import hashlib  # noqa: PLC0415

        state["files"]["model.safetensors"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        state.pop("sha256")
        state["sha256"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
        (newest / "state.json").write_text(json.dumps(state))
        with pytest.raises(DamagedError, match=r"model.safetensors is damaged: no whole safetensors file"):
            read_checkpoint(newest)
        assert not mark.exists()


class TestCrash:
    @pytest.fixture
    def full(self, monkeypatch):
        """Make the disk full when the second file of a checkpoint is flushed to it."""

        def fill():
            flushed, fsync = [], os.fsync

            def fsync_until_full(handle):
                flushed.append(handle)
                if len(flushed) > 1:
                    raise OSError(28, "No space left on device")
                fsync(handle)

            monkeypatch.setattr(os, "fsync", fsync_until_full)

        return fill

    def test_a_full_disk_leaves_the_older_ones_and_nothing_half(self, tmp_path, full):
        older = save(tmp_path, 1, keep=1)
        before = contents(tmp_path)
        full()
        with pytest.raises(
            OSError, match=rf"step 2 cannot be written .No space left.*last whole checkpoint is {older}"
        ):
            save(tmp_path, 2, keep=1)
        assert contents(tmp_path) == before

    def test_what_a_killed_process_left_is_no_checkpoint_and_is_cleared_up(self, tmp_path):
        whole = save(tmp_path, 3)
        for name in (".step_00000005", ".removed_step_00000001"):
            shutil.copytree(whole, tmp_path / name)
        newer = shutil.copytree(whole, tmp_path / "step_00000004")
        assert list_checkpoints(tmp_path) == [whole, newer]
        clear_up(tmp_path, whole)
        assert {path.name for path in tmp_path.iterdir()} == {whole.name, f"damaged_{newer.name}"}

    @pytest.mark.full
    def test_a_run_goes_on_from_the_checkpoint_before_it(self, training, splits, full, monkeypatch):
        train(training(steps=2, checkpoint_every=2), splits)
        straight = train(training("straight", steps=4, checkpoint_every=2), splits)
        resumed = begin(training(steps=4, checkpoint_every=2), splits, resume=True)
        real = resumed.state.parts

        def parts():
            full()
            return real()

        monkeypatch.setattr(resumed.state, "parts", parts)
        with pytest.raises(OSError, match="last whole checkpoint is .*step_00000002: make room"):
            resumed.train()
        monkeypatch.undo()
        assert_same_run(train(training(steps=4, checkpoint_every=2), splits, resume=True), straight)
