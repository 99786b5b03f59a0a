"""The bounds of a finished run: all of them, in its folder, and told on the command line."""

import json
import math
import shutil

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from PIL import Image
from small_runs import changed, small_run

from unmelt.core import later
from unmelt.degradations import Deterministic, Independent, IsotropicDiffusion, Markov, Pixelation, PredictV, PredictX
from unmelt.evaluation import evaluate_bound
from unmelt.evaluation.run_bounds import evaluate_run, load_fitted_bound, run_bounds
from unmelt.models import ConstantStd, LowRankGaussianPrior, MarginalStd, UNet
from unmelt.samplers import Multistep, Posterior, UniformGrid
from unmelt.training import Digits, ImageFolder, Trainer, load_run


def train(config):
    AcceleratorState._reset_state(reset_partial_state=True)
    Trainer(config, config.data.load()).train()
    AcceleratorState._reset_state(reset_partial_state=True)
    return config


@pytest.fixture(scope="module")
def heat(tmp_path_factory):
    """A run of a few steps on the digits: eight levels of heat."""
    config = small_run(
        tmp_path_factory.mktemp("runs"),
        "heat",
        network=later(UNet, channels=4, multipliers=(1,), blocks=1, attention_levels=(), dropout=0.0),
        sampler=Posterior(Independent(), MarginalStd(times_sigma=1.25)),
        steps=20,
        batch_size=128,
        flip=False,
        log_every=10,
        checkpoint_every=20,
    )
    return train(config)


@pytest.mark.full
def test_heat_s_bounds_stand_side_by_side_in_the_run_s_folder(heat):
    told = []
    found = evaluate_run(heat.folder, images=60, fit_images=200, progress=False, report=lambda *each: told.append(each))
    assert list(found) == ["delta = sigma = 0.03", "the samples' delta = 0.0375", "fitted", "Markov levels, fitted"]
    assert told == list(found.items())
    for report in found.values():
        assert report.count == 60
        # All levels but the first, which the reconstruction is from.
        assert report.steps == 7
        assert report.grey_levels.count == 17
        assert all(math.isfinite(figure.mean) for figure in report.bits_per_dim()[:4])
    # Fitted on other images, and still far better; a chain does not pay anew at each level for what is not known.
    assert found["Markov levels, fitted"].nats.total.mean < found["fitted"].nats.total.mean
    assert found["fitted"].nats.total.mean < min(found[name].nats.total.mean for name in list(found)[:2])
    assert {path.name for path in heat.folder.iterdir()} >= {"likelihood_60.json", "fitted_bounds_60.safetensors"}
    assert [path.name for path in heat.folder.glob(".*")] == [".lock"]
    stored = json.loads((heat.folder / "likelihood_60.json").read_text())
    assert (stored["checkpoint"], stored["fit_images"], stored["seed"]) == ("step_00000020", 200, 0)
    described = {name: figures.pop("bound") for name, figures in stored["bounds"].items()}
    assert stored["bounds"] == json.loads(json.dumps({name: report.to_json() for name, report in found.items()}))
    assert [each["coupling"] for each in described.values()] == ["Independent()"] * 3 + ["Markov()"]
    assert described["the samples' delta = 0.0375"]["reverse_std"] == "MarginalStd(times_sigma=1.25)"


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_computed(heat, monkeypatch, capsys):
    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    monkeypatch.setattr("unmelt.evaluation.run_bounds.run_bounds", None)
    with pytest.raises(OSError, match=r"heat cannot be written to .Read-only file system."):
        evaluate_run(heat.folder)


@pytest.mark.full
def test_the_fitted_bounds_can_be_had_again_from_the_folder(heat):
    with pytest.raises(FileNotFoundError, match=r"no fitted bounds.*unmelt evaluate makes them"):
        load_fitted_bound(heat.folder)
    found = evaluate_run(heat.folder, fit_images=20, progress=False)
    held_out = load_run(heat.folder).data().test.read()
    for name, coupling in {"fitted": Independent(), "Markov levels, fitted": Markov()}.items():
        bound = load_fitted_bound(heat.folder, name)
        assert bound.coupling == coupling
        assert evaluate_bound(bound, held_out, batch_size=256, progress=False) == found[name]
    with pytest.raises(ValueError, match=r"no bound 'best': there is 'fitted' and 'Markov levels, fitted'"):
        load_fitted_bound(heat.folder, "best")


