"""Denoising diffusion on CIFAR-10: isotropic noise, epsilon prediction, ancestral sampling in 1000 steps.

Ho, Jain & Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020: the linear schedule, here in continuous
time, and the simple loss. The network is that of `cifar10_heat.py`, not the paper's. From `cifar10_blurring.py` this
run differs in the process alone, from `cifar10_heat.py` also in what is predicted, the data's range, the moving average
and the mirrored images.

To reach: FID 3.17, which the paper's abstract gives for its own network.
Reached here: not trained to the end yet.
"""

import torch

from unmelt.core import later
from unmelt.degradations import IsotropicDiffusion, LinearSchedule, Markov, PredictEpsilon
from unmelt.losses import MeanOverDimensions, SimpleWeighting
from unmelt.models import UNet, fit_prior
from unmelt.samplers import Posterior, UniformGrid
from unmelt.training import CIFAR10, RunConfig, Training, launch

RECIPE = RunConfig(
    name="cifar10_ddpm",
    data=CIFAR10(low=-1.0, high=1.0),
    process=later(IsotropicDiffusion, schedule=LinearSchedule()),
    network=later(UNet, channels=128, multipliers=(1, 2, 2, 2), blocks=4, attention_levels=(2, 3), dropout=0.1),
    prediction=PredictEpsilon(),
    weighting=SimpleWeighting(),
    reduction=MeanOverDimensions(),
    prior=later(fit_prior),
    sampler=Posterior(coupling=Markov()),
    grid=UniformGrid(steps=1000),
    optimizer=later(torch.optim.AdamW, lr=2e-4, weight_decay=0.0, fused=True),
    training=Training(steps=1_300_000, batch_size=128, warmup=5000, clip=1.0, ema_decay=0.9999, flip=True),
)

if __name__ == "__main__":
    launch(RECIPE, __doc__)
