"""Check a data set before training on it: python -m unmelt.training.data --data ImageFolder --data.folder PATH.

Takes the flags of the recipes that say which data, reads all of them, and names what cannot be read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...core.configuration import cli
from .checking import check_data, words
from .data_set import DataSet
from .digits import Digits
from .picture_data import PictureDataSet

_ANY = 0.999


@dataclass(frozen=True)
class Check:
    """What is checked.

    Attributes:
        data: where the examples come from.
    """

    data: DataSet = field(default_factory=Digits)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what is found, and end with status 1 if it should not be trained on."""
    config = cli(Check(), __doc__, arguments=arguments, prog="python -m unmelt.training.data")
    try:
        # All that cannot be read are named, not only the first few.
        lenient = replace(config.data, unreadable=_ANY) if isinstance(config.data, PictureDataSet) else config.data
        splits = lenient.load()
        print(splits.told, flush=True)  # noqa: T201
        report = check_data(splits)
        print("\n".join(words(report, splits)))  # noqa: T201
        for part, found in ((splits.train, report.train), (splits.test, report.test)):
            if isinstance(config.data, PictureDataSet):
                part.most_unreadable = config.data.unreadable
            part.check_readable(found.unreadable)
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    if report.shared:
        sys.exit("error: held-out examples must not be trained on: remove them from one of the two")


if __name__ == "__main__":
    main()
