"""`unmelt sample`: from a run's folder, and from nowhere else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import changed, small_run

from unmelt import load_run
from unmelt.commands import main
from unmelt.core import later
from unmelt.degradations import HeatDissipation, PredictX
from unmelt.models import UNet
from unmelt.recipes import digits_heat
from unmelt.training import Digits, Trainer
from unmelt.training.data import ArrayFile, Channels

LEVELS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A conditional run of a second, which keeps two averages."""
    root = tmp_path_factory.mktemp("root")
    config = changed(
        digits_heat.RECIPE,
        name="run",
        root=root,
        process=later(HeatDissipation, levels=LEVELS, blur_sigma_max=6.0),
        network=later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=(), classes=10),
        prediction=PredictX(),
        optimizer=later(torch.optim.AdamW, lr=1e-2),
        steps=30,
        warmup=1,
        checkpoint_every=15,
        ema_decay=(0.5, 0.9),
        fitted_to=64,
    )
    return Trainer(config, Digits().load()).train().path


@pytest.fixture
def sample(folder, tmp_path, monkeypatch):
    """Draws into a folder of its own, which has nothing to do with the run's."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(["sample", str(folder), *arguments])


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.full
def test_by_default_a_grid_of_the_run_s_own_sampler(sample, folder, tmp_path, capsys):
    sample("--count", "20")
    # Ten classes, a column each, two rows, 8 x 8 digits enlarged 8 times.
    assert pixels("samples.png").shape == (2 * 64 + 3 * 8, 10 * 64 + 11 * 8, 3)
    assert capsys.readouterr().out == "wrote samples.png\n"
    with pytest.raises(SystemExit, match=r"error: samples.png is there already: .*--force"):
        sample("--count", "1")
    sample("--count", "1", "--force")
    assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]


def test_an_array_for_those_who_measure(sample, folder):
    sample("--count", "5", "--condition", "3,1", "--out", "a.npz", "--seed", "7", "--batch-size", "2")
    labels = torch.tensor([3, 1, 3, 1, 3])
    expected = load_run(folder).sample(5, condition=labels, generator=range(7, 12))
    found = np.load("a.npz")
    assert found["arr_1"].tolist() == labels.tolist()
    assert found["arr_0"].dtype == np.uint8
    # Batches of other sizes round otherwise.
    assert np.abs(found["arr_0"][..., 0] - expected[:, 0].clamp(0, 1).numpy() * 255).max() <= 0.51


def test_files_in_a_folder_which_is_gone_on_with(sample, folder, tmp_path):
    sample("--count", "3", "--out", "many", "--batch-size", "2")
    first = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("*.png")}
    assert sorted(first) == ["000000.png", "000001.png", "000002.png"]
    (tmp_path / "many" / "000002.png").unlink()
    sample("--count", "4", "--out", "many")
    assert (tmp_path / "many" / "000001.png").stat().st_mtime_ns == first["000001.png"]
    samples = load_run(folder).sample(4, condition=torch.arange(4), generator=range(4))
    for number in range(4):
        written = pixels(f"many/00000{number}.png")
        assert written.shape == (8, 8)
        assert np.abs(written - samples[number, 0].clamp(0, 1).numpy() * 255).max() <= 0.51
    with pytest.raises(SystemExit, match="error: many holds samples of other settings .seed 0 instead of 1."):
        sample("--count", "4", "--out", "many", "--seed", "1")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(SystemExit, match="error: other holds other files"):
        sample("--out", "other")


def test_an_animation_shows_every_step(sample):
    sample("--count", "2", "--steps", "4", "--out", "way.gif")
    with Image.open("way.gif") as image:
        assert image.n_frames == 5


@pytest.mark.parametrize(
    "words",
    [
        ["--stepper", "Multistep(order=3)", "--steps", "2"],
        ["--grid", "UniformGrid(5)"],
        ["--prior", "DegradedDataPrior.fit(stddev=0.2)"],
        ["--guidance", "4"],
        ["--ema-decay", "0.9"],
        ["--checkpoint", "15"],
        ["--clip"],
        ["--clip-percentile", "0.5"],
        ["--condition", "3"],
    ],
)
def test_each_choice_makes_other_samples(sample, words):
    sample("--count", "4", "--out", "plain.npz")
    sample("--count", "4", "--out", "changed.npz", *words)
    assert not np.array_equal(np.load("plain.npz")["arr_0"], np.load("changed.npz")["arr_0"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "a.tif"], r"error: --out a.tif: give a name that ends in .png, .gif, .mp4 or .npz, or a folder"),
        (["--count", "0"], r"error: --count must be at least 1, got 0"),
        (["--condition", "10"], r"error: --condition 10: give classes from 0 to 9, as 3,5"),
        (["--condition", "cat"], r"error: --condition cat: give classes from 0 to 9, as 3,5"),
        (["--stepper", "Multistp"], r"error: --stepper Multistp: .*Multistep"),
        (["--device", "nope"], r"error: --device nope: "),
        (["--ema-decay", "0.3"], r"error: .*0\.5, 0\.9"),
        (["--checkpoint", "7"], r"error: .*step_00000015.*"),
        (["--data", "there"], r"error: --data there is where the data lie that a --prior is fitted to.*leave it out"),
        (["--out", "file/samples"], r"error: .*file is a file, so nothing can be in it"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_before_anything_is_drawn(sample, tmp_path, words, message):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=message):
        sample(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_folder_says_what_its_samples_are(sample, folder, tmp_path):
    sample("--count", "1", "--out", "one")
    assert json.loads((tmp_path / "one" / "samples.json").read_text())["run"] == str(folder)


def test_a_folder_that_has_enough_is_left_as_it_is(sample, tmp_path, capsys):
    sample("--count", "3", "--out", "many")
    for count in ("3", "2"):
        sample("--count", count, "--out", "many")
        assert f"of {count} samples are there already" in capsys.readouterr().out
    assert len(list((tmp_path / "many").glob("*.png"))) == 3


def test_a_device_that_is_not_there_is_told_in_one_line(sample):
    with pytest.raises(SystemExit, match="^error: --device meta2: "):
        sample("--device", "meta2")


@pytest.mark.full
def test_what_has_no_levels_is_written_in_the_data_s_units(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("signals.npz", np.random.default_rng(0).normal(size=(20, 8, 8)).astype(np.float32))
    config = small_run(tmp_path, "sound", data=ArrayFile(Path("signals.npz"), channels=Channels.NONE))
    run = Trainer(config, config.data.load()).train().path
    main(["sample", str(run), "--count", "3", "--out", "many", "--batch-size", "2"])
    expected = load_run(run).sample(3, generator=range(3))
    for number in range(3):
        # Batches of other sizes round otherwise.
        np.testing.assert_allclose(np.load(f"many/00000{number}.npy"), expected[number], rtol=0, atol=1e-5)


def test_a_warning_is_one_line(folder, tmp_path, monkeypatch, capfd):
    run = shutil.copytree(folder, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    (run / "checkpoints" / "step_00000030" / "state.json").write_text("{}")
    main(["sample", str(run), "--count", "1"])
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: ")
    assert "step_00000030" in line


def test_the_card_of_an_exported_run_with_classes_says_how_they_are_drawn(folder, tmp_path):
    main(["export", str(folder), "--out", str(tmp_path / "model")])
    card = (tmp_path / "model" / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0].replace("path/to/this/folder", str(tmp_path / "model"))
    drawn = {}
    exec(code, drawn)  # noqa: S102  # as a reader would
    assert drawn["x"].shape == (16, 1, 8, 8)
    assert "guidance 1 |" in card


def test_a_sampler_and_a_run_tell_of_guidance_and_clipping(folder):
    run = load_run(folder)
    assert "guidance 1" in repr(run)
    told = repr(run.sampler(guidance=3.0, clip=True))
    assert "ClassifierFreeGuidance(scale=3)" in told
    assert "ClippedDenoiser(data_range=(0.0, 1.0))" in told
    assert "ClippedDenoiser(data_range=(0.0, 1.0), percentile=0.9)" in repr(run.sampler(clip=0.9))
    assert "Guidance" not in repr(run.sampler())
