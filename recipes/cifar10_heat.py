"""Inverse heat dissipation on CIFAR-10, in the configuration that its authors released.

Rissanen, Heinonen & Solin, "Generative Modelling with Inverse Heat Dissipation", ICLR 2023: 200 levels of blur up to 24
pixels, noise 0.01, a U-Net of 61 M parameters, 1.3 M steps of 128 images. Samples are drawn with noise 1.25 times as
large.
"""

from unmelt.training import (
    CouplingKind,
    DataConfig,
    DataSource,
    HeatConfig,
    PredictionKind,
    ReductionKind,
    RunConfig,
    SamplingConfig,
    launch,
)

RECIPE = RunConfig(
    name="cifar10_heat",
    process=HeatConfig(blur_sigma_max=24.0, levels=200, sigma=0.01),
    prediction=PredictionKind.LESS_DEGRADED,
    reduction=ReductionKind.SUM,
    data=DataConfig(DataSource.CIFAR10, low=0.0, high=1.0),
    sampling=SamplingConfig(coupling=CouplingKind.INDEPENDENT, delta=0.0125),
)

if __name__ == "__main__":
    launch(RECIPE, __doc__)
