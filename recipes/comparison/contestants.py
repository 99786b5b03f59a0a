"""The models of the comparison: equal in everything but the process and what is predicted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from coloured_heat import ColouredHeat

from unmelt.core import Shape, later
from unmelt.degradations import (
    BlurringDiffusion,
    EqualSNR,
    FittedSpectrum,
    HeatDissipation,
    IsotropicDiffusion,
    LinearGaussianProcess,
    PredictEpsilon,
    Prediction,
    PredictX,
    SpectralDiffusion,
)
from unmelt.losses import MeanOverDimensions
from unmelt.models import UNet
from unmelt.training import DataSet, PhotoCrops, RunConfig, Training
from unmelt.training.data import HubImages

Make = Callable[[Shape], LinearGaussianProcess]

# Heat dissipation keeps what noise leaves of fine detail: 0.05 for data in [0, 1], as in `fashion_heat.py`.
_SIGMA = 0.1
# So many levels that 5, 10, 20, 50, 200 and 1000 calls all lie on them.
_LEVELS = 1000
# Of 28 pixels and of 32, about half.
_BLUR = 14.0

PROCESSES: dict[str, Make] = {
    "isotropic": later(IsotropicDiffusion),
    "heat": later(HeatDissipation, levels=_LEVELS, blur_sigma_min=0.5, blur_sigma_max=_BLUR, sigma=_SIGMA),
    "blurring": later(BlurringDiffusion, blur_sigma_max=20.0, min_scale=0.001),
    # The border of garments is black in all of them: a floor, a thousandth of the mean variance of pixels.
    "equal_snr": later(SpectralDiffusion, noise=EqualSNR(FittedSpectrum(images=10_000, floor=5e-4))),
    "coloured_heat": later(ColouredHeat, blur_sigma_max=_BLUR, levels=_LEVELS, sigma=_SIGMA),
}
# Of the others the image cannot be found from the noise: alpha underflows.
NOISE_IS_STABLE = ("isotropic", "blurring", "equal_snr")
PREDICTIONS: dict[str, Prediction] = {"x": PredictX(), "epsilon": PredictEpsilon()}


@dataclass(frozen=True)
class Study:
    """Data and a budget.

    Attributes:
        name: what it is called.
        data: the images, in [-1, 1].
        steps: training steps.
        channels: of the network's first level.
    """

    name: str
    data: DataSet
    steps: int
    channels: int = 32


STUDIES = {
    study.name: study
    for study in (
        Study("fashion", HubImages("zalando-datasets/fashion_mnist", size=28, channels=1, low=-1.0), 3000),
        Study("photos", PhotoCrops(low=-1.0), 3000),
    )
}


@dataclass(frozen=True)
class Model:
    """One of the models.

    Attributes:
        study: data and budget.
        process: one of `PROCESSES`.
        prediction: one of `PREDICTIONS`.
        seed: of everything random in its training.
    """

    study: Study
    process: str
    prediction: str
    seed: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.process}_{self.prediction}_{self.seed}"

    def config(self, root: Path) -> RunConfig:
        """Return its run, in a folder below `root`."""
        study = self.study
        return RunConfig(
            name=f"{study.name}/{self.name}",
            data=study.data,
            process=PROCESSES[self.process],
            network=later(
                UNet,
                patch=2,
                channels=study.channels,
                multipliers=(1, 2),
                blocks=1,
                attention_levels=(1,),
                dropout=0.0,
            ),
            prediction=PREDICTIONS[self.prediction],
            reduction=MeanOverDimensions(),
            optimizer=later(torch.optim.AdamW, lr=1e-3, weight_decay=0.0, fused=True),
            training=Training(
                steps=study.steps,
                batch_size=32,
                warmup=200,
                cosine_decay=True,
                ema_decay=0.997,
                seed=self.seed,
                checkpoint_every=500,
                sample_every=study.steps,
                cpu=not torch.cuda.is_available(),
            ),
            root=root,
        )


def with_data(study: Study, data: DataSet) -> Study:
    """Return the study on the same images from another place."""
    return replace(study, data=data)


def own_process(text: str, make: Make) -> None:
    """Put a process in the place of ours, under the name of its class: `fog` for `path/to/fog.py:Fog(speed=2)`."""
    del PROCESSES["coloured_heat"]
    PROCESSES[text.rpartition(":")[2].partition("(")[0].lower()] = make
