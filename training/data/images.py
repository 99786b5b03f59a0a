"""Sets of images in memory: kept as integers, served as numbers in a declared range."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, int64
from torch.utils.data import Dataset

from ...models import GreyLevels

EIGHT_BITS = GreyLevels(256, 0.0, 1.0)
# Numbers of images scaled at a time (16 MB in float32).
_LARGEST = 2**22


class Images(Dataset[Tensor]):
    """Images of equal shape, as a data set of float32 tensors (channels, height, width).

    Args:
        values: grey levels 0 .. count - 1, uint8, (count, channels, height, width).
        grey_levels: how many there are of them, and the interval that they are mapped to.

    Raises:
        ValueError: there is no image, a value is not a grey level, or there are more than 256 of them.
    """

    def __init__(
        self, values: UInt8[Tensor, "count channels height width"], grey_levels: GreyLevels = EIGHT_BITS
    ) -> None:
        super().__init__()
        levels = grey_levels.count
        if levels > EIGHT_BITS.count:
            msg = f"images are kept as 8-bit numbers, of {EIGHT_BITS.count} levels at most, got {grey_levels}"
            raise ValueError(msg)
        if values.numel() == 0 or int(values.max()) >= levels:
            msg = f"need at least one image with values below {levels}, got shape {tuple(values.shape)}" + (
                f" with a value of {int(values.max())}" if values.numel() else ""
            )
            raise ValueError(msg)
        self.values = values.contiguous()
        self.grey_levels = grey_levels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, (channels, height, width)."""
        return tuple(self.values.shape[1:])

    def scaled(self, indices: Sequence[int] | slice = slice(None)) -> Float[Tensor, "count channels height width"]:
        """Return the images at `indices` as float32 numbers in the range of their grey levels."""
        return self.values[indices].float() * self.grey_levels.width + self.grey_levels.low

    def blocks(self) -> Blocks:
        """Return all images, scaled, some at a time, to be gone through as often as is asked for."""
        return Blocks(self)

    def fingerprint(self) -> str:
        """Return the SHA-256 of shape, levels and values: equal for equal data, whatever loaded it."""
        header = f"{tuple(self.values.shape)} {self.grey_levels.count}".encode()
        return hashlib.sha256(header + self.values.numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.values)

    def __getitem__(self, index: int) -> Tensor:
        """Return one image, scaled."""
        return self.scaled([index])[0]

    def __getitems__(self, indices: list[int]) -> Tensor:
        """Return a batch at once, which the data loader asks for instead of single images."""
        return self.scaled(indices)


class Blocks:
    """Images as float32 numbers in their range, some at a time.

    Args:
        images: the images.
    """

    def __init__(self, images: Images) -> None:
        self.images = images

    def __iter__(self) -> Iterator[Tensor]:
        """Yield blocks, (rows, channels, height, width)."""
        rows = max(1, _LARGEST // torch.Size(self.images.shape).numel())
        for start in range(0, len(self.images), rows):
            yield self.images.scaled(slice(start, start + rows))


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
