"""The demo: inverse heat dissipation on the 8 x 8 digits of scikit-learn, a few minutes on a laptop's CPU.

After training it draws 256 samples and reports how many a classifier of real digits recognises, beside the same figure
for held-out digits, and how close samples lie to their nearest training image.
"""

import torch

from unmelt.evaluation import Recogniser
from unmelt.training import (
    CouplingKind,
    DataConfig,
    DataSource,
    HeatConfig,
    NetworkConfig,
    OptimizerConfig,
    PredictionKind,
    ReductionKind,
    RunConfig,
    SamplingConfig,
    Trainer,
    TrainingConfig,
    build_sampler,
    launch,
)

RECIPE = RunConfig(
    name="digits_heat",
    process=HeatConfig(blur_sigma_min=0.3, blur_sigma_max=6.0, levels=50, sigma=0.03),
    prediction=PredictionKind.LESS_DEGRADED,
    reduction=ReductionKind.SUM,
    data=DataConfig(DataSource.DIGITS),
    network=NetworkConfig(channels=32, multipliers=(1, 2), blocks=1, attention_levels=(1,)),
    optimizer=OptimizerConfig(learning_rate=2e-3, warmup=100, cosine_decay=True, ema_decay=0.999),
    training=TrainingConfig(steps=1400, log_every=20, checkpoint_every=700, sample_every=700, cpu=True),
    sampling=SamplingConfig(count=64, coupling=CouplingKind.INDEPENDENT, delta=0.033),
)
REPORTED = 256


def report(trainer: Trainer) -> None:
    """Print how recognisable samples are, and how new, beside held-out digits."""
    if trainer.data.train_labels is None:
        print("\nno classifier without labels: the report is for the digits")
        return
    data, labels = trainer.data, trainer.sample_labels(REPORTED)
    sampler = build_sampler(trainer.config, trainer.ema.model, trainer.prior, labels=labels)
    samples = sampler.sample(REPORTED, generator=torch.Generator().manual_seed(1)).clamp(*data.train.data_range)
    recogniser = Recogniser(data.train.scaled(), trainer.data.train_labels)
    print("\n                    recognised  classes  distance to nearest training digit")
    for name, images in {
        f"{REPORTED} samples": samples,
        f"{len(data.test)} held-out digits": data.test.scaled(),
    }.items():
        found = recogniser.assess(images)
        print(f"{name:20}{found.recognised:10.1%}{found.classes:9d}{found.nearest:12.2f}")


if __name__ == "__main__":
    report(launch(RECIPE, __doc__))
