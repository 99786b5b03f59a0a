"""The bounds of a finished run: all of them, in its folder, and told on the command line."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest
from accelerate.state import AcceleratorState

from unmelt.degradations import Independent, Markov
from unmelt.evaluation import evaluate_bound
from unmelt.evaluation.run_bounds import evaluate_run, load_fitted_bound, run_bounds
from unmelt.models import ConstantStd, DegradedDataPrior, KernelDivergence
from unmelt.training import (
    CouplingKind,
    CustomConfig,
    DataConfig,
    DataSource,
    HeatConfig,
    IsotropicConfig,
    NetworkConfig,
    OptimizerConfig,
    PredictionKind,
    ReductionKind,
    RunConfig,
    SamplingConfig,
    Trainer,
    TrainingConfig,
    load_data,
    load_run,
)


@pytest.fixture(scope="module")
def heat(tmp_path_factory):
    """A run of a few steps on the digits: eight levels of heat."""
    return train(
        RunConfig(
            name="heat",
            process=HeatConfig(blur_sigma_min=0.3, blur_sigma_max=3.0, levels=8, sigma=0.03),
            prediction=PredictionKind.LESS_DEGRADED,
            reduction=ReductionKind.SUM,
            data=DataConfig(DataSource.DIGITS),
            network=NetworkConfig(channels=4, multipliers=(1,), blocks=1, attention_levels=(), dropout=0.0),
            optimizer=OptimizerConfig(learning_rate=1e-2, warmup=4),
            training=TrainingConfig(steps=20, log_every=10, checkpoint_every=20, sample_every=100, cpu=True),
            sampling=SamplingConfig(count=2, coupling=CouplingKind.INDEPENDENT, delta=0.04),
            root=tmp_path_factory.mktemp("runs"),
        )
    )


def train(config):
    AcceleratorState._reset_state(reset_partial_state=True)
    Trainer(config, load_data(config.data)).train()
    AcceleratorState._reset_state(reset_partial_state=True)
    return config


def test_heat_s_bounds_stand_side_by_side_in_the_run_s_folder(heat):
    told = []
    found = evaluate_run(heat.folder, images=60, fit_images=200, progress=False, report=lambda *each: told.append(each))
    assert list(found) == ["delta = sigma = 0.03", "the samples' delta = 0.04", "fitted", "Markov levels, fitted"]
    assert told == list(found.items())
    for report in found.values():
        assert report.count == 60
        # All levels but the first, which the reconstruction is from.
        assert report.steps == 7
        assert report.grey_levels.levels == 17
        assert all(math.isfinite(figure.mean) for figure in report.bits_per_dim()[:4])
    # Fitted on other images, and still far better; a chain does not pay anew at each level for what is not known.
    assert found["Markov levels, fitted"].nats.total.mean < found["fitted"].nats.total.mean
    assert found["fitted"].nats.total.mean < min(found[name].nats.total.mean for name in list(found)[:2])
    assert {path.name for path in heat.folder.iterdir()} >= {"likelihood_60.json", "fitted_bounds_60.pt"}
    assert not list(heat.folder.glob(".*"))
    stored = json.loads((heat.folder / "likelihood_60.json").read_text())
    assert (stored["checkpoint"], stored["fit_images"], stored["seed"]) == ("step_00000020", 200, 0)
    described = {name: figures.pop("bound") for name, figures in stored["bounds"].items()}
    assert stored["bounds"] == json.loads(json.dumps({name: report.to_json() for name, report in found.items()}))
    assert [each["coupling"] for each in described.values()] == ["Independent()"] * 3 + ["Markov()"]
    assert described["the samples' delta = 0.04"]["reverse_std"] == "ConstantStd(delta=0.04)"


def test_the_fitted_bounds_can_be_had_again_from_the_folder(heat):
    with pytest.raises(FileNotFoundError, match=r"no fitted bounds.*python -m unmelt\.evaluation makes them"):
        load_fitted_bound(heat.folder)
    found = evaluate_run(heat.folder, fit_images=50, progress=False)
    loaded = load_run(heat.folder)
    held_out = loaded.data().test.scaled()
    for name, coupling in {"fitted": Independent(), "Markov levels, fitted": Markov()}.items():
        bound = load_fitted_bound(heat.folder, name)
        assert bound.coupling == coupling
        assert evaluate_bound(bound, loaded.denoiser, held_out, batch_size=256, progress=False) == found[name]
    with pytest.raises(ValueError, match=r"no bound 'best': there is 'fitted' and 'Markov levels, fitted'"):
        load_fitted_bound(heat.folder, "best")


def test_heat_s_bound_is_as_published(heat):
    loaded = load_run(heat.folder)
    bound = run_bounds(loaded, loaded.data())["delta = sigma = 0.03"]
    assert isinstance(bound.prior, DegradedDataPrior)
    assert bound.prior.kernel_divergence is KernelDivergence.VARIATIONAL
    assert isinstance(bound.reverse_std, ConstantStd)
    assert bound.reverse_std.delta == pytest.approx(heat.process.sigma)
    assert bound.coupling == Independent()
    with pytest.raises(ValueError, match="steps=7 are for processes without levels, and HeatDissipation has 8"):
        run_bounds(loaded, loaded.data(), 7)


def test_a_markov_run_has_the_bounds_of_its_grid_and_of_continuous_time(heat):
    config = train(
        dataclasses.replace(
            heat,
            name="cosine",
            process=IsotropicConfig(),
            prediction=PredictionKind.V,
            data=DataConfig(DataSource.DIGITS, low=-1.0),
            sampling=SamplingConfig(count=2, steps=10),
        )
    )
    found = evaluate_run(config.folder, images=40, fit_images=100, progress=False)
    assert all(report.count == 40 for report in found.values())
    assert list(found) == ["posterior's", "forward's", "continuous time", "fitted"]
    assert [report.steps for report in found.values()] == [10, 10, None, 10]
    assert evaluate_run(config.folder, images=5, fit_images=5, steps=4, progress=False)["fitted"].steps == 4


@pytest.mark.parametrize("coupling", [CouplingKind.MARKOV, CouplingKind.DETERMINISTIC, CouplingKind.INDEPENDENT])
def test_any_family_trained_by_heat_s_recipe_has_bounds(heat, coupling):
    """The recipe's delta belongs to heat: another process has bounds whatever it is sampled with."""
    config = train(
        dataclasses.replace(
            heat,
            name=f"pixelation_{coupling.value}",
            process=CustomConfig(target="Pixelation"),
            prediction=PredictionKind.X,
            sampling=dataclasses.replace(
                heat.sampling, coupling=coupling, delta=None if coupling is CouplingKind.DETERMINISTIC else 0.04
            ),
        )
    )
    found = evaluate_run(config.folder, images=20, fit_images=40, steps=6, progress=False)
    assert "fitted" in found
    assert ("the samples' delta = 0.04" in found) == (coupling is CouplingKind.INDEPENDENT)


def test_the_command_prints_a_line_each_and_explains_errors(heat):
    command = [sys.executable, "-m", "unmelt.evaluation"]
    done = subprocess.run(
        [*command, str(heat.folder), "--images", "20", "--fit-images", "30"], capture_output=True, text=True, check=True
    )
    for name in ("delta = sigma = 0.03", "the samples' delta = 0.04", "fitted"):
        assert f"\n{name} " in done.stdout
    assert f"written: {heat.folder / 'likelihood_20.json'}" in done.stdout
    missing = subprocess.run([*command, "nowhere"], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: nowhere holds no run")
    with pytest.raises(ValueError, match="fit_images must be at least 1, got 0"):
        evaluate_run(heat.folder, fit_images=0)
