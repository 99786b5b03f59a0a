"""Sets of images in memory: stored as integers, served as numbers in a declared range."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float, UInt8
from torch import Tensor, int64
from torch.utils.data import Dataset


class DataRange(NamedTuple):
    """The interval that the lowest and the highest level of the data are mapped to."""

    low: float
    high: float


UNIT_RANGE = DataRange(0.0, 1.0)


class Images(Dataset[Tensor]):
    """Images of equal shape, as a data set of float32 tensors (channels, height, width).

    Args:
        values: integer levels 0 .. levels - 1, uint8, (count, channels, height, width).
        levels: number of grey levels of each channel, such as 256.
        data_range: the interval that 0 and levels - 1 are mapped to.

    Raises:
        ValueError: there is no image, a value reaches `levels`, `levels` is not in 2..256, or the range is empty.
    """

    def __init__(
        self,
        values: UInt8[Tensor, "count channels height width"],
        *,
        levels: int = 256,
        data_range: DataRange = UNIT_RANGE,
    ) -> None:
        super().__init__()
        if not 2 <= levels <= 256:
            msg = f"levels must lie in 2..256, got {levels}: 256 for 8-bit images"
            raise ValueError(msg)
        if values.numel() == 0 or int(values.max()) >= levels:
            msg = f"need at least one image with values below levels={levels}, got shape {tuple(values.shape)}" + (
                f" with a value of {int(values.max())}" if values.numel() else ""
            )
            raise ValueError(msg)
        if not data_range.low < data_range.high:
            msg = f"data_range must rise, got {tuple(data_range)}: use (0, 1) or (-1, 1)"
            raise ValueError(msg)
        self.values = values.contiguous()
        self.levels = levels
        self.data_range = data_range

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, (channels, height, width)."""
        return tuple(self.values.shape[1:])

    def scaled(self, indices: Sequence[int] | slice = slice(None)) -> Float[Tensor, "count channels height width"]:
        """Return the images at `indices` as float32 numbers in `data_range`."""
        low, high = self.data_range
        return self.values[indices].float() * ((high - low) / (self.levels - 1)) + low

    def fingerprint(self) -> str:
        """Return the SHA-256 of shape, levels and values: equal for equal data, whatever loaded it."""
        header = f"{tuple(self.values.shape)} {self.levels}".encode()
        return hashlib.sha256(header + self.values.numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.values)

    def __getitem__(self, index: int) -> Tensor:
        """Return one image in `data_range`."""
        return self.scaled([index])[0]

    def __getitems__(self, indices: list[int]) -> Tensor:
        """Return a batch at once, which the data loader asks for instead of single images."""
        return self.scaled(indices)


@dataclass(frozen=True)
class ImageSplits:
    """Training and held-out images of one source.

    Attributes:
        train: images to train on.
        test: images never trained on.
        train_labels: class of each training image, (count,), where the source knows them.
        test_labels: class of each held-out image.
    """

    train: Images
    test: Images
    train_labels: Tensor | None = None
    test_labels: Tensor | None = None

    @property
    def classes(self) -> int | None:
        """Number of classes, one more than the largest training label; None where labels are not known."""
        return None if self.train_labels is None else int(self.train_labels.max()) + 1

    def label_fingerprint(self) -> str | None:
        """Return the SHA-256 of the training labels, whatever their dtype; None where they are not known."""
        if self.train_labels is None:
            return None
        return hashlib.sha256(self.train_labels.to(int64).numpy().tobytes()).hexdigest()
