"""What a data set is: a value that says where images come from, and loads them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .images import ImageSplits


class DataSet(ABC):
    """Where images come from. A subclass is a frozen dataclass and writes `load`; a recipe takes it by its name."""

    @abstractmethod
    def load(self) -> ImageSplits:
        """Return the images to train on and those held out, with labels where they are known.

        Raises:
            ConnectionError: they are not on this machine and cannot be fetched.
            FileNotFoundError: a folder does not exist.
            ValueError: what is found there are not such images.
        """
