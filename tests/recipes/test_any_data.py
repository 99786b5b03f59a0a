"""Recipes as they are, on data of the user's: float fields, sound, volumes, pictures in a folder."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import ROOT
from test_recipes import load

from unmelt.training import launch, load_run

SHAPES = {"fields": (2, 16, 8), "sound": (1, 64), "volumes": (1, 8, 8, 8)}
SMALL = """
    --training.steps 3 --training.batch-size 8 --training.cpu --network.channels 4 --network.multipliers (1,2)
    --network.blocks 1 --network.attention-levels (1,) --pictures.count 4 --grid UniformGrid(steps=4)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(recipe, *words):
    return launch(load(ROOT / "recipes" / f"{recipe}.py").RECIPE, arguments=[*SMALL.split(), *words])


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::unmelt.models.OffLevelsWarning")
@pytest.mark.parametrize(
    "recipe",
    [
        "cifar10_heat",
        pytest.param("cifar10_ddpm", marks=pytest.mark.full),
        pytest.param("cifar10_blurring", marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("kind", SHAPES)
def test_arrays_without_levels_are_trained_on_drawn_and_loaded_again(kind, recipe):
    shape = SHAPES[kind]
    np.save("x.npy", 3 + 5 * np.random.default_rng(0).normal(size=(40, *shape)).astype(np.float32))
    trainer = train(recipe, "--data", "ArrayFile", "--data.file", "x.npy")
    assert trainer.data.train.grey_levels is None
    assert len(list(trainer.run.path.glob("*.png"))) == 3
    run = load_run(trainer.run.path)
    assert run.denoiser.grey_levels is None
    assert run.sample(2, generator=torch.Generator().manual_seed(0)).shape == (2, *shape)
    assert run.data("x.npy").train.fingerprint() == trainer.data.train.fingerprint()


def test_pictures_with_labels_condition_the_network():
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = ROOT.__class__("set") / ("light" if number % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        low, high = (128, 256) if number % 2 else (0, 128)
        Image.fromarray(rng.integers(low, high, (16, 16)).astype(np.uint8)).save(folder / f"{number}.png")
    words = "--data ImageFolder --data.folder set --data.size 16 --data.labels subfolders --network.classes 2"
    trainer = train("cifar10_ddpm", *words.split())
    assert trainer.denoiser.classes == 2
    assert trainer.data.train.shape == (1, 16, 16)
