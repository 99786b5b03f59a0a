"""Blurring diffusion on CIFAR-10: blur and noise together, one diffusion per frequency.

Hoogeboom & Salimans, "Blurring Diffusion Models", ICLR 2023: blur up to 20 pixels, a thousandth of every frequency
kept, cosine schedule, epsilon prediction, with the network of `cifar10_heat.py`.
"""

from unmelt.training import (
    BlurringConfig,
    CouplingKind,
    DataConfig,
    DataSource,
    OptimizerConfig,
    PredictionKind,
    ReductionKind,
    RunConfig,
    SamplingConfig,
    launch,
)

RECIPE = RunConfig(
    name="cifar10_blurring",
    process=BlurringConfig(blur_sigma_max=20.0, min_scale=0.001),
    prediction=PredictionKind.EPSILON,
    reduction=ReductionKind.MEAN,
    data=DataConfig(DataSource.CIFAR10, low=-1.0, high=1.0, flip=True),
    optimizer=OptimizerConfig(ema_decay=0.9999),
    sampling=SamplingConfig(coupling=CouplingKind.MARKOV, steps=1000),
)

if __name__ == "__main__":
    launch(RECIPE, __doc__)
