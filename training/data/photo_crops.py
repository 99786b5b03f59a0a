"""Crops of the colour photographs that scikit-learn and scikit-image ship, of any size up to 256: no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_number, check_whole
from ...models import GreyLevels
from .arrays import ArrayExamples
from .data_set import DataSet
from .examples import Splits

_LARGEST = 256
# Photographs are shrunk by these, as long as two crops fit beside each other; an eighth of a crop lies between two.
_SCALES = (2, 4)
_LEAST_STRIDE, _STRIDES = 8, 8
# A crop whose pixels vary less than this (standard deviation, of 255) shows only sky or wall.
_FLATTEST = 16.0
_GREY = np.array([0.299, 0.587, 0.114])

_TRAIN = ("china", "astronaut", "coffee", "rocket", "motorcycle")
_TEST = ("flower", "chelsea")


@dataclass(frozen=True)
class PhotoCrops(DataSet):
    """Colour crops, split by photograph, so that no held-out crop overlaps one trained on.

    Attributes:
        size: height and width of a crop in pixels, at most 256; over 64 there are few.
        grey: without colour.
        low: number that black becomes.
        high: number that white becomes.

    Raises:
        ValueError: the size is out of range.
    """

    size: int = 32
    grey: bool = False
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_whole("size", self.size)
        check_number("size", self.size, f"[1, {_LARGEST}]", "pixels")

    @override
    def load(self) -> Splits:
        grey_levels = GreyLevels(256, self.low, self.high)
        train, test = (
            ArrayExamples(torch.cat([self._crops(_photograph(name)) for name in names]), grey_levels)
            for names in (_TRAIN, _TEST)
        )
        return Splits(train, test)

    def _crops(self, photograph: np.ndarray) -> Tensor:
        """Return all crops that are not flat, at each scale, uint8 (count, channels, size, size)."""
        from skimage.transform import downscale_local_mean  # noqa: PLC0415

        crops, size, stride = list[Tensor](), self.size, max(_LEAST_STRIDE, self.size // _STRIDES)
        scales = [scale for scale in _SCALES if 2 * size * scale <= min(photograph.shape[:2])] or [1]
        for scale in scales:
            small = downscale_local_mean(photograph[..., :3], (scale, scale, 1))
            # Weights of ITU-R BT.601, as pictures are made grey everywhere.
            seen = (small @ _GREY)[..., None] if self.grey else small
            pixels = torch.from_numpy(seen.round().astype(np.uint8))
            windows = pixels.unfold(0, size, stride).unfold(1, size, stride)
            crops.append(rearrange(windows, "rows columns c h w -> (rows columns) c h w"))
        together = torch.cat(crops)
        return together[together.float().flatten(1).std(1) >= _FLATTEST]


def _photograph(name: str) -> np.ndarray:
    """Return a photograph, uint8 (height, width, 3 or 4)."""
    import skimage.data  # noqa: PLC0415
    from sklearn.datasets import load_sample_image  # noqa: PLC0415

    match name:
        case "china" | "flower":
            return np.asarray(load_sample_image(f"{name}.jpg"))
        case "motorcycle":
            return np.asarray(skimage.data.stereo_motorcycle()[0])
        case _:
            return np.asarray(getattr(skimage.data, name)())
