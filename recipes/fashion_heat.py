"""Heat dissipation on the garments of Fashion-MNIST (Xiao, Rasul & Vollgraf, 2017), 28 x 28 pixels, on a CPU.

Ours throughout: as many levels as in `mnist_heat.py`, and a small network, 1.6 M parameters on patches of 2 x 2 pixels,
which predicts the garment itself, so that samples take 20 steps. Without a network, `--data IDXFiles --data.folder
FOLDER` reads the files as they are published.

To reach: garments that anyone names.
Reached here: garments, `docs/images/fashion.png`, after 3500 steps of 32 in 17 minutes of one CPU core; the loss of
held-out garments is 10.7.
"""

import torch

from unmelt.core import later
from unmelt.degradations import HeatDissipation, Independent, PredictX
from unmelt.losses import SumOverDimensions
from unmelt.models import UNet
from unmelt.samplers import Posterior, UniformGrid
from unmelt.training import RunConfig, Training, launch
from unmelt.training.data import HubImages

RECIPE = RunConfig(
    name="fashion_heat",
    data=HubImages("zalando-datasets/fashion_mnist", size=28, channels=1),
    process=later(HeatDissipation, levels=100, blur_sigma_min=0.5, blur_sigma_max=14.0, sigma=0.05),
    network=later(UNet, patch=2, channels=48, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.0),
    prediction=PredictX(),
    reduction=SumOverDimensions(),
    sampler=Posterior(coupling=Independent()),
    grid=UniformGrid(20),
    optimizer=later(torch.optim.AdamW, lr=2e-3, weight_decay=0.0, fused=True),
    training=Training(
        steps=3500,
        batch_size=32,
        warmup=200,
        cosine_decay=True,
        ema_decay=0.997,
        checkpoint_every=1000,
        sample_every=1000,
        cpu=True,
    ),
)

if __name__ == "__main__":
    launch(RECIPE, __doc__)
