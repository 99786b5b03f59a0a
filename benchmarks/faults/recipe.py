"""A user's recipe whose run takes a second: every fault is tried on it, in a folder of its own."""

from pathlib import Path

import torch

from unmelt.core import later
from unmelt.degradations import HeatDissipation, PredictX
from unmelt.models import UNet
from unmelt.training import Pictures, RunConfig, Training, launch
from unmelt.training.data import ArrayFile

torch.set_num_threads(1)

RECIPE = RunConfig(
    name="tiny",
    data=ArrayFile(Path("pictures.npy")),
    process=later(HeatDissipation, levels=5, blur_sigma_min=0.3, blur_sigma_max=4.0, sigma=0.03),
    # Dropout and mirrored images draw random numbers, beside those of times and noise.
    network=later(UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=(), dropout=0.1),
    prediction=PredictX(),
    optimizer=later(torch.optim.AdamW, lr=2e-3, fused=True),
    pictures=Pictures(count=1),
    training=Training(
        steps=60,
        batch_size=16,
        warmup=10,
        flip=True,
        log_every=1,
        checkpoint_every=20,
        keep_checkpoints=3,
        sample_every=1_000_000,
        cpu=True,
    ),
)

if __name__ == "__main__":
    launch(RECIPE, __doc__)
