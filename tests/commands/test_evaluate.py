"""`unmelt evaluate`."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import small_run

from unmelt import load_run
from unmelt.commands import main
from unmelt.core import later
from unmelt.degradations import Independent
from unmelt.evaluation import assess_memorisation
from unmelt.evaluation.run_memorisation import evaluate_memorisation
from unmelt.models import MarginalStd, UNet
from unmelt.samplers import Posterior
from unmelt.training import Trainer
from unmelt.training.data import ArrayFile, Channels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten steps of heat on the digits, mirrored."""
    config = small_run(
        tmp_path_factory.mktemp("runs"),
        "heat",
        network=later(UNet, channels=4, multipliers=(1,), blocks=1, attention_levels=(), dropout=0.0),
        sampler=Posterior(Independent(), MarginalStd(times_sigma=1.25)),
        steps=10,
        flip=True,
    )
    return Trainer(config, config.data.load()).train().path


@pytest.mark.full
def test_it_prints_a_line_for_each_bound_and_marks_the_model_s(folder, capsys):
    main(["evaluate", str(folder), "--images", "20", "--fit-images", "30", "--samples", "8"])
    printed = capsys.readouterr().out
    for name in ("delta = sigma = 0.03", "the samples' delta = 0.0375", "fitted"):
        assert f"\n{name} " in printed
    (marked,) = [line for line in printed.splitlines() if line.endswith("< the model's")]
    assert marked.startswith("fitted ")
    assert "\nmemorisation, 8 samples: nearest training image at " in printed
    names = ("likelihood_20.json", "fitted_bounds_20.safetensors", "samples.json", "memorisation.json")
    assert printed.splitlines()[-1] == f"wrote {', '.join(str(folder / name) for name in names)}"
    assert all((folder / name).is_file() for name in names)
    stored = json.loads((folder / "likelihood_20.json").read_text())
    assert stored["model_s_own"] in stored["bounds"]
    assert (stored["step"], stored["ema_decay"], stored["training_batch"]) == (10, 0.9, 4)
    assert {"data", "split", "seed", "fit_images", "batch_size", "process", "prediction"} <= stored.keys()
    data = load_run(folder).data()
    assert (stored["split"], stored["data"]) == ("held-out images", data.test.fingerprint())


def test_samples_are_compared_with_all_training_images_and_their_mirror_images(folder):
    found = evaluate_memorisation(folder, samples=6, seed=3, batch_size=4)
    run = load_run(folder)
    data = run.data()
    training = data.train.read()
    samples = run.sample(6, generator=range(3, 9)).clamp(0, 1)
    mirrored = torch.cat([training, training.flip(-1)])
    expected = assess_memorisation(samples, mirrored, data.test.read())
    assert found.median == pytest.approx(expected.median, rel=1e-5)
    assert found.held_out_median == pytest.approx(expected.held_out_median, rel=1e-12)
    assert found.held_out_median < assess_memorisation(samples, training, data.test.read()).held_out_median
    stored = json.loads((folder / "memorisation.json").read_text())
    assert (stored["training_images"], stored["mirrored"], stored["samples"]) == (len(mirrored), True, 6)
    assert (stored["data"], stored["calls"], stored["steps"]) == (data.train.fingerprint(), 8, 8)


def test_errors_are_one_line_and_come_first(folder, capsys):
    with pytest.raises(SystemExit, match="^error: nowhere holds no run"):
        main(["evaluate", "nowhere"])
    with pytest.raises(SystemExit, match="^error: --samples must be at least 0, got -1"):
        main(["evaluate", str(folder), "--samples", "-1"])
    # Before anything is computed.
    with pytest.raises(SystemExit, match="^error: --device tpu9: "):
        main(["evaluate", str(folder), "--device", "tpu9"])
    assert not capsys.readouterr().out


@pytest.mark.full
def test_what_has_no_levels_has_no_bits_and_is_compared_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("signals.npz", np.random.default_rng(0).normal(size=(20, 8, 8)).astype(np.float32))
    config = small_run(tmp_path, "sound", data=ArrayFile(Path("signals.npz"), channels=Channels.NONE))
    run = Trainer(config, config.data.load()).train().path
    capsys.readouterr()
    main(["evaluate", str(run), "--samples", "4"])
    printed = capsys.readouterr().out
    assert printed.startswith("no bits per dimension, which are those of data with levels")
    assert printed.splitlines()[-1] == f"wrote {run / 'memorisation.json'}"
    main(["evaluate", str(run), "--samples", "8"])
    assert "\n8 samples and 8 real images\nenergy distance " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="^error: --images must be at least 0, got -1"):
        main(["evaluate", str(run), "--images", "-1"])


@pytest.mark.full
def test_samples_are_compared_in_features_where_asked_for(folder, capsys):
    with pytest.raises(SystemExit, match="^error: --samples must be at least 8 .for --features., got 7"):
        main(["evaluate", str(folder), "--samples", "7", "--features", "efficientnet"])
    main(["evaluate", str(folder), "--images", "0", "--samples", "8", "--features", "efficientnet"])
    printed = capsys.readouterr().out
    assert printed.startswith("\n8 samples and 8 real images\nEfficientNet-lite0 Frechet distance ")
    assert "figures of EfficientNet-lite0 are neither FID nor KID: they compare only with others of the same" in printed
    assert "\nrecognised " in printed
    assert printed.splitlines()[-1] == f"wrote {folder / 'samples.json'}, {folder / 'memorisation.json'}"
    told = json.loads((folder / "samples.json").read_text())
    assert told["network"] == "EfficientNet-lite0"
    assert f"; EfficientNet-lite0 of weights {told['weights']}, resizing {told['resize']}\n" in printed


