"""What a trained run's samples are worth, beside held-out images: printed at the end of the recipes on digits."""

from __future__ import annotations

from torch import Tensor

from ..training import Trainer
from ..training.building import classes_in_order
from .recognition import Recogniser


def report_recognition(trainer: Trainer, count: int = 256) -> None:
    """Print how recognisable samples are, and how new, beside held-out images.

    Of a network with classes, samples are drawn of all classes in turn, and it is also told how many are recognised as
    what was asked for. Nothing is measured where the training images have no labels, or the
    trainer has only a part of the network.

    Args:
        trainer: after its last step; samples are drawn with its sampler from its moving average.
        count: number of samples.
    """
    data = trainer.data
    if data.train.labels is None:
        print("\nno classifier without labels: the report is for the digits")  # noqa: T201
        return
    if trainer.divided:
        # Its processes have parted.
        print(f"\nno report by a process that holds a part of the network: unmelt evaluate {trainer.run.path}")  # noqa: T201
        return
    samples = trainer.draw(count, seed=1).clamp(*data.train.range)
    asked = classes_in_order(trainer.denoiser, count)
    recogniser = Recogniser(data.train.read(), data.train.labels)
    print("\n                    recognised  as labelled  classes  distance to nearest training digit")  # noqa: T201
    rows = {
        f"{count} samples": (samples, asked if isinstance(asked, Tensor) else None),
        f"{len(data.test)} held-out digits": (data.test.read(), data.test.labels),
    }
    for name, (images, labels) in rows.items():
        found = recogniser.assess(images, labels)
        right = "-" if found.as_labelled is None else f"{found.as_labelled:.1%}"
        print(f"{name:20}{found.recognised:10.1%}{right:>13}{found.classes:9d}{found.nearest:12.2f}")  # noqa: T201
