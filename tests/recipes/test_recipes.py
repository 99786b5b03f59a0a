"""Recipes: each describes a run that trains, offers its settings, and shadows no library."""

import importlib.util
import re
import shlex
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import torch
from small_runs import ROOT, changed, run_python

from unmelt import load_run
from unmelt.core import later
from unmelt.core.configuration import from_record, parse, to_record
from unmelt.degradations import HeatDissipation, Independent, PredictPreviousLevel, Step
from unmelt.models import MarginalStd, UNet
from unmelt.samplers import Posterior, UniformGrid
from unmelt.training import ArrayExamples, PhotoCrops, Pictures, RunConfig, Splits, Trainer, launch
from unmelt.training.folder.records import read_metrics

# Those that train: some files there do other things.
RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.py") if "\nRECIPE = " in path.read_text())
# One of each kind: the others differ from these in numbers.
KINDS = ["cifar10_ddpm", "cifar10_heat", "cifar10_pixelation", "folder"]


def load(path):
    specification = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def recipe(request):
    return load(request.param)


@pytest.fixture(scope="module")
def photos():
    """A tenth of the photographs' crops, which are what the recipes' images are like and need no network."""
    splits = PhotoCrops(low=-1.0).load()
    return thinned(splits)


def thinned(splits, every=10, classes=None):
    parts = ((part.values[::every], part.grey_levels) for part in (splits.train, splits.test))
    labels = (lambda values: None) if classes is None else lambda values: torch.arange(len(values)) % classes
    return Splits(*(ArrayExamples(values, levels, labels(values)) for values, levels in parts))


def labelled(splits):
    return thinned(splits, every=1, classes=10)


# What the page of recipes gives in backticks for any of them; data sets are read from the network or a folder.
(OTHER_PARTS,) = re.findall(r"## Other parts\n(.*?)\n## ", (ROOT / "docs" / "recipes.md").read_text(), re.DOTALL)
FLAGS = [flags for flags in re.findall(r"`(--[^`]+)`", OTHER_PARTS) if not flags.startswith(("--data", "--resume"))]

TINY = later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=())


# Three steps are enough to see that samples are drawn.
@pytest.mark.filterwarnings("ignore::unmelt.models.OffLevelsWarning")
class TestRecipes:
    def test_each_is_documented_and_named_after_its_file(self, recipe):
        assert isinstance(recipe.RECIPE, RunConfig)
        assert recipe.RECIPE.name == Path(recipe.__file__).stem
        assert len(recipe.__doc__.splitlines()[0]) > 20
        assert "To reach:" in recipe.__doc__
        assert from_record(RunConfig, to_record(recipe.RECIPE)) == recipe.RECIPE

    @pytest.mark.full
    @pytest.mark.parametrize("recipe", KINDS)
    def test_each_kind_trains_and_draws_samples(self, recipe, photos, tmp_path):
        config = load(ROOT / "recipes" / f"{recipe}.py").RECIPE
        config = changed(
            config,
            network=TINY,
            pictures=Pictures(count=2),
            grid=None if config.grid is None else UniformGrid(3),
            root=tmp_path,
            steps=2,
            batch_size=4,
            log_every=1,
            checkpoint_every=2,
            sample_every=1,
            cpu=True,
        )
        run = Trainer(config, photos).train()
        assert [line["step"] for line in read_metrics(run.metrics)] == [1, 2]
        assert [path.name for path in run.checkpoints.iterdir()] == ["step_00000002"]
        assert (run.samples / "step_00000001.png").is_file()

    @pytest.mark.slow
    @pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
    def test_each_is_tried_in_a_minute_by_smoke(self, path, tmp_path):
        finished = run_python(path, "--smoke", cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr
        run = load_run(tmp_path / "runs" / f"{path.stem}_smoke")
        shape = run.manifest.shape
        # What a recipe's name says of its images.
        size = next((int(word) for word in re.findall(r"\d+$", path.stem.split("_")[0]) if word != "10"), shape[-1])
        assert shape[-2:] == (size, size)
        assert (tmp_path / "runs" / f"{path.stem}_smoke" / "samples.png").is_file()

    @pytest.mark.parametrize("recipe", KINDS)
    @pytest.mark.parametrize("flags", sorted({*FLAGS}))
    def test_each_kind_takes_the_flags_that_their_page_shows(self, recipe, photos, tmp_path, flags):
        recipe = load(ROOT / "recipes" / f"{recipe}.py")
        grid = None if recipe.RECIPE.grid is None else UniformGrid(3)
        config = changed(recipe.RECIPE, network=TINY, grid=grid, root=tmp_path, cpu=True)
        trainer = Trainer(parse(config, shlex.split(flags)), labelled(photos))
        assert trainer.draw(2, seed=0).shape == (2, 3, 32, 32)

    def test_none_is_named_like_something_that_can_be_imported(self):
        # A script's folder comes first on its path: recipes/datasets.py would be imported in place of datasets.
        path = [entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT / "recipes", ROOT)]
        assert {"digits_heat", "cifar10_heat"} <= {path.stem for path in RECIPES}
        for recipe in RECIPES:
            assert recipe.stem not in sys.builtin_module_names
            assert recipe.stem not in sys.stdlib_module_names
            assert PathFinder.find_spec(recipe.stem, path) is None, recipe.stem


