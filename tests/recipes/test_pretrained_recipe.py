"""The recipe that samples a saved diffusers model by every sampler, on a small one."""

import inspect
import re

import pytest
from diffusers import DDIMScheduler
from diffusers_models import autoencoder, dit, saved, saved_pipeline, unet
from PIL import Image
from small_runs import ROOT, run_python

from unmelt import samplers
from unmelt.commands.train import summaries
from unmelt.samplers import Stepper

SCRIPT = ROOT / "recipes" / "diffusers_ddim.py"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return __import__("diffusers_ddim")


def table(printed):
    rows = re.findall(r"^\| (\w+) \| (\d+) \| [\d.]+ \| (.*) \|$", printed, re.MULTILINE)
    return {(name, int(calls)): gap for name, calls, gap in rows}


def test_every_stepper_is_there(script):
    exported = {getattr(samplers, name) for name in samplers.__all__}
    steppers = {c for c in exported if inspect.isclass(c) and issubclass(c, Stepper) and not inspect.isabstract(c)}
    assert {type(stepper) for stepper, _ in script.SAMPLERS.values()} == steppers


@pytest.mark.full
def test_each_sampler_has_its_picture_and_its_line(script, tmp_path, capsys):
    folder = saved_pipeline(tmp_path / "model")
    script.main([str(folder), "--smoke", "--out", str(tmp_path / "out")])
    found = table(capsys.readouterr().out)
    assert {name for name, _ in found} == script.SAMPLERS.keys()
    assert found["ddim", 4] == "0.0000"
    assert float(found["ddim", 2]) > 0
    assert found["ddpm", 2] == ""
    for (name, calls), gap in found.items():
        assert calls <= 4 or name == "adaptive"
        if gap != "diverges":
            picture = Image.open(tmp_path / "out" / f"{name}.png")
            assert min(picture.size) > 60
            # Captions and images are drawn on white.
            assert len(picture.convert("L").getcolors(256)) > 20


def test_latents_are_decoded_and_labels_heeded(script, tmp_path, capsys, monkeypatch):
    folder = saved(tmp_path / "model", dit(), DDIMScheduler(clip_sample=False), part="transformer")
    autoencoder().save_pretrained(folder / "vae")
    monkeypatch.setattr(script, "SAMPLERS", {"ddim": script.SAMPLERS["ddim"]})
    sizes = {}
    for label in ("1", "4"):
        script.main([str(folder), "--smoke", "--out", str(tmp_path / label), "--label", label])
        sizes[label] = (tmp_path / label / "ddim.png").read_bytes()
    assert sizes["1"] != sizes["4"]
    assert table(capsys.readouterr().out).keys() == {("ddim", 2), ("ddim", 4)}


def test_a_network_and_its_scheduler_in_one_folder_are_drawn(script, tmp_path, monkeypatch):
    """As google/ddpm-cifar10-32 has them."""
    unet().save_pretrained(tmp_path)
    DDIMScheduler().save_pretrained(tmp_path)
    monkeypatch.setattr(script, "SAMPLERS", {"ddim": script.SAMPLERS["ddim"]})
    script.main([str(tmp_path), "--smoke", "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "ddim.png").is_file()


def test_without_a_model_it_says_what_to_name(script, capsys):
    with pytest.raises(SystemExit):
        script.main([])
    assert "name a model: the folder of a saved diffusers pipeline" in capsys.readouterr().err


def test_it_is_no_recipe_to_train():
    assert "diffusers_ddim" not in summaries()
    assert "cifar10_ddpm" in summaries()


@pytest.mark.full
def test_it_runs_as_a_script(tmp_path):
    folder = saved_pipeline(tmp_path / "model")
    finished = run_python(SCRIPT, str(folder), "--smoke", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert (tmp_path / "diffusers_samples" / "multistep_3.png").is_file()
