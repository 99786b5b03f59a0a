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

        Raises:
            ValueError: it has no place.
        """
        if not self.places:
            msg = f"{type(self).__name__} is not kept in a place that could be given, got {str(place)!r}"
            raise ValueError(msg)
        changed: Any = {self.places[0]: place}
        return dataclasses.replace(self, **changed)  # pyright: ignore[reportArgumentType, reportUnknownVariableType]

    @abstractmethod
    def load(self) -> Splits:
        """Return the examples to train on and those held out, with labels where they are known.

        Raises:
            ConnectionError: they are not on this machine and cannot be fetched.
            FileNotFoundError: a folder does not exist.
            ValueError: what is found there are not such examples.
        """