@pytest.mark.full
def test_processes_of_torchrun_share_the_samples(folder, capsys, monkeypatch):
    few = ["evaluate", str(folder), "--images", "0", "--samples", "16", "--batch-size", "4", "--seed", "5"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    main(few)
    assert capsys.readouterr().out == "this share is done; the report is written when the others are\n"
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    main([*few, "--share", "0/2"])
    assert capsys.readouterr().out.startswith("\n16 samples and 16 real images\n")
    with pytest.raises(SystemExit, match="^error: --share 2: give the number of this process, from 0, and how many"):
        main([*few, "--share", "2"])
    with pytest.raises(SystemExit, match=r"^error: --share 2/2: give the number of this process, from 0, and how many"):
        main([*few, "--share", "2/2"])


@pytest.mark.full
def test_pictures_of_others_are_compared_with_a_run_a_folder_or_a_data_set(folder, tmp_path, capsys):
    main(["sample", str(folder), "--count", "12", "--out", str(tmp_path / "pictures")])
    capsys.readouterr()
    with pytest.raises(SystemExit, match=r"holds no run .*or name what its pictures .* --against runs/NAME"):
        main(["evaluate", str(tmp_path / "pictures")])
    main(["evaluate", str(tmp_path / "pictures"), "--against", str(folder)])
    with_run = capsys.readouterr().out
    pictures, against, _, counts, energy, *_, compared, _, copies, _, wrote = with_run.splitlines()
    assert pictures == f"12 images from {tmp_path / 'pictures'}; not used: 1 .json"
    assert against == f"against {load_run(folder).data().told}"
    assert (counts, energy[:16]) == ("12 samples and 12 real images", "energy distance ")
    assert copies.startswith("memorisation: nearest training image at ")
    told = json.loads((tmp_path / "pictures" / "evaluation.json").read_text())
    assert compared == f"compared with training images of data {told['data'][:12]}, drawn by seed 0"
    assert wrote == f"wrote {tmp_path / 'pictures' / 'evaluation.json'}, {tmp_path / 'pictures' / 'memorisation.json'}"
    near = json.loads((tmp_path / "pictures" / "memorisation.json").read_text())
    assert (near["data"], near["images"], near["samples"]) == (told["data"], told["images"], 12)
    assert near["training_images"] == len(load_run(folder).data().train)
    assert told["data"] == load_run(folder).data().train.fingerprint()
    assert {"unmelt", "images", "network", "weights", "resize", "split", "batch_size", "classes"} <= told.keys()
    assert (told["seed"], told["samples"], told["real_images"], told["energy"]["floor_count"]) == (0, 12, 12, 12)
    main(["evaluate", str(tmp_path / "pictures"), "--against", "Digits()"])
    assert capsys.readouterr().out.splitlines()[1:] == with_run.splitlines()[1:]
    # Nothing is kept that several could share.
    with pytest.raises(SystemExit, match="^error: 2 processes share what a run's folder keeps: name a run"):
        main(["evaluate", str(tmp_path / "pictures"), "--against", "Digits()", "--share", "0/2"])
    main(["sample", str(folder), "--count", "40", "--out", str(tmp_path / "real")])
    capsys.readouterr()
    main(["evaluate", str(tmp_path / "pictures"), "--against", str(tmp_path / "real")])
    with_folder = capsys.readouterr().out
    assert "recognised" not in with_folder
    # Which are held out, and so not compared with, is the hash's choice.
    against = next(line for line in with_folder.splitlines() if line.startswith("against "))
    assert re.fullmatch(rf"against 40 images from {tmp_path / 'real'}, .*; \d+ held out; not used: 1 .json", against)


@pytest.mark.parametrize("flag", ["--images", "--fit-images", "--steps", "--samples"])
def test_flags_of_runs_are_refused_beside_pictures(tmp_path, flag):
    with pytest.raises(SystemExit, match=f"^error: {flag} 8 is for a run, and --against compares .* leave it out$"):
        main(["evaluate", str(tmp_path), "--against", "Digits()", flag, "8"])


def test_a_run_is_no_folder_of_pictures_and_only_a_run_has_data_elsewhere(folder, tmp_path):
    with pytest.raises(SystemExit, match="is a run, and --against compares a folder of pictures: leave --against out$"):
        main(["evaluate", str(folder), "--against", "Digits()"])
    with pytest.raises(SystemExit, match=r"^error: --data photos .* --against Digits.. is no run: leave it out$"):
        main(["evaluate", str(tmp_path), "--against", "Digits()", "--data", "photos"])


@pytest.mark.parametrize(("count", "told"), [("1", "1 sample"), ("7", "7 samples")])
def test_what_too_few_samples_leave_out_is_told_with_what_the_rest_depends_on(folder, capsys, count, told):
    main(["evaluate", str(folder), "--images", "0", "--samples", count, "--seed", "4"])
    left_out, _, memorisation, facts, *_ = capsys.readouterr().out.splitlines()
    assert left_out == f"no comparison with training images, which takes 8 samples or more: --samples is {count}"
    assert memorisation.startswith(f"memorisation, {told}: nearest")
    assert facts.startswith("step 10, average of decay 0.9")
    assert facts.endswith("seeds from 4")


def test_nothing_to_evaluate_is_an_error(folder):
    with pytest.raises(SystemExit, match="^error: --images 0 and --samples 0 leave nothing to evaluate"):
        main(["evaluate", str(folder), "--images", "0", "--samples", "0"])
