"""Heat dissipation on 28 x 28 digits of MNIST: the demo, a few minutes on a laptop's CPU.

There are 4500 digits to train on and 500 held out, which a package brings along. The network predicts the clean digit,
so that 20 steps draw a sample. They add the noise of the reverse diffusion twice over (eta = 2): after a short training
more samples are recognised with it than without. At last 256 samples are drawn, and it is reported how many of them a
classifier of real digits recognises, beside the same figure for held-out digits, and how close samples lie to their
nearest training image.

To reach: 0.85 times the share of held-out digits that is recognised, 90 %, in all ten classes.
Reached here: 81 % and 78 % with seeds 0 and 1, 0.90 and 0.87 times 90 %, in all ten classes; the nearest training digit
lies at a distance of 5.41 and 5.25 (held-out digits: 4.83).
"""

import torch

from unmelt.core import later
from unmelt.degradations import HeatDissipation, PredictX
from unmelt.evaluation import report_recognition
from unmelt.losses import SumOverDimensions
from unmelt.models import UNet
from unmelt.samplers import Multistep, UniformGrid
from unmelt.training import RunConfig, Training, launch
from unmelt.training.data import MNISTSample

RECIPE = RunConfig(
    name="demo",
    data=MNISTSample(),
    process=later(HeatDissipation, levels=100, blur_sigma_min=0.5, blur_sigma_max=14.0, sigma=0.05),
    network=later(UNet, patch=2, channels=32, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.0),
    prediction=PredictX(),
    reduction=SumOverDimensions(),
    sampler=Multistep(order=2, eta=2.0),
    grid=UniformGrid(20),
    optimizer=later(torch.optim.AdamW, lr=2e-3, weight_decay=0.0, fused=True),
    training=Training(
        steps=2000,
        batch_size=48,
        warmup=100,
        cosine_decay=True,
        ema_decay=0.995,
        log_every=20,
        checkpoint_every=1000,
        sample_every=1000,
        cpu=True,
    ),
)

if __name__ == "__main__":
    trained = launch(RECIPE, __doc__)
    if trained.accelerator.is_main_process:
        report_recognition(trained)
