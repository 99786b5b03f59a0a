"""Heat dissipation on crops of the photographs that scikit-learn and scikit-image ship: colour, without a download.

Ours throughout, for a CPU: `--data.size 64 --network.patch 4 --network.channels 64 --process.blur-sigma-max 40` takes
larger crops, and so on up to 256. There are seven photographs, five of them trained on: samples have their stuff and
their colours, and are of nothing in particular.

To reach: nothing is known.
Reached here: stuff and colours, `docs/images/photos.png`, after 2300 steps of 32 in 16 minutes of one CPU core; the
loss of held-out photographs is 15.4. With those flags `docs/images/photos64.png`, after 1800 steps in 17 minutes, 92.8.
"""

import torch

from unmelt.core import later
from unmelt.degradations import HeatDissipation, Independent, PredictX
from unmelt.losses import SumOverDimensions
from unmelt.models import UNet
from unmelt.samplers import Posterior, UniformGrid
from unmelt.training import PhotoCrops, RunConfig, Training, launch

RECIPE = RunConfig(
    name="photos_heat",
    data=PhotoCrops(),
    process=later(HeatDissipation, levels=100, blur_sigma_min=0.5, blur_sigma_max=20.0, sigma=0.05),
    network=later(UNet, patch=2, channels=48, multipliers=(1, 2, 2), blocks=1, attention_levels=(1, 2), dropout=0.0),
    prediction=PredictX(),
    reduction=SumOverDimensions(),
    sampler=Posterior(coupling=Independent()),
    grid=UniformGrid(20),
    optimizer=later(torch.optim.AdamW, lr=7e-4, weight_decay=0.0, fused=True),
    training=Training(
        steps=2300,
        batch_size=32,
        warmup=200,
        cosine_decay=True,
        ema_decay=0.997,
        flip=True,
        checkpoint_every=500,
        sample_every=500,
        cpu=True,
    ),
)

if __name__ == "__main__":
    launch(RECIPE, __doc__)
