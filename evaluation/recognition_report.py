"""What a trained run's samples are worth, beside held-out images: printed at the end of the recipes on digits."""

from __future__ import annotations

from ..training import Trainer
from .recognition import Recogniser


def report_recognition(trainer: Trainer, count: int = 256) -> None:
    """Print how recognisable samples are, and how new, beside held-out images.

    Nothing is measured where the training images have no labels.

    Args:
        trainer: after its last step; samples are drawn with its sampler from its moving average.
        count: number of samples.
    """
    data = trainer.data
    if data.train.labels is None:
        print("\nno classifier without labels: the report is for the digits")  # noqa: T201
        return
    samples = trainer.draw(count, seed=1).clamp(*data.train.range)
    recogniser = Recogniser(data.train.read(), data.train.labels)
    print("\n                    recognised  classes  distance to nearest training digit")  # noqa: T201
    for name, images in {f"{count} samples": samples, f"{len(data.test)} held-out digits": data.test.read()}.items():
        found = recogniser.assess(images)
        print(f"{name:20}{found.recognised:10.1%}{found.classes:9d}{found.nearest:12.2f}")  # noqa: T201
