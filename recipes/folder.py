"""A model of your own images: a folder of them, of any size and kind, at 32 to 256 pixels.

    python recipes/folder.py --data.folder PATH --data.size 64

Ours throughout. A tenth of the files is held out. The network has 9 M parameters and takes sizes that divide by 8;
`--network.channels 32` makes it a quarter of that, for a CPU or a first try. `--dry-run` tells what a run would take.

To reach: it depends on the images.
Reached here: see the table of recipes in the documentation.
"""

from pathlib import Path

import torch

from unmelt.core import later
from unmelt.degradations import BlurringDiffusion, PredictV
from unmelt.models import UNet
from unmelt.samplers import Multistep, UniformGrid
from unmelt.training import ImageFolder, RunConfig, Training, launch

RECIPE = RunConfig(
    name="folder",
    data=ImageFolder(Path("images"), size=64, low=-1.0),
    process=later(BlurringDiffusion),
    network=later(UNet, channels=64, multipliers=(1, 2, 2, 2), blocks=2, attention_levels=(3,), dropout=0.1),
    prediction=PredictV(),
    sampler=Multistep(),
    grid=UniformGrid(50),
    optimizer=later(torch.optim.AdamW, lr=2e-4, weight_decay=0.0, fused=True),
    training=Training(steps=200_000, batch_size=64, warmup=1000, ema_decay=0.9995, flip=True, sample_every=2000),
)

if __name__ == "__main__":
    launch(RECIPE, __doc__)
