"""Files that were made to attack whoever opens them: what they hold is refused, and none of it is executed."""

import ast
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers_models import saved, unet
from small_runs import images, small_run, train

import unmelt
from unmelt import load_run
from unmelt.core import FromFile
from unmelt.models import load_diffusers
from unmelt.training import describe_run, export_run
from unmelt.training.folder.verified import seal


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "executed"


def pickled(mark):
    return pickle.dumps(Trap(mark), protocol=2)


def saved_by_torch(mark):
    buffer = io.BytesIO()
    torch.save({"weight": Trap(mark)}, buffer)
    return buffer.getvalue()


traps = pytest.mark.parametrize("trap", [pickled, saved_by_torch])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    config = small_run(folder / "runs", steps=1)
    return export_run(load_run(train(config, images()).run.path), folder / "exported")


@pytest.fixture
def exported(model, tmp_path):
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_the_trap_is_one(mark):
    pickle.loads(pickled(mark))
    assert mark.is_file()


@traps
@pytest.mark.parametrize(
    "name", ["model.safetensors", "prior.safetensors", "spectrum.safetensors", "config.json", "manifest.json"]
)
def test_no_file_of_a_folder_is_unpickled(exported, mark, name, trap):
    content, manifest = trap(mark), exported / "manifest.json"
    assert (exported / name).is_file()
    (exported / name).write_bytes(content)
    if name.endswith(".safetensors"):
        # Whoever attacks writes the checksums, too.
        told = json.loads(manifest.read_text())
        told["exported"]["files"][name] = seal(content)
        manifest.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=name):
        load_run(exported)
    assert not mark.exists()


def test_code_that_lies_in_a_folder_is_not_run(exported, mark):
    (exported / "code").mkdir()
    (exported / "code" / "evil.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    config = exported / "config.json"
    told = json.loads(config.read_text())
    for process in ("evil.Fog", "evil.py:Fog", f"{exported}/code/evil.py:Fog", "code.evil.Fog()"):
        config.write_text(json.dumps({**told, "process": process}))
        with pytest.raises(ValueError, match="not run unless it is trusted"):
            load_run(exported)
        describe_run(exported)
    assert not mark.exists()


@traps
@pytest.mark.parametrize("name", ["table.pt", "table.pth"])
def test_tensors_of_torch_s_files_are_read_as_weights_alone(tmp_path, mark, name, trap):
    (tmp_path / name).write_bytes(trap(mark))
    with pytest.raises(pickle.UnpicklingError, match="(?i)weights.only"):
        FromFile(tmp_path / name).resolve((1, 2, 2))
    assert not mark.exists()


def test_objects_in_numpy_s_files_are_refused(tmp_path, mark):
    np.save(tmp_path / "table.npy", np.array([Trap(mark)]))
    np.savez(tmp_path / "table.npz", onset=np.array([Trap(mark)]))
    for name in ("table.npy", "table.npz"):
        with pytest.raises(ValueError, match="allow_pickle"):
            FromFile(tmp_path / name).resolve((1, 2, 2))
    assert not mark.exists()


@traps
def test_old_weights_of_diffusers_models_are_read_as_weights_alone(tmp_path, mark, trap):
    folder = saved(tmp_path / "pipeline", unet(), DDPMScheduler())
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(trap(mark))
    with pytest.raises(OSError, match="Unable to load weights"):
        load_diffusers(folder)
    assert not mark.exists()


def test_no_source_reads_more_than_numbers():
    """Of what can unpickle; the linter refuses the rest."""
    root, asked = Path(unmelt.__file__).parent, {"torch": ("weights_only", True), "np": ("allow_pickle", False)}
    aside, found = {"tests", "benchmarks", "docs", "build", "runs", "data"}, 0
    folders = [folder for folder in root.iterdir() if folder.name not in aside and (folder / "__init__.py").is_file()]
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (call := ast.unparse(node.func)) in {"torch.load", "np.load"}:
                name, safe = asked[call.partition(".")[0]]
                given = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg == name}
                assert given == {name: safe}, f"{path}:{node.lineno}"
                found += 1
    assert found > 4
