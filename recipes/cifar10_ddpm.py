"""Denoising diffusion on CIFAR-10: isotropic noise, epsilon prediction, ancestral sampling.

Ho, Jain & Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020: the linear schedule in continuous time, the
simple loss, with the network of `cifar10_heat.py`, so that the two differ in the process alone.
"""

from unmelt.training import (
    CouplingKind,
    DataConfig,
    DataSource,
    IsotropicConfig,
    OptimizerConfig,
    PredictionKind,
    ReductionKind,
    RunConfig,
    SamplingConfig,
    ScheduleKind,
    launch,
)

RECIPE = RunConfig(
    name="cifar10_ddpm",
    process=IsotropicConfig(schedule=ScheduleKind.LINEAR),
    prediction=PredictionKind.EPSILON,
    reduction=ReductionKind.MEAN,
    data=DataConfig(DataSource.CIFAR10, low=-1.0, high=1.0, flip=True),
    optimizer=OptimizerConfig(ema_decay=0.9999),
    sampling=SamplingConfig(coupling=CouplingKind.MARKOV, steps=1000),
)

if __name__ == "__main__":
    launch(RECIPE, __doc__)
