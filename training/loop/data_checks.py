"""Whether the data suit the run: batches that can be shared, labels that the network knows."""

from __future__ import annotations

from ..data import Examples
from ..data.stream import StreamExamples
from ..run_config import RunConfig, Training


def check_batch(settings: Training, processes: int, train: Examples) -> None:
    """Check that a batch can be shared, and that there are as many examples.

    Raises:
        ValueError: it cannot, or there are fewer.
    """
    size, parts = settings.batch_size, settings.accumulate * processes
    if size % parts:
        msg = (
            f"batch_size={size} is shared by {processes} processes, in accumulate={settings.accumulate} parts each:"
            f" give a multiple of {parts}"
        )
        raise ValueError(msg)
    # Of a stream the length is not known; one of less than a batch is found out when it ends.
    if size > len(train) and not isinstance(train, StreamExamples):
        msg = f"batch_size={size} exceeds the {len(train)} training images: lower it, --training.batch-size"
        raise ValueError(msg)


def check_labels(classes: int | None, train: Examples, config: RunConfig) -> None:
    """Check that examples have labels that a network for so many classes knows; None needs none.

    Raises:
        ValueError: they have none, or more classes.
    """
    known = train.classes
    if classes is not None and (known is None or known > classes):
        has = "no labels" if known is None else f"{known} classes"
        msg = (
            f"the network is made for {classes} classes, and the data ({config.data}) has {has}: leave the network's"
            " classes out, give as many as there are, or take data with labels, such as --data Digits"
        )
        raise ValueError(msg)
