"""Tables of the Hugging Face library `datasets`: by name on the hub, from its cache, or from local parquet files."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_number
from .array_file import held_out_evenly
from .examples import Splits
from .picture_data import PictureDataSet
from .sources import TableSource

_PROBE_SECONDS = 3.0


@dataclass(frozen=True)
class TablePictures(PictureDataSet):
    """Pictures in a table of `datasets`, whether that lies on the disk or is streamed.

    Attributes:
        path: name of a data set on the hub, such as uoft-cs/cifar10, or a local folder of parquet files, or one.
        image: column of the pictures; "" takes the only one of pictures.
        label: column of classes, integers from 0; None takes the only column of class labels if there is one, and ""
            none.
        train: split to train on.
        test: split that is held out; "" holds out some of `train`.
    """

    places: ClassVar[tuple[str, ...]] = ("path",)

    path: str
    image: str = ""
    label: str | None = None
    train: str = "train"
    test: str = "test"

    def tables(self, *, streaming: bool = False) -> tuple[Any, Any, str, str | None]:
        """Return the tables to train on and held out, None where none is named, and columns of pictures and classes.

        Raises:
            ConnectionError: the data set is neither on this machine nor to be reached.
            ValueError: it has no such splits or columns, or one split is to be both.
        """
        check_apart(self.path, self.train, self.test)
        tables = load_tables(
            self.path, remedy_of(self.path, type(self).__name__), (self.train, self.test), streaming=streaming
        )
        image, label = columns_of(self.path, tables[self.train], self.image, self.label)
        return tables[self.train], tables[self.test] if self.test else None, image, label


@dataclass(frozen=True)
class HubImages(TablePictures):
    """Pictures in a table of `datasets`, read from where it lies on the disk as they are needed.

    What pictures become is said by the settings that all data sets of pictures share; see `PictureDataSet`.

    Attributes:
        held_out: share of `train` that is held out, spread evenly over it, where no split is.

    Raises:
        ValueError: a number is out of range, or a colour is none.
    """

    held_out: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("held_out", self.held_out, "(0, 1)", "a share of the pictures")

    @override
    def load(self) -> Splits:
        whole, test, image, label = self.tables()
        parts = held_out_evenly(len(whole), self.held_out) if test is None else ()
        chosen = [whole, test] if test is not None else [whole.select(rows) for rows in parts]
        sources, labels = list[TableSource](), list[Tensor | None]()
        for table in chosen:
            labels.append(None if label is None else labels_of(table[label][:], self.path, label))
            sources.append(TableSource(undecoded(table, image), image, self.path))
        (train, test), described = self.examples(sources, labels)
        classes = "" if train.classes is None else f", {train.classes} classes"
        told = f"{len(train) + len(test)} images from {self.path}, {described}; {len(test)} held out{classes}"
        return Splits(train, test, told)


def labels_of(values: Sequence[Any], path: str, column: str) -> Tensor:
    """Return a column of classes.

    Raises:
        ValueError: they are no integers from 0.
    """
    if not all(isinstance(value, int) and value >= 0 for value in values):
        wrong = next(value for value in values if not isinstance(value, int) or value < 0)
        msg = f"{path} has {wrong!r} in the column {column}, and classes are integers from 0: choose another label="
        raise ValueError(msg)
    return torch.tensor(values)


def columns_of(path: str, table: Any, image: str, label: str | None) -> tuple[str, str | None]:
    """Return the columns of pictures and of classes.

    Args:
        path: what messages call the table.
        table: the table.
        image: column of the pictures; "" takes the only one.
        label: column of classes; None takes the only one, "" none.

    Raises:
        ValueError: there are no such, or several.
    """
    import datasets  # noqa: PLC0415

    features = table.features
    # A picture that parquet files do not call one is a pair of bytes and path.
    pictures = [
        name
        for name, kind in features.items()
        if isinstance(kind, datasets.Image) or (isinstance(kind, dict) and kind.keys() == {"bytes", "path"})
    ]
    known = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    for what, given in (("image", image), ("label", label)):
        if given and given not in features:
            msg = f"{path} has the columns {', '.join(features)}, not {given!r}: choose with {what}="
            raise ValueError(msg)
    if not image and len(pictures) != 1:
        msg = f"{path} has {len(pictures)} columns of pictures among {', '.join(features)}: choose with image="
        raise ValueError(msg)
    return image or pictures[0], known[0] if label is None and len(known) == 1 else label or None


def check_apart(path: str, train: str, test: str) -> None:
    """Check that no split is both trained on and held out.

    Raises:
        ValueError: one is.
    """
    if train == test:
        msg = f'{path}: {train!r} is trained on, and would be held out as well: give another test=, or "" for a share'
        raise ValueError(msg)


def load_tables(path: str, remedy: str, splits: Sequence[str], *, streaming: bool = False) -> Any:
    """Return the splits of a data set by name, from the hub, its cache, or a local folder.

    Args:
        path: name on the hub, or local folder.
        remedy: what to do where it is neither on this machine nor to be reached.
        splits: those that are needed; "" is none.
        streaming: read nothing yet.

    Raises:
        ConnectionError: it is neither on this machine nor to be reached; the message is `remedy`.
        ValueError: a local folder holds no such tables, or a split is missing.
    """
    import datasets  # noqa: PLC0415
    import datasets.config  # noqa: PLC0415
    from huggingface_hub import constants  # noqa: PLC0415

    local = Path(path).exists()
    if not local and not _hub_answers():
        # Without this, loading a missing data set retries for half a minute before it says so.
        datasets.config.HF_HUB_OFFLINE = True
        constants.HF_HUB_OFFLINE = True
    try:
        load: Any = datasets.load_dataset
        file = {"path": "parquet", "data_files": path} if Path(path).is_file() else {"path": path}
        tables = load(**file, streaming=streaming)
    except (OSError, ValueError) as error:
        if local:
            msg = f"{path} cannot be read as tables ({error}): give a folder of parquet files"
            raise ValueError(msg) from error
        raise ConnectionError(remedy) from error
    for split in filter(None, splits):
        if split not in tables:
            msg = f"{path} has the splits {', '.join(tables)}, not {split!r}: choose with train= and test=, or test=''"
            raise ValueError(msg)
    return tables


def undecoded(table: Any, column: str) -> Any:
    """Return the table with pictures as they are stored."""
    import datasets  # noqa: PLC0415

    return table.cast_column(column, datasets.Image(decode=False))


def _hub_answers() -> bool:
    from huggingface_hub import constants  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        # The hub's own address, as its library is configured.
        urllib.request.urlopen(constants.ENDPOINT, timeout=_PROBE_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True


def remedy_of(path: str, data_set: str) -> str:
    """Return what to do where a data set is neither on this machine nor to be reached."""
    return f"""{path} is no folder here and not in the cache, and no hub that has it can be reached. Ways on:
  - fetch it once where there is a network: python -c "import datasets; datasets.load_dataset('{path}')"
    (it lands in the Hugging Face cache; copy that folder, or set HF_HOME to it)
  - a local folder of parquet files:      --data {data_set} --data.path FOLDER"""
