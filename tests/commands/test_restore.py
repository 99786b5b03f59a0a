"""`unmelt restore`: a run, an image and what was done to it become pictures and numbers, or one line."""

import re
import shutil

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from small_runs import contents, images, small_run, train

from unmelt.commands import main
from unmelt.core import later
from unmelt.degradations import HeatBridge, PredictX
from unmelt.samplers import Posterior, UniformGrid
from unmelt.samplers.guidance import LinearObservation
from unmelt.training import ArrayExamples, Splits, load_run

FILES = {"mean.png", "observed.png", "overview.png", "result.npz", "std.png"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two steps."""
    config = small_run(tmp_path_factory.mktemp("runs"), steps=2)
    train(config, images())
    AcceleratorState._reset_state(reset_partial_state=True)
    return config.folder


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Work in a folder with an image, a mask and a smaller image."""
    monkeypatch.chdir(tmp_path)
    shades = (np.arange(16).reshape(4, 4) * 17).astype(np.uint8)
    Image.fromarray(shades).save("image.png")
    Image.fromarray(np.where(np.arange(4) < 2, 255, 0).astype(np.uint8)[None].repeat(4, 0)).save("mask.png")
    Image.fromarray(np.array([[0, 51], [102, 255]], dtype=np.uint8)).save("small.png")
    return tmp_path


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def restored(folder):
    with np.load(folder / "result.npz") as file:
        return dict(file)


@pytest.mark.parametrize("kind", [["--mask", "mask.png"], ["--blur", "1"], ["--shrink", "2"]], ids=lambda k: k[0])
def test_it_writes_samples_mean_and_std(trained, work, kind, capsys):
    main(["restore", str(trained), "image.png", *kind, "--count", "3", "--degrade", "--out", "a/b"])
    out = work / "a" / "b"
    names = FILES | {"original.png"} | {f"sample_00{i}.png" for i in range(3)}
    assert {path.name for path in out.iterdir()} == names
    assert [path.name for path in out.parent.iterdir()] == ["b"]
    found = restored(out)
    assert found["samples"].shape == (3, 1, 4, 4)
    assert np.allclose(found["mean"], found["samples"].mean(0), atol=1e-6)
    assert np.allclose(found["std"], found["samples"].std(0, ddof=1), atol=1e-6)
    assert np.allclose(found["original"].ravel(), np.arange(16) / 15, atol=1e-6)
    assert np.array_equal(pixels(out / "original.png"), pixels("image.png"))
    first = (found["samples"][0, 0].clip(0, 1) * 255).round()
    assert np.array_equal(pixels(out / "sample_000.png"), first)
    # White is the largest of it, which is told.
    assert pixels(out / "std.png").max() == 255
    told = capsys.readouterr().out
    assert "(its noise is 0.02)" in told
    error = np.sqrt(((found["mean"] - found["original"]) ** 2).mean())
    assert f"mean of 3 {error:.3g}\n" in told
    assert "wrote a/b: mean.png, observed.png, original.png, overview.png, result.npz, std.png and 3 samples" in told


@pytest.fixture(scope="module")
def starts_from_blur(tmp_path_factory):
    """A bridge of two steps, from blurred images."""
    config = small_run(
        tmp_path_factory.mktemp("runs"),
        steps=2,
        process=later(HeatBridge),
        prediction=PredictX(),
        given=later(LinearObservation.blur, width=1.0, noise_std=0.1),
        sampler=Posterior(),
        grid=UniformGrid(3),
    )
    train(config, images())
    AcceleratorState._reset_state(reset_partial_state=True)
    return config.folder


@pytest.mark.parametrize("whole", [True, False])
def test_a_run_that_starts_from_observations_knows_what_was_done(starts_from_blur, work, whole, capsys):
    degraded = ["--degrade"] if whole else []
    main(["restore", str(starts_from_blur), "image.png", *degraded, "--count", "2", "--seed", "3", "--out", "out"])
    found, run = restored(work / "out"), load_run(starts_from_blur)
    image = torch.from_numpy(np.arange(16).reshape(1, 4, 4) / 15).float()
    generator = torch.Generator().manual_seed(3)
    y = run.known.observation.observe(image[None], generator=generator)[0] if whole else image
    assert np.allclose(found["observed"], y, atol=1e-6)
    assert np.allclose(found["samples"], run.restore(y, count=2, generator=generator).samples, atol=1e-5)
    assert "(its noise is 0.1)" in capsys.readouterr().out


@pytest.mark.full
def test_a_run_that_enlarges_takes_a_small_image_as_it_is(tmp_path, work, capsys):
    config = small_run(
        tmp_path / "runs",
        steps=2,
        process=later(HeatBridge),
        prediction=PredictX(),
        given=later(LinearObservation.block_means, size=2, noise_std=0.1),
        sampler=Posterior(),
        grid=UniformGrid(3),
    )
    train(config, images())
    AcceleratorState._reset_state(reset_partial_state=True)
    main(["restore", str(config.folder), "small.png", "--count", "2", "--out", "out"])
    small = np.array([[0, 51], [102, 255]]) / 255
    assert np.allclose(restored(work / "out")["observed"][0], small.repeat(2, 0).repeat(2, 1), atol=1e-6)
    assert "resized" not in capsys.readouterr().out
    # An image of the run's size is what was observed; of other sizes nobody knows which pixels are a block.
    main(["restore", str(config.folder), "image.png", "--count", "2", "--out", "whole"])
    # One pixel is a block of all, which means of smaller blocks leave as it is.
    for side in (3, 1):
        Image.fromarray(np.zeros((side, side), dtype=np.uint8)).save("odd.png")
        message = f"odd.png is of {side} x {side} pixels, and this run enlarges 2 x 2 to 4 x 4"
        with pytest.raises(SystemExit, match=message):
            main(["restore", str(config.folder), "odd.png"])


@pytest.mark.parametrize(("flag", "value"), [("--blur", "1"), ("--guidance", "pseudo-inverse"), ("--noise", "0.1")])
def test_a_run_that_starts_from_observations_takes_no_other(starts_from_blur, work, flag, value):
    with pytest.raises(SystemExit, match=rf"error: {flag}: .* was trained on LinearObservation.blur\("):
        main(["restore", str(starts_from_blur), "image.png", flag, value])
    assert not (work / "image_restored").exists()


def test_known_pixels_are_kept_and_holes_are_grey(trained, work):
    main(["restore", str(trained), "image.png", "--mask", "mask.png", "--noise", "0.001", "--out", "out"])
    found, image = restored(work / "out"), np.arange(16).reshape(4, 4) / 15
    assert len(found["samples"]) == 8
    assert np.abs(found["samples"][:, 0, :, :2] - image[:, :2]).max() < 0.006
    assert found["std"][0, :, 2:].min() > 0.006
    shown = pixels(work / "out" / "observed.png")
    assert np.array_equal(shown[:, :2], pixels("image.png")[:, :2])
    # Halfway from black to white, rounded to even.
    assert (shown[:, 2:] == 128).all()


def test_a_small_image_is_the_means_of_blocks(trained, work):
    main(["restore", str(trained), "small.png", "--shrink", "2", "--noise", "0.001", "--count", "2", "--out", "out"])
    found = restored(work / "out")
    expected = np.array([[0, 51], [102, 255]]) / 255
    assert np.allclose(found["observed"][0], expected.repeat(2, 0).repeat(2, 1), atol=1e-6)
    means = found["samples"].reshape(2, 2, 2, 2, 2).mean((2, 4))
    assert np.abs(means - expected).max() < 0.006


@pytest.mark.full
def test_blocks_may_be_of_any_size(tmp_path, work, capsys):
    """A third of six pixels: what is observed is the small image itself."""
    values = torch.randint(0, 256, (28, 1, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    config = small_run(tmp_path / "sixes", steps=1)
    train(config, Splits(ArrayExamples(values[:22]), ArrayExamples(values[22:])))
    AcceleratorState._reset_state(reset_partial_state=True)
    run = ["restore", str(config.folder), "small.png", "--shrink", "3", "--noise", "0.001", "--count", "2"]
    main([*run, "--out", "out"])
    found, expected = restored(work / "out"), np.array([[0, 51], [102, 255]]) / 255
    assert np.allclose(found["observed"][0], expected, atol=1e-6)
    assert np.abs(found["samples"].reshape(2, 2, 3, 2, 3).mean((2, 4)) - expected).max() < 0.006
    assert pixels("out/observed.png").shape == (2, 2)
    capsys.readouterr()
    whole = np.array([[0, 51], [102, 255]], dtype=np.uint8).repeat(3, 0).repeat(3, 1)
    Image.fromarray(whole).save("whole.png")
    main([run[0], run[1], "whole.png", *run[3:], "--degrade", "--out", "again"])
    told = capsys.readouterr().out
    # Of an image of blocks the small one is all, but for its noise of 0.001, in four numbers.
    fit, observed = (float(re.search(words, told)[1]) for words in (r"to (\S+) \(its", r"observed (\S+),"))
    assert 0.0001 < fit < 0.004
    assert 0.0001 < observed < 0.004


@pytest.mark.full
def test_the_noise_is_a_share_of_the_way_from_black_to_white(tmp_path, work):
    """Of data from -1 to 1 twice as much."""
    data = images()
    for part in (data.train, data.test):
        part.grey_levels = type(part.grey_levels)(256, -1.0, 1.0)
    config = small_run(tmp_path / "wide", steps=1)
    train(config, data)
    AcceleratorState._reset_state(reset_partial_state=True)
    for name, noise in (("none", "0"), ("some", "0.1")):
        arguments = ["--blur", "1", "--noise", noise, "--degrade", "--count", "2", "--out", name]
        main(["restore", str(config.folder), "image.png", *arguments])
    exact, noisy = (restored(work / name)["observed"] for name in ("none", "some"))
    white = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert np.allclose((noisy - exact).std(), 0.2 * white.std(unbiased=False).item(), rtol=0.3)
    assert restored(work / "some")["original"].min() == -1


@pytest.mark.full
def test_a_seed_draws_the_same_again(trained, work):
    for name, seed in (("one", "3"), ("two", "3"), ("three", "4")):
        arguments = ["--blur", "1", "--count", "2", "--seed", seed, "--out", name]
        main(["restore", str(trained), "image.png", *arguments])
    one, two, three = (restored(work / name)["samples"] for name in ("one", "two", "three"))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


@pytest.mark.full
def test_nothing_is_overwritten_without_force(trained, work):
    arguments = ["restore", str(trained), "image.png", "--blur", "1", "--degrade"]
    main([*arguments, "--count", "3"])
    out = work / "image_restored"
    (out / "notes.txt").write_text("mine")
    before = contents(out)
    with pytest.raises(SystemExit, match="error: image_restored is there already: choose another --out, or add --f"):
        main([*arguments, "--count", "3"])
    assert contents(out) == before
    # Nothing of another restoration is left among the new files.
    main([*arguments[:-1], "--count", "1", "--force"])
    assert {path.name for path in out.iterdir()} == FILES - {"std.png"} | {"sample_000.png", "notes.txt"}
    # Files of the user's are neither removed nor written over, whatever they are called.
    (out / "sample_holiday.png").write_text("mine")
    (out / "sample_001.png").write_text("mine")
    main([*arguments, "--count", "1", "--force"])
    with pytest.raises(SystemExit, match=r"error: image_restored holds sample_001.png, which no restoration has left"):
        main([*arguments, "--count", "2", "--force"])
    assert (out / "sample_holiday.png").read_text() == (out / "sample_001.png").read_text() == "mine"
    (work / "other").mkdir()
    (work / "other" / "mean.png").write_text("mine")
    with pytest.raises(SystemExit, match=r"error: other holds mean.png, which no restoration has left there"):
        main([*arguments, "--force", "--out", "other"])


@pytest.mark.full
def test_only_the_folder_is_needed(trained, work, monkeypatch, capsys):
    def asked(*arguments):
        msg = "asked for images"
        raise AssertionError(msg)

    monkeypatch.setattr("unmelt.training.data.examples.Examples.blocks", asked)
    moved = work / "moved"
    moved.mkdir()
    for name in ("config.json", "manifest.json", "spectrum.safetensors", "checkpoints"):
        (shutil.copytree if name == "checkpoints" else shutil.copy)(trained / name, moved / name)
    main(["restore", "moved", "image.png", "--blur", "1", "--count", "1"])
    assert "much worse than its noise" not in capsys.readouterr().out
    # A checkerboard is the last thing that a blur leaves.
    Image.fromarray((np.indices((4, 4)).sum(0) % 2 * 255).astype(np.uint8)).save("sharp.png")
    main(["restore", "moved", "sharp.png", "--blur", "3", "--count", "1"])
    assert "much worse than its noise" in capsys.readouterr().out
    (moved / "spectrum.safetensors").unlink()
    with pytest.raises(SystemExit, match=r"error: no moved.spectrum.safetensors.*--resume moved where its images are"):
        main(["restore", "moved", "image.png", "--blur", "1", "--out", "other"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: say what was done to the image: --mask FILE, --blur WIDTH or --shrink N"),
        (["--blur", "1", "--shrink", "2"], "error: argument --shrink: not allowed with argument --blur"),
        (["--blur", "-1"], "error: --blur: width must be finite and at least 0"),
        (["--blur", "1", "--noise", "-1"], "error: --noise must be finite and at least 0"),
        (["--shrink", "3"], r"error: --shrink: size must divide all axes of \(1, 4, 4\) but the first"),
        (["--shrink", "0"], "error: --shrink: size must be at least 2"),
        (["--mask", "none.png"], "error: none.png cannot be read"),
        (["--blur", "1", "--count", "0"], "error: argument --count: must be a number from 1, got 0"),
        (["--blur", "1", "--condition", "1"], "error: --condition 1: .* knows no classes: leave it out"),
        (["--blur", "1", "--stepper", "Wave"], "error: --stepper Wave: no 'Wave'"),
        (["--blur", "1", "--out", "image.png"], "error: image.png is there already: choose another --out"),
        (["--blur", "1", "--out", "image.png/out"], "error: .*image.png is a file, so nothing can be in it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_told_in_one_line(trained, work, arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("unmelt.samplers.Sampler.sample", lambda *a, **k: pytest.fail("computed before it was checked"))
    before = sorted(work.iterdir())
    with pytest.raises(SystemExit) as ended:
        main(["restore", str(trained), "image.png", *arguments])
    told = ended.value.code if isinstance(ended.value.code, str) else capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1
    assert re.search(message, told)
    assert sorted(work.iterdir()) == before


def test_guidance_that_runs_away_is_an_error(trained, work, monkeypatch):
    real = type(load_run(trained)).restore

    def far(*arguments, **options):
        found = real(*arguments, **options)
        found.samples.mul_(1e4)
        return found

    monkeypatch.setattr("unmelt.training.loading.LoadedRun.restore", far)
    with pytest.raises(SystemExit, match="error: samples left the range from black to white by .* guidance ran away"):
        main(["restore", str(trained), "image.png", "--blur", "1", "--count", "1"])
    assert not (work / "image_restored").exists()
