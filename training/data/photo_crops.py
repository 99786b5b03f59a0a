"""Crops of the colour photographs that scikit-learn and scikit-image ship: 32 x 32 pixels, no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from typing_extensions import override

from ...models import GreyLevels
from .arrays import ArrayExamples
from .data_set import DataSet
from .examples import Splits

_SIZE, _STRIDE = 32, 8
_SCALES = (2, 4)
# A crop whose pixels vary less than this (standard deviation, of 255) shows only sky or wall.
_FLATTEST = 16.0

_TRAIN = ("china", "astronaut", "coffee", "rocket", "motorcycle")
_TEST = ("flower", "chelsea")


@dataclass(frozen=True)
class PhotoCrops(DataSet):
    """Colour crops, split by photograph, so that no held-out crop overlaps one trained on.

    Attributes:
        low: number that black becomes.
        high: number that white becomes.
    """

    low: float = 0.0
    high: float = 1.0

    @override
    def load(self) -> Splits:
        grey_levels = GreyLevels(256, self.low, self.high)
        train, test = (
            ArrayExamples(torch.cat([_crops(_photograph(name)) for name in names]), grey_levels)
            for names in (_TRAIN, _TEST)
        )
        return Splits(train, test)


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


def _crops(photograph: np.ndarray) -> Tensor:
    """Return all crops that are not flat, at each scale, uint8 (count, 3, 32, 32)."""
    from skimage.transform import downscale_local_mean  # noqa: PLC0415

    crops: list[Tensor] = []
    for scale in _SCALES:
        small = downscale_local_mean(photograph[..., :3], (scale, scale, 1)).round().astype(np.uint8)
        windows = torch.from_numpy(small).unfold(0, _SIZE, _STRIDE).unfold(1, _SIZE, _STRIDE)
        crops.append(rearrange(windows, "rows columns c h w -> (rows columns) c h w"))
    together = torch.cat(crops)
    return together[together.float().flatten(1).std(1) >= _FLATTEST]
