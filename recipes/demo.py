"""Heat dissipation on 28 x 28 digits of MNIST: the demo, a few minutes on a laptop's CPU.

There are 4500 digits to train on and 500 held out, which a package brings along. The network predicts the clean digit,
so that 20 steps draw a sample, with fresh noise in each, as the paper's do; it knows the ten classes, and samples are
drawn with classifier-free guidance. At last 256 samples are drawn, and it is reported how many of them a classifier of
real digits recognises, and how many as the digit asked for, beside the same figures for held-out digits, and how close
samples lie to their nearest training image.

To reach: 0.85 times the share of held-out digits that is recognised, 90 %, in all ten classes.
Reached here: 86 %, 0.96 times that share, 82 % as the digit asked for (held-out digits: 88 %), in all ten classes, the
nearest training digit at 4.85 (held-out digits: 4.83), in 3 min 12 s with two threads on two cores. Of 768 samples 90 %
are recognised, with guidance or without.
"""

import torch

from unmelt.core import later
from unmelt.degradations import HeatDissipation, Independent, PredictX
from unmelt.evaluation import report_recognition
from unmelt.losses import SumOverDimensions
from unmelt.models import UNet
from unmelt.samplers import Posterior, UniformGrid
from unmelt.training import Pictures, RunConfig, Training, launch
from unmelt.training.data import MNISTSample

RECIPE = RunConfig(
    name="demo",
    data=MNISTSample(),
    process=later(HeatDissipation, levels=100, blur_sigma_min=0.5, blur_sigma_max=14.0, sigma=0.05),
    network=later(
        UNet, patch=2, channels=32, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.0, classes=10
    ),
    prediction=PredictX(),
    reduction=SumOverDimensions(),
    sampler=Posterior(coupling=Independent()),
    grid=UniformGrid(20),
    optimizer=later(torch.optim.AdamW, lr=2e-3, weight_decay=0.0, fused=True),
    training=Training(
        steps=1000,
        batch_size=48,
        warmup=100,
        cosine_decay=True,
        ema_decay=0.995,
        log_every=20,
        checkpoint_every=500,
        sample_every=500,
        cpu=True,
    ),
    pictures=Pictures(count=60, guidance=1.5),
)

if __name__ == "__main__":
    trained = launch(RECIPE, __doc__)
    if trained.accelerator.is_main_process:
        report_recognition(trained)
