"""The comparison: what it does, does not do twice, refuses to mix, and reports."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
from small_runs import ROOT

from unmelt.evaluation import FeatureNetwork
from unmelt.training import Digits

FOLDER = ROOT / "recipes" / "comparison"
NAMES = ("coloured_heat", "contestants", "trials", "cells", "figures", "report", "compare")


class Corners(FeatureNetwork):
    """Sixteen pixels."""

    def __init__(self):
        super().__init__("corners", "none")

    def forward(self, images):
        return images[:, 0, ::2, ::2].flatten(1)


@pytest.fixture
def parts(monkeypatch):
    """The modules, as their own script imports them, made small."""
    monkeypatch.syspath_prepend(str(FOLDER))
    modules = {name: __import__(name) for name in NAMES}
    monkeypatch.setattr(modules["compare"], "SAMPLES", 40)
    monkeypatch.setattr(modules["compare"], "FEW", (2, 4))
    monkeypatch.setattr(modules["compare"], "MANY", (5,))
    monkeypatch.setattr(modules["compare"], "SAMPLES_OF_MANY", 12)
    for name in ("compare", "trials", "report"):
        monkeypatch.setattr(modules[name], "TRIED", 16)
    monkeypatch.setattr(modules["figures"], "_MANY", 30)
    yield modules
    for name in NAMES:
        del sys.modules[name]


@pytest.fixture
def study(parts):
    return parts["contestants"].Study("fashion", Digits(low=-1.0), 4, 8)


def compared(parts, study, tmp_path, *names):
    chosen = [model for model in parts["compare"].all_models(study) if model.name in names]
    assert len(chosen) == len(names)
    results = tmp_path / "results" / "fashion"
    parts["compare"].compare(study, chosen, results, tmp_path / "runs", Corners())
    return results


def best_of(model, calls):
    found = {
        path.stem.split("_")[0]: json.loads(path.read_text())["report"]["features"]["frechet"]["value"]
        for path in model.glob(f"*_{calls}_16.json")
    }
    return min(found, key=found.get)


def test_the_plan_is_that_of_the_page(parts):
    studies, models = parts["contestants"].STUDIES, parts["compare"].all_models
    fashion = [model.name for model in models(studies["fashion"])]
    assert len(fashion) == 18
    assert fashion[:5] == ["isotropic_x_0", "heat_x_0", "blurring_x_0", "equal_snr_x_0", "coloured_heat_x_0"]
    assert [name for name in fashion if "epsilon" in name] == [
        f"{name}_epsilon_0" for name in ("isotropic", "blurring", "equal_snr")
    ]
    assert len(models(studies["photos"])) == 8


def test_all_models_are_alike_but_for_the_process_and_what_is_predicted(parts, study, tmp_path):
    configs = [model.config(tmp_path) for model in parts["compare"].all_models(study)]
    varied = {"name", "process", "prediction", "training"}
    for config in configs:
        assert replace(config.training, seed=0) == replace(configs[0].training, seed=0)
        fixed = {k: v for k, v in vars(config).items() if k not in varied}
        assert fixed == {k: v for k, v in vars(configs[0]).items() if k not in varied}


@pytest.mark.full
def test_only_what_is_missing_is_done_and_the_report_says_what_lacks(parts, study, tmp_path, capsys):
    results = compared(parts, study, tmp_path, "isotropic_x_0", "coloured_heat_x_0", "isotropic_x_1")
    done = sorted(path.relative_to(results).as_posix() for path in results.glob("*/*.json"))
    # Two numbers of calls: four samplers are tried, the best is reported; in many calls it and ancestral steps.
    many = [
        {name, "markov"} for model in ("isotropic_x_0", "coloured_heat_x_0") for name in [best_of(results / model, 4)]
    ]
    assert len(done) == 2 * (2 * 4 + 2) + sum(map(len, many)) + 2
    assert {path.stem for path in (results / "isotropic_x_0").glob("*_5_12.json")} == {
        f"{name}_5_12" for name in many[0]
    }
    assert capsys.readouterr().out.count("wrote ") == len(done)
    tried = json.loads((results / "isotropic_x_0" / "markov_2_16.json").read_text())
    assert (tried["report"]["samples"], tried["calls"], tried["first_seed"]) == (16, 2, 1_000_000)
    (reported,) = (results / "isotropic_x_1").glob("*_4_40.json")
    assert reported.stem.split("_")[0] == best_of(results / "isotropic_x_0", 4)
    facts = json.loads(reported.read_text())
    assert (facts["first_seed"], facts["training_seed"], facts["training_steps"]) == (0, 1, 4)
    assert facts["memorisation"]["samples"] == 40
    assert not list((results / "isotropic_x_1").glob("*.png"))
    assert list((results / "isotropic_x_0").glob("*_4_40.png"))
    kept = reported.read_bytes()
    (results / "isotropic_x_0" / "markov_2_16.json").unlink()
    compared(parts, study, tmp_path, "isotropic_x_0", "coloured_heat_x_0", "isotropic_x_1")
    assert capsys.readouterr().out.count("wrote ") == 1
    assert reported.read_bytes() == kept
    # Where nothing is missing nothing is trained, though weights are not there any more.
    shutil.rmtree(tmp_path / "runs" / "fashion" / "isotropic_x_0")
    compared(parts, study, tmp_path, "isotropic_x_0")
    assert not (tmp_path / "runs" / "fashion" / "isotropic_x_0").exists()

    docs = tmp_path / "docs"
    (docs / "images").mkdir(parents=True)
    (docs / "measured").mkdir()
    (docs / "measured" / "comparison.md").write_text("# Words of ours\n\n<!-- report -->\nold\n")
    wanted = {"fashion": [model.name for model in parts["compare"].all_models(study)]}
    parts["report"].write_report(tmp_path, results.parent, wanted)
    page = (docs / "measured" / "comparison.md").read_text()
    assert page.startswith("# Words of ours\n\n<!-- report -->\n\n## Fashion-MNIST")
    assert "old" not in page
    assert "| 4 | isotropic diffusion |" in page
    assert "| 40 | 2 | " in page
    assert " +- " in page
    assert "Not there yet: heat dissipation (x, seed 0), " in page
    assert "isotropic diffusion (x, seed 2)" in page
    assert "coloured heat (x, seed 0)" not in page
    for picture in ("fashion_x.png", "fashion_x_octaves.png", "fashion_x_samples.png"):
        assert (docs / "images" / "comparison" / picture).stat().st_size > 1000
        assert f"images/comparison/{picture}" in page

    (results / "coloured_heat_x_0").rename(results / "fog_x_0")
    parts["report"].write_report(tmp_path, results.parent, wanted)
    page = (docs / "measured" / "comparison.md").read_text()
    assert "| 4 | fog |" in page
    assert "coloured heat (x, seed 0)" in page

    facts["training_steps"] = 5
    reported.write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="isotropic_x_1 and others were not made alike: training_steps 5 and 4"):
        parts["report"].write_report(tmp_path, results.parent, wanted)


def test_a_stopped_training_is_gone_on_with(parts, study, tmp_path):
    contestants, trials = parts["contestants"], parts["trials"]
    model = contestants.Model(study, "heat", "x", 0)
    data = study.data.load()
    folder = trials.train(model, data, tmp_path)
    before = (folder / "config.json").stat().st_mtime_ns
    assert trials.train(model, data, tmp_path) == folder
    assert (folder / "config.json").stat().st_mtime_ns == before
    assert json.loads((folder / "cpu_minutes.json").read_text()) > 0


def test_a_process_of_one_s_own_takes_the_place_of_ours_under_its_name(parts, study):
    contestants = parts["contestants"]
    before = dict(contestants.PROCESSES)
    try:
        contestants.own_process("here/fog.py:Fog(speed=2)", before["heat"])
        assert list(contestants.PROCESSES) == ["isotropic", "heat", "blurring", "equal_snr", "fog"]
        assert contestants.Model(study, "fog", "x", 0).name == "fog_x_0"
    finally:
        contestants.PROCESSES.clear()
        contestants.PROCESSES.update(before)


def test_the_noise_of_ours_has_the_mean_square_of_heat_s(parts):
    process = parts["coloured_heat"].ColouredHeat((1, 12, 8), sigma=0.1)
    assert float(process.sigma(0.3).square().mean()) == pytest.approx(0.01, rel=1e-12)
    sigma = process.sigma(0.3)[0].flatten()
    order = process.basis.laplacian_eigenvalues().flatten().argsort()
    assert bool((sigma[order].diff() <= 0).all())
