"""Read all of a data set before training on it, and name what cannot be read: --data ImageFolder --data.folder PATH."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..core.configuration import cli
from ..training.data import DataSet, Digits, PictureDataSet, check_data
from ..training.data.checking import words

_ANY = 0.999


@dataclass(frozen=True)
class Check:
    """What is checked.

    Attributes:
        data: where the examples come from.
    """

    data: DataSet = field(default_factory=Digits)


def run(arguments: Sequence[str]) -> None:
    """Print what is found, and end with status 1 if it should not be trained on."""
    config = cli(Check(), __doc__, arguments=arguments, prog="unmelt data")
    try:
        _check(config.data)
    except TypeError as error:
        # A data set of the user's that returns something else.
        raise ValueError(error) from error


def _check(data: DataSet) -> None:
    # All that cannot be read are found, and it does not end at the first few.
    lenient = replace(data, unreadable=_ANY) if isinstance(data, PictureDataSet) else data
    splits = lenient.load()
    print(splits.told, flush=True)  # noqa: T201
    report = check_data(splits)
    print("\n".join(words(report, splits)))  # noqa: T201
    for part, found in ((splits.train, report.train), (splits.test, report.test)):
        if isinstance(data, PictureDataSet):
            part.most_unreadable = data.unreadable
        part.check_readable(found.unreadable)
    if report.shared:
        sys.exit("error: held-out examples must not be trained on: remove them from one of the two")
