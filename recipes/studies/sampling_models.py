"""The two models of digits that the pages on sampling are measured and drawn with."""

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pages
import torch
from pages import ROOT
from torch import Tensor

from unmelt.core import later
from unmelt.degradations import (
    Deterministic,
    Eta,
    HeatDissipation,
    Independent,
    Markov,
    PredictPreviousLevel,
    PredictX,
)
from unmelt.losses import SumOverDimensions
from unmelt.models import DegradedDataPrior, Denoiser, MarginalStd, OffLevelsWarning, Prior, UNet
from unmelt.samplers import (
    Multistep,
    Posterior,
    Sampler,
    Start,
    Stepper,
    UniformGrid,
    blurred_start,
    time_of_blur,
    upsampled_start,
)
from unmelt.training import Digits, RunConfig, Splits, Training, load_run

DIGITS = Digits()
TRAINING_STEPS = 1400
LEVELS = 200

X = RunConfig(
    name="sampling_x",
    data=DIGITS,
    process=later(HeatDissipation, levels=LEVELS, blur_sigma_min=0.3, blur_sigma_max=6.0, sigma=0.03),
    network=later(UNet, channels=32, multipliers=(1, 2), blocks=1, attention_levels=(1,)),
    prediction=PredictX(),
    reduction=SumOverDimensions(),
    prior=later(DegradedDataPrior.fit),
    sampler=Posterior(coupling=Independent(), reverse_std=MarginalStd(times_sigma=1.1)),
    optimizer=later(torch.optim.AdamW, lr=2e-3, weight_decay=0.0, fused=True),
    training=Training(
        steps=TRAINING_STEPS,
        warmup=100,
        cosine_decay=True,
        log_every=20,
        checkpoint_every=TRAINING_STEPS,
        sample_every=TRAINING_STEPS,
        cpu=True,
    ),
    root=ROOT / "runs",
)
LESS = replace(X, name="sampling_less_degraded", prediction=PredictPreviousLevel())


# The same with images in which something can be seen: the heat dissipation of the comparison.
sys.path.append(str(ROOT / "recipes" / "comparison"))
LARGE = {"garments": "fashion", "crops": "photos"}


class Model(NamedTuple):
    """A trained model and its images."""

    name: str
    denoiser: Denoiser
    prior: Prior
    data: Splits
    folder: Path


NUMBERS_OF_STEPS = (200, 100, 50, 20, 10)
SAMPLES, GROUPS = 1024, 8


def sampler(model: Model, stepper: Stepper, steps: int = LEVELS) -> Sampler:
    """Return a sampler of a model in so many equal steps."""
    with warnings.catch_warnings():
        # What it warns of is what is measured here.
        warnings.simplefilter("ignore", OffLevelsWarning)
        return Sampler(model.denoiser, stepper, grid=UniformGrid(steps), prior=model.prior)


MARKOV, MULTISTEP = Posterior(Markov()), Multistep(order=2)
METHODS: dict[str, Stepper] = {
    "`Posterior`, `Independent()`, delta = 1.1 sigma": Posterior(Independent(), MarginalStd(times_sigma=1.1)),
    "`Posterior`, `Markov()`": MARKOV,
    "`Posterior`, `Eta(0.5)`": Posterior(Eta(0.5)),
    "`Posterior`, `Deterministic()`": Posterior(Deterministic()),
    "`Multistep`, order 2": MULTISTEP,
    "`Multistep`, order 3": Multistep(order=3),
}
FEW = {name: METHODS[name] for name in list(METHODS) if "Independent" in name or "Eta" in name or "order 2" in name}
MODELS = (("the image", X, METHODS), ("the previous level", LESS, FEW))


def trained(config: RunConfig) -> Model:
    """Return a trained model, training it first where there is none."""
    run = load_run(pages.trained(config))
    data = run.data()
    return Model("digits", run.denoiser, run.prior, data, config.folder)


def large(name: str) -> Model:
    """Return a trained model of `LARGE`, training it first where there is none."""
    # Imported here: it is a recipe of its own.
    from contestants import STUDIES  # noqa: PLC0415
    from contestants import Model as Contestant  # noqa: PLC0415

    model = Contestant(STUDIES[LARGE[name]], "heat", "x", 0)
    return trained(model.config(ROOT / "runs" / "comparison"))._replace(name=name)


def seeded(seed: int) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


def heat(model: Model) -> HeatDissipation:
    """Return the model's process."""
    process = model.denoiser.process
    assert isinstance(process, HeatDissipation)
    return process


def degraded(model: Model, x: Tensor) -> list[tuple[str, Tensor, Start]]:
    """Return what is done to digits: its name, how they look then, and what to start from."""
    process, width = heat(model), 1.0
    (blurred,) = process.degrade(x, time_of_blur(process, width))
    small = torch.nn.functional.avg_pool2d(x, 2)
    enlarged = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    return [
        ("blurred by 1 pixel", blurred, blurred_start(process, blurred, width=width)),
        ("4 x 4 pixels", enlarged, upsampled_start(process, small)),
    ]
