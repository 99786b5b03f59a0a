"""What a data set is: a value that says where examples come from, and loads them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from .examples import Splits

Self = TypeVar("Self", bound="DataSet")


class DataSet(ABC):
    """Where examples come from. A subclass is a frozen dataclass and writes `load`; a recipe takes it by its name.

    Attributes:
        places: names of the settings that say where the data lie, the most important first. A run goes on with the same
            data elsewhere.
    """

    places: ClassVar[tuple[str, ...]] = ()

    def at(self: Self, place: Path | str) -> Self:
        """Return the same data set at another place.

        What else it reads, a folder that is held out or a table of labels, moves along where it lies beside the new
        place as it lay beside the old one.

        Raises:
            ValueError: it has no place.
        """
        if not self.places:
            msg = f"{type(self).__name__} is kept in no file or folder of yours: leave {str(place)!r} out"
            raise ValueError(msg)
        first, *others = self.places
        before, changed = Path(str(getattr(self, first))).parent, dict[str, Any]({first: place})
        for name in others:
            value = getattr(self, name)
            beside = Path(place).parent / Path(str(value)).relative_to(before) if _within(value, before) else Path()
            if value is not None and beside != Path() and beside.exists():
                changed[name] = type(value)(beside)
        return dataclasses.replace(self, **changed)  # pyright: ignore[reportArgumentType, reportUnknownVariableType]

    def seen_from(self: Self, folder: Path | None) -> Self:
        """Return the same data set, at its relative place as seen from a folder where it is there and not here."""
        place = Path(str(getattr(self, self.places[0]))) if self.places else None
        if folder is None or place is None or place.exists() or not (folder / place).exists():
            return self
        return self.at(folder / place)

    def stand_in(self) -> DataSet:
        """Return data of the same shape and range that come with packages, for a trial without these; as they are."""
        return self

    @abstractmethod
    def load(self) -> Splits:
        """Return the examples to train on and those held out, with labels where they are known.

        Raises:
            ConnectionError: they are not on this machine and cannot be fetched.
            FileNotFoundError: a folder does not exist.
            ValueError: what is found there are not such examples.
        """


def _within(value: object, folder: Path) -> bool:
    return value is not None and Path(str(value)).is_relative_to(folder)