# Levels, blur, learning rate, batch, average, multipliers, blocks, attention, dropout, as the released files have them.
RELEASED = {
    "mnist_heat": (100, 20.0, 2e-4, 128, 0.999, (1, 2, 2), 4, (2,), 0.1),
    "cifar10_heat": (200, 24.0, 2e-4, 128, 0.999, (1, 2, 2, 2), 4, (2, 3), 0.1),
    "afhq64_heat": (200, 32.0, 1e-4, 128, 0.999, (1, 2, 3, 4), 2, (2, 3), 0.1),
    "churches128_heat": (400, 64.0, 2e-5, 32, 0.999, (1, 2, 3, 4, 5), 4, (2, 3, 4), 0.1),
    "ffhq256_heat": (200, 128.0, 2e-5, 32, 0.9999, (1, 2, 3, 4, 5), 3, (2, 3, 4), 0.3),
    "afhq256_heat": (200, 128.0, 1e-4, 32, 0.9999, (1, 2, 3, 4, 5), 3, (2, 3, 4), 0.3),
}


class TestReleasedSettings:
    @pytest.mark.parametrize("name", RELEASED)
    def test_heat_is_as_released(self, name):
        levels, blur, rate, batch, average, multipliers, blocks, attention, dropout = RELEASED[name]
        config = load(ROOT / "recipes" / f"{name}.py").RECIPE
        widths = {"blur_sigma_min": 0.5, "blur_sigma_max": blur}
        assert config.process == later(HeatDissipation, levels=levels, **widths, sigma=0.01)
        layers = {"multipliers": multipliers, "blocks": blocks, "attention_levels": attention}
        assert config.network == later(UNet, channels=128, **layers, dropout=dropout)
        assert config.prediction == PredictPreviousLevel()
        assert config.sampler == Posterior(coupling=Independent(), reverse_std=MarginalStd(times_sigma=1.25))
        assert (config.optimizer.settings["lr"], config.training.warmup, config.training.clip) == (rate, 5000, 1.0)
        training = config.training
        assert (training.ema_decay, training.steps, training.batch_size) == (average, 1_300_000, batch)
        assert (config.data.low, config.data.high, training.flip) == (0.0, 1.0, False)

    @pytest.mark.parametrize("name", ["cifar10_heat", "digits_heat"])
    def test_heat_s_delta_follows_its_sigma(self, name, tmp_path):
        """A tenth or a quarter more than sigma, whatever sigma is."""
        recipe = load(ROOT / "recipes" / f"{name}.py").RECIPE
        config = parse(changed(recipe, network=TINY, root=tmp_path, cpu=True), ["--process.sigma", "0.2"])
        process = config.process((3, 32, 32))
        step = Step.between(process.at(0.5), process.at(0.6), config.sampler.coupling)
        times = {"cifar10_heat": 1.25, "digits_heat": 1.1}[name]
        assert config.sampler.reverse_std.stddev(step).unique().tolist() == pytest.approx([0.2 * times])

    def test_blurring_diffusion_is_as_published(self):
        config = load(ROOT / "recipes" / "cifar10_blurring.py").RECIPE
        process = config.process((3, 32, 32))
        assert (process.blur.maximum, process.min_scale) == (20.0, 0.001)
        assert (config.data.low, config.data.high) == (-1.0, 1.0)


