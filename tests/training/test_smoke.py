"""Recipes made tiny."""

import dataclasses
from pathlib import Path

import pytest

from unmelt.core import later
from unmelt.degradations import HeatDissipation, IsotropicDiffusion, PredictX
from unmelt.models import UNet
from unmelt.samplers import KarrasGrid, UniformGrid
from unmelt.training import CIFAR10, Digits, ImageFolder, PhotoCrops, Precision, RunConfig, Training
from unmelt.training.data import HubImages, IDXFiles, MNISTSample
from unmelt.training.smoke import smoke

RECIPE = RunConfig(
    name="big",
    data=CIFAR10(low=-1.0),
    process=later(HeatDissipation, levels=200, blur_sigma_max=24.0),
    network=later(UNet, channels=128, multipliers=(1, 2, 2), blocks=4, attention_levels=(2,)),
    prediction=PredictX(),
    grid=UniformGrid(1000),
    training=Training(precision=Precision.FP16, compile=True, accumulate=8),
)


def test_what_takes_long_is_small_and_the_rest_is_the_recipe_s():
    tiny = smoke(RECIPE)
    assert tiny.name == "big_smoke"
    assert tiny.process == later(HeatDissipation, levels=4, blur_sigma_max=24.0)
    assert tiny.network == later(UNet, channels=4, multipliers=(1, 2, 2), blocks=1, attention_levels=(2,))
    assert (tiny.grid, tiny.prediction) == (UniformGrid(4), PredictX())
    training = tiny.training
    assert (training.steps, training.batch_size, training.accumulate, training.workers) == (4, 2, 1, 0)
    # There is no float16 on a CPU.
    assert (training.cpu, training.compile, training.precision) == (True, False, Precision.FLOAT32)
    assert training.clip == RECIPE.training.clip


def test_what_has_no_such_settings_is_left_alone():
    few = dataclasses.replace(
        RECIPE, process=later(IsotropicDiffusion), network=Path, grid=KarrasGrid(30), data=Digits(high=3.0)
    )
    tiny = smoke(few)
    assert (tiny.process, tiny.network, tiny.grid, tiny.data) == (few.process, Path, KarrasGrid(30), few.data)
    assert smoke(dataclasses.replace(RECIPE, grid=UniformGrid(3))).grid == UniformGrid(3)


@pytest.mark.parametrize(
    ("data", "instead"),
    [
        (CIFAR10(low=-1.0), PhotoCrops(low=-1.0)),
        (ImageFolder(Path("nowhere"), size=64, high=2.0), PhotoCrops(size=64, high=2.0)),
        (HubImages("no/such", size=(48, 32), channels=1), PhotoCrops(size=32, grey=True)),
        (ImageFolder(Path("nowhere"), size=None), PhotoCrops()),
        (IDXFiles(Path("nowhere"), low=-1.0), MNISTSample(low=-1.0)),
    ],
)
def test_data_that_need_a_place_are_replaced_by_some_of_their_size(data, instead):
    assert data.stand_in() == instead
