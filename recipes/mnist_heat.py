"""Inverse heat dissipation on MNIST, in the configuration that its authors released.

Rissanen, Heinonen & Solin, "Generative Modelling with Inverse Heat Dissipation", ICLR 2023: 100 levels of blur up to 20
pixels, noise 0.01, a U-Net of 42 M parameters, 1.3 M steps of 128 images. What is ours is said in `cifar10_heat.py`.
The demo, `demo.py`, is a small one of the kind for a CPU.

To reach: no figure for MNIST was found in a text that was read.
Reached here: not trained to the end yet.
"""

import torch

from unmelt.core import later
from unmelt.degradations import HeatDissipation, Independent, PredictPreviousLevel
from unmelt.losses import SimpleWeighting, SumOverDimensions
from unmelt.models import MarginalStd, UNet, fit_prior
from unmelt.samplers import Posterior, UniformGrid
from unmelt.training import RunConfig, Training, launch
from unmelt.training.data import HubImages

RECIPE = RunConfig(
    name="mnist_heat",
    data=HubImages("ylecun/mnist", size=28, channels=1),
    process=later(HeatDissipation, levels=100, blur_sigma_min=0.5, blur_sigma_max=20.0, sigma=0.01),
    network=later(UNet, channels=128, multipliers=(1, 2, 2), blocks=4, attention_levels=(2,), dropout=0.1),
    prediction=PredictPreviousLevel(),
    weighting=SimpleWeighting(),
    reduction=SumOverDimensions(),
    prior=later(fit_prior),
    sampler=Posterior(coupling=Independent(), reverse_std=MarginalStd(times_sigma=1.25)),
    grid=UniformGrid(),
    optimizer=later(torch.optim.AdamW, lr=2e-4, weight_decay=0.0, fused=True),
    training=Training(steps=1_300_000, batch_size=128, warmup=5000, clip=1.0, ema_decay=0.999),
)

if __name__ == "__main__":
    launch(RECIPE, __doc__)