OWN = '''
"""A network, a data set and a process of the user's."""

from dataclasses import dataclass

import torch
from torch import nn

from unmelt.core import Shape
from unmelt.degradations import CosineBasis, LinearGaussianProcess
from unmelt.training import DataSet, ArrayExamples, Splits


class Patches(nn.Module):
    """A transformer over patches."""

    def __init__(self, shape: Shape, patch: int = 8, width: int = 8, depth: int = 1):
        super().__init__()
        channels, height, width_of_image = shape
        self.to_tokens = nn.Conv2d(channels, width, patch, patch)
        self.place = nn.Parameter(torch.zeros(1, height * width_of_image // patch**2, width))
        self.time = nn.Linear(1, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=True) for _ in range(depth)
        )
        self.to_image = nn.ConvTranspose2d(width, channels, patch, patch)

    def forward(self, z, t, condition=None):
        tokens = self.to_tokens(z)
        inner = tokens.flatten(2).mT + self.place + self.time(t[:, None])[:, None]
        for layer in self.layers:
            inner = layer(inner)
        return self.to_image(inner.mT.reshape(tokens.shape))


@dataclass(frozen=True)
class Stripes(DataSet):
    """Stripes.

    Attributes:
        count: how many.
    """

    count: int = 12

    def load(self) -> Splits:
        values = torch.arange(self.count * 3 * 16 * 16).reshape(self.count, 3, 16, 16).remainder(200).to(torch.uint8)
        return Splits(ArrayExamples(values[:-2]), ArrayExamples(values[-2:]))


class Fog(LinearGaussianProcess):
    """Fog.

    Args:
        shape: shape of one signal.
        speed: how fast it comes.
    """

    def __init__(self, shape: Shape, speed: float = 4.0):
        super().__init__(CosineBasis(shape))
        self.speed = speed

    def log_alpha(self, t):
        return -2 * self.speed * t

    def log_sigma(self, t):
        return -self.speed * (1 - t)
'''
TWO_STEPS = ["--training.steps=2", "--training.batch-size=2", "--training.cpu", "--pictures.count=2"]
FOG = [
    "--process=my_file.Fog",
    "--process.speed=3",
    "--prediction=PredictX",
    "--sampler=Multistep",
    "--grid=UniformGrid(2)",
]


class TestPartsOfTheUsersOwn:
    """In a file in the current directory, with no change of the library."""

    @pytest.fixture
    def here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "my_file.py").write_text(OWN)
        # What is imported from here is forgotten again.
        monkeypatch.setattr(sys, "path", [*sys.path])
        yield tmp_path
        sys.modules.pop("my_file", None)

    @pytest.mark.full
    @pytest.mark.parametrize(
        "typed",
        [
            ["--data=my_file.Stripes", "--data.count=14", "--network=my_file.Patches", "--network.patch=4", *FOG],
            # The same, in a file that is given by its path.
            pytest.param(
                [
                    *("--data", "my_file.py:Stripes", "--network", "my_file.py:Patches(patch=4)", *FOG[2:]),
                    *("--process", "my_file.py:Fog(speed=3)"),
                ],
                marks=pytest.mark.full,
            ),
        ],
        ids=["modules", "files"],
    )
    def test_network_data_and_process_train_in_place_of_the_recipe_s(self, here, typed):
        heat = changed(load(ROOT / "recipes" / "cifar10_heat.py").RECIPE)
        trainer = launch(heat, arguments=[*typed, *TWO_STEPS])
        assert type(trainer.denoiser.network).__name__ == "Patches"
        assert trainer.denoiser.process.speed == 3
        del sys.modules["my_file"]
        with pytest.raises(ValueError, match=r"data: 'my_file.*:?Stripes' is not one of .* trust_code=True"):
            load_run("runs/cifar10_heat")
        assert "my_file" not in sys.modules
        run = load_run("runs/cifar10_heat", trust_code=True)
        assert run.sample(2).shape == (2, 3, 16, 16)
        assert torch.equal(
            run.sample(1, generator=torch.Generator().manual_seed(0)),
            trainer.sampler.sample(1, generator=torch.Generator().manual_seed(0)),
        )
        assert launch(heat, arguments=[*typed, *TWO_STEPS, "--training.steps=3", "--resume"]).progress.step == 3

    @pytest.mark.full
    def test_a_patch_transformer_on_photographs_from_the_shell(self, here):
        heat = ROOT / "recipes" / "cifar10_heat.py"
        typed = ("--data", "PhotoCrops", "--network", "my_file.Patches", *TWO_STEPS, "--process.levels=4")
        result = run_python(heat, *typed, cwd=here)
        assert result.returncode == 0, result.stderr
        run = load_run("runs/cifar10_heat", trust_code=True)
        assert type(run.denoiser.network).__name__ == "Patches"
        assert run.sample(1).shape == (1, 3, 32, 32)


@pytest.mark.full
def test_help_is_shown_and_nothing_is_written(tmp_path):
    finished = run_python(ROOT / "recipes" / "cifar10_heat.py", "--help", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "Inverse heat dissipation on CIFAR-10" in finished.stdout
    finished = run_python(ROOT / "recipes" / "cifar10_heat.py", "--process.help", "HeatDissipation", cwd=tmp_path)
    assert "--process.blur_sigma_max = 24.0" in finished.stdout
    assert not list(tmp_path.iterdir())
