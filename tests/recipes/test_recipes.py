"""Recipes: each describes a run that trains, offers its settings, and shadows no library."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

import unmelt
from unmelt.training import (
    DataConfig,
    DataSource,
    ImageSplits,
    RunConfig,
    Trainer,
    build_denoiser,
    build_loss,
    build_prior,
    build_sampler,
    load_data,
)
from unmelt.training.records import read_metrics

ROOT = Path(unmelt.__file__).parent
RECIPES = sorted((ROOT / "recipes").glob("*.py"))


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
    splits = load_data(DataConfig(DataSource.PHOTOS, low=-1.0))
    return ImageSplits(
        *(type(images)(images.values[::10], data_range=images.data_range) for images in (splits.train, splits.test))
    )


def reduced(config, **training):
    """Return the recipe with a network of a few thousand parameters; everything else stays."""
    return dataclasses.replace(
        config,
        network=dataclasses.replace(config.network, channels=4, blocks=1, attention_levels=()),
        training=dataclasses.replace(config.training, **training),
    )


@pytest.fixture(autouse=True)
def fresh_accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class TestRecipes:
    def test_there_are_some(self):
        assert {"digits_heat", "cifar10_heat"} <= {path.stem for path in RECIPES}

    def test_each_is_documented_and_named_after_its_file(self, recipe):
        assert isinstance(recipe.RECIPE, RunConfig)
        assert recipe.RECIPE.name == Path(recipe.__file__).stem
        assert len(recipe.__doc__.splitlines()[0]) > 20

    def test_each_builds_its_denoiser_loss_prior_and_sampler(self, recipe, photos):
        config = reduced(recipe.RECIPE)
        denoiser = build_denoiser(config, photos.train.shape)
        loss = build_loss(config, denoiser.process)
        prior = build_prior(denoiser.process, photos.train)
        sampler = build_sampler(config, denoiser, prior)
        x = photos.train.scaled(slice(4))
        values = loss(denoiser, x, generator=torch.Generator().manual_seed(0))
        assert values.shape == (4,)
        assert values.isfinite().all()
        assert (values > 0).all()
        assert prior.sample(2, generator=torch.Generator().manual_seed(0)).shape == (2, *photos.train.shape)
        assert len(sampler.times) - 1 == (config.sampling.steps or denoiser.process.levels)

    def test_each_trains_and_draws_samples(self, recipe, photos, tmp_path):
        config = reduced(
            recipe.RECIPE, steps=2, batch_size=4, log_every=1, checkpoint_every=2, sample_every=1, cpu=True
        )
        config = dataclasses.replace(
            config, root=tmp_path, sampling=dataclasses.replace(config.sampling, count=2, steps=3)
        )
        run = Trainer(config, photos).train()
        assert [line["step"] for line in read_metrics(run.metrics)] == [1, 2]
        assert [path.name for path in run.checkpoints.iterdir()] == ["step_00000002"]
        assert (run.samples / "step_00000001.png").is_file()

    def test_none_is_named_like_something_that_can_be_imported(self):
        # A script's folder comes first on its path: recipes/datasets.py would be imported in place of datasets.
        path = [entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT / "recipes", ROOT)]
        for recipe in RECIPES:
            assert recipe.stem not in sys.builtin_module_names
            assert recipe.stem not in sys.stdlib_module_names
            assert PathFinder.find_spec(recipe.stem, path) is None, recipe.stem


class TestReleasedSettings:
    def test_heat_on_cifar10_is_as_released(self):
        config = load(ROOT / "recipes" / "cifar10_heat.py").RECIPE
        process, network, optimizer = config.process, config.network, config.optimizer
        assert (process.levels, process.blur_sigma_min, process.blur_sigma_max, process.sigma) == (200, 0.5, 24.0, 0.01)
        assert (network.channels, network.multipliers, network.blocks) == (128, (1, 2, 2, 2), 4)
        assert (network.attention_levels, network.dropout) == ((2, 3), 0.1)
        assert (optimizer.learning_rate, optimizer.warmup, optimizer.clip, optimizer.ema_decay) == (
            2e-4,
            5000,
            1.0,
            0.999,
        )
        assert (config.training.steps, config.training.batch_size) == (1_300_000, 128)
        assert config.sampling.delta == 0.0125
        assert (config.data.low, config.data.high) == (0.0, 1.0)

    def test_blurring_diffusion_is_as_published(self):
        config = load(ROOT / "recipes" / "cifar10_blurring.py").RECIPE
        assert (config.process.blur_sigma_max, config.process.min_scale) == (20.0, 0.001)
        assert (config.data.low, config.data.high) == (-1.0, 1.0)


class TestScripts:
    @pytest.mark.parametrize("name", ["cifar10_heat"])
    def test_help_is_shown(self, name, tmp_path):
        finished = subprocess.run(
            [sys.executable, str(ROOT / "recipes" / f"{name}.py"), "--help"],
            env={**os.environ, "PYTHONPATH": str(ROOT.parent), "COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        assert "Inverse heat dissipation on CIFAR-10" in finished.stdout
        assert "--process.blur-sigma-max" in finished.stdout
        assert "Width of the strongest blur, in pixels." in finished.stdout
        assert not list(tmp_path.iterdir())
