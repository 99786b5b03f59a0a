"""What a folder tells of itself: as text, whatever is damaged, and without running any code."""

import json
import shutil
import sys

import pytest
from small_runs import changed, images, small_run, train
from user_files import fog, forget, lay

from unmelt import load_run
from unmelt.core.configuration import parse
from unmelt.degradations import PredictX
from unmelt.samplers import Posterior
from unmelt.training import describe_run, export_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run called like a class in a file, stopped half-way as far as its settings say."""
    config = small_run(tmp_path_factory.mktemp("runs"), "heat.Small", steps=4, checkpoint_every=2)
    folder = train(config, images()).run.path
    record = json.loads((folder / "config.json").read_text())
    record["training"]["steps"] = "8"
    (folder / "config.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def test_a_run_tells_what_it_is(trained):
    told = describe_run(trained)
    assert json.loads(json.dumps(told)) == told
    assert (told["kind"], told["name"], told["faults"], told["own_code"]) == ("run", "heat.Small", [], [])
    assert told["process"].startswith("HeatDissipation(blur_sigma_max=3.0")
    assert told["parameters"] == sum(p.numel() for p in load_run(trained).denoiser.parameters())
    assert told["data"] == {
        "source": "Digits(low=0.0, high=1.0)",
        "train": 22,
        "held_out": 6,
        "shape": [1, 4, 4],
        "grey_levels": 256,
        "range": [0.0, 1.0],
        "classes": None,
    }
    assert told["steps"] == {"planned": 8, "done": 4}
    assert (told["checkpoints"], told["whole"]) == (["step_00000002", "step_00000004"], "step_00000004")
    assert told["averages"] == [0.9]
    last = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    assert told["metrics"] == {name: last[name] for name in told["metrics"]}
    assert {"step", "loss", "images_per_second", "held_out_loss"} <= told["metrics"].keys()
    assert told["files"]["prior.safetensors"] == (trained / "prior.safetensors").stat().st_size
    assert told["files"]["checkpoints"] > sum(told["files"][name] for name in ("config.json", "manifest.json"))


def test_an_exported_model_tells_the_same(trained, tmp_path):
    out = export_run(load_run(trained, checkpoint=2), tmp_path / "out")
    ours, theirs = describe_run(out), describe_run(trained)
    for name in ("name", "process", "network", "parameters", "data", "started", "torch", "commit"):
        assert ours[name] == theirs[name]
    assert (ours["kind"], ours["steps"]["done"], ours["exported"]) == ("exported model", 2, 0.9)
    assert not ours["faults"]
    (out / "model.safetensors").write_bytes(b"")
    (fault,) = describe_run(out)["faults"]
    assert "model.safetensors is damaged" in fault


def test_what_is_damaged_is_told_beside_what_can_be_read(run):
    (run / "checkpoints" / "step_00000004" / "optimizer.safetensors").unlink()
    told = describe_run(run)
    assert (told["checkpoints"][-1], told["whole"], told["steps"]["done"]) == ("step_00000004", "step_00000002", 2)
    (fault,) = told["faults"]
    assert "step_00000004/optimizer.safetensors is missing" in fault
    (run / "manifest.json").write_text("{")
    told = describe_run(run)
    assert (told["name"], told["parameters"], told["steps"]["done"]) == ("heat.Small", None, 2)
    assert sum("manifest.json is damaged" in fault for fault in told["faults"]) == 1
    (run / "manifest.json").write_text('{"data": 3, "exported": 3}')
    assert any("what it says of the exported files is not whole" in fault for fault in describe_run(run)["faults"])
    (run / "metrics.jsonl").write_text('{"step": 3, "loss": "high"}\n')
    (run / "config.json").unlink()
    shutil.rmtree(run / "checkpoints")
    told = describe_run(run)
    assert (told["name"], told["metrics"]) == (None, {"step": 3})
    assert any("config.json" in fault for fault in told["faults"])
    (run / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no run"):
        describe_run(run)


def test_a_run_that_has_made_no_checkpoint_says_so(run):
    shutil.rmtree(run / "checkpoints")
    (fault,) = describe_run(run)["faults"]
    assert "no checkpoint under" in fault


def test_code_of_the_user_s_is_named_and_not_run(work, tmp_path):
    lay(work, {"own_fog.py": fog()})
    config = small_run(tmp_path / "runs", steps=1, prediction=PredictX(), sampler=Posterior())
    config = changed(parse(config, ["--process", "own_fog.Fog"]), name="foggy")
    folder = train(config, images()).run.path
    forget(tmp_path)
    for file in (work / "own_fog.py", folder / "code" / "own_fog.py"):
        file.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'run')!r}).touch()\n{fog()}")
    told = describe_run(folder)
    assert told["own_code"] == ["own_fog.Fog"]
    assert told["process"] == "own_fog.Fog()"
    assert "own_fog" not in sys.modules
    assert not (tmp_path / "run").exists()