def test_heat_s_bound_starts_from_what_its_samples_start_from(heat):
    loaded = load_run(heat.folder)
    bound = run_bounds(loaded, loaded.data())["delta = sigma = 0.03"]
    assert isinstance(bound.prior, LowRankGaussianPrior)
    assert bound.prior is loaded.prior
    assert bound.reverse_std == MarginalStd(1.0)
    assert bound.coupling == Independent()
    with pytest.raises(ValueError, match="steps=7 are for processes without levels, and HeatDissipation has 8"):
        run_bounds(loaded, loaded.data(), 7)
    with pytest.raises(ValueError, match="fit_images must be at least 1, got 0"):
        evaluate_run(heat.folder, fit_images=0)


def test_a_delta_that_no_sample_was_drawn_with_has_no_row(heat):
    config = train(changed(heat, name="multistep", sampler=Multistep(), prediction=PredictX(), steps=2))
    loaded = load_run(config.folder)
    assert list(run_bounds(loaded, loaded.data())) == ["posterior's", "forward's", "fitted"]


@pytest.mark.full
def test_a_markov_run_has_the_bounds_of_its_grid_and_of_continuous_time(heat):
    config = train(
        changed(
            heat,
            name="cosine",
            process=later(IsotropicDiffusion),
            prediction=PredictV(),
            data=Digits(low=-1.0),
            sampler=Posterior(),
            grid=UniformGrid(5),
        )
    )
    found = evaluate_run(config.folder, images=10, fit_images=20, progress=False)
    assert all(report.count == 10 for report in found.values())
    assert list(found) == ["posterior's", "forward's", "continuous time", "fitted"]
    assert [report.steps for report in found.values()] == [5, 5, None, 5]
    loaded = load_run(config.folder)
    assert [len(b.times) - 1 for b in run_bounds(loaded, loaded.data(), 4).values() if b.times is not None] == [4] * 3


@pytest.mark.full
@pytest.mark.parametrize(
    "coupling",
    [
        pytest.param(Markov(), marks=pytest.mark.full),
        pytest.param(Deterministic(), marks=pytest.mark.full),
        Independent(),
    ],
    ids=str,
)
def test_any_family_has_bounds_whatever_it_is_sampled_with(heat, coupling):
    width = ConstantStd(0.04) if coupling != Deterministic() else None
    config = train(
        changed(
            heat,
            name=f"pixelation_{type(coupling).__name__}",
            process=later(Pixelation),
            prediction=PredictX(),
            sampler=Posterior(coupling) if width is None else Posterior(coupling, width),
        )
    )
    found = evaluate_run(config.folder, images=20, fit_images=40, steps=6, progress=False)
    assert "fitted" in found
    assert ("the samples' delta = 0.04" in found) == (coupling == Independent())


@pytest.mark.full
def test_pictures_that_cannot_be_read_have_no_part_in_figures(tmp_path, capsys):
    """Nor are others told as those of the run."""
    shade = np.random.default_rng(0)
    for number in range(60):
        folder = tmp_path / ("test" if number < 20 else "train")
        folder.mkdir(exist_ok=True)
        Image.fromarray(shade.integers(0, 256, (4, 4)).astype(np.uint8)).save(folder / f"{number}.png")
    data = ImageFolder(tmp_path / "train", size=4, test=tmp_path / "test", unreadable=0.1)
    config = train(small_run(tmp_path / "runs", data=data))
    whole = evaluate_run(config.folder, fit_images=20, progress=False)
    (tmp_path / "test").rename(tmp_path / "moved")
    gone = tmp_path / "moved" / "7.png"
    content = gone.read_bytes()
    shutil.copytree(tmp_path / "train", tmp_path / "elsewhere" / "train")
    shutil.copytree(tmp_path / "moved", tmp_path / "elsewhere" / "test")
    # The same data elsewhere, the held-out ones beside the others as they were.
    again = evaluate_run(config.folder, fit_images=20, progress=False, place=tmp_path / "elsewhere" / "train")
    assert again == whole
    gone.write_bytes(content[:-20] + bytes(20))
    (tmp_path / "moved").rename(tmp_path / "test")
    with pytest.raises(ValueError, match="began with other held-out images"):
        evaluate_run(config.folder, fit_images=20, progress=False)
    broken = config.data.load()
    assert len(broken.test.first()) == 19
    assert "7.png cannot be read" in capsys.readouterr().err
