"""A folder of pictures, of any size and kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from ...core.checks import check_number
from .classes import classes_of
from .examples import Splits
from .listing import check_apart, check_not_divided, counted, divided, listed
from .picture_data import PictureDataSet
from .picture_examples import PictureExamples
from .sources import FileSource


@dataclass(frozen=True)
class ImageFolder(PictureDataSet):
    """Pictures below a folder, its subfolders and linked ones; hidden files and folders are left alone.

    What pictures become is said by the settings that all data sets of pictures share; see `PictureDataSet`.

    Attributes:
        folder: searched with its subfolders.
        labels: None; "subfolders", classes named by the folders that files lie in; or a table, .csv, of file names,
            relative to `folder`, and classes, numbered by size if they are numbers and else by the alphabet.
        held_out: share of the files that is held out, chosen by their names, so that new files move none.
        test: a folder of files that are held out instead.

    Raises:
        ValueError: a number is out of range, or a colour is none.
    """

    places: ClassVar[tuple[str, ...]] = ("folder", "test", "labels")

    folder: Path
    labels: str | None = None
    held_out: float = 0.1
    test: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("held_out", self.held_out, "(0, 1)", "a share of the files")

    @override
    def load(self) -> Splits:
        found = listed(Path(self.folder))
        if self.test is None:
            check_not_divided(found)
        left_out = Counter(found.left_out)
        if self.test is None:
            parts = divided(found, self.held_out)
        else:
            parts = found, listed(Path(self.test))
            check_apart(*parts)
            left_out += parts[1].left_out
        names, labels = classes_of(self.labels, [part.names for part in parts], beside=found.folder)
        sources = [FileSource(part.folder, part.names, part.sizes) for part in parts]
        (train, test), described = self.examples(sources, labels)
        told = f"{len(train) + len(test)} images from {self.folder}, {described}; {len(test)} held out{names}"
        return Splits(train, test, told + (f"; not used: {counted(left_out)}" if left_out else ""))


def all_pictures(folder: Path) -> tuple[PictureExamples, str]:
    """Return all pictures below a folder, of their own size, which has to be one, and what was found, in a line.

    None is held out.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds fewer than two pictures, of several sizes, or ones that cannot be read.
    """
    found = listed(folder)
    (examples,), _ = ImageFolder(folder, size=None).examples(
        [FileSource(found.folder, found.names, found.sizes)], [None]
    )
    told = f"{len(examples)} images from {folder}"
    return examples, told + (f"; not used: {counted(found.left_out)}" if found.left_out else "")
