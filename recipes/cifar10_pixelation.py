"""Pixelation on CIFAR-10: blocks of 2, 4, 8, ... pixels melt into their means. One of ours, in no paper.

The process is this project's own. Network, seed, steps and batch are those of `cifar10_heat.py`, from which this run
differs in the process and in what is predicted, the image: one network then serves any number of steps.

To reach: nothing is known; beside it stand FID 18.96 of heat, 3.17 of isotropic and of blurring diffusion (see there).
Reached here: not trained to the end yet.
"""

import torch

from unmelt.core import later
from unmelt.degradations import Independent, Pixelation, PredictX
from unmelt.losses import SimpleWeighting, SumOverDimensions
from unmelt.models import MarginalStd, UNet, fit_prior
from unmelt.samplers import Posterior, UniformGrid
from unmelt.training import CIFAR10, RunConfig, Training, launch

RECIPE = RunConfig(
    name="cifar10_pixelation",
    data=CIFAR10(low=0.0, high=1.0),
    process=later(Pixelation),
    network=later(UNet, channels=128, multipliers=(1, 2, 2, 2), blocks=4, attention_levels=(2, 3), dropout=0.1),
    prediction=PredictX(),
    weighting=SimpleWeighting(),
    reduction=SumOverDimensions(),
    prior=later(fit_prior),
    sampler=Posterior(coupling=Independent(), reverse_std=MarginalStd(times_sigma=1.25)),
    grid=UniformGrid(steps=200),
    optimizer=later(torch.optim.AdamW, lr=2e-4, weight_decay=0.0, fused=True),
    training=Training(steps=1_300_000, batch_size=128, warmup=5000, clip=1.0, ema_decay=0.999),
)

if __name__ == "__main__":
    launch(RECIPE, __doc__)
