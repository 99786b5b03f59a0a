"""CIFAR-10 through Hugging Face `datasets`: 60000 colour images of 32 x 32 pixels (Krizhevsky, 2009)."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ...models import GreyLevels
from .data_set import DataSet
from .images import Images, ImageSplits

_REPOSITORY = "uoft-cs/cifar10"
_PROBE_SECONDS = 3.0

_REMEDY = f"""CIFAR-10 is not on this machine and its hub cannot be reached. Ways on:
  - fetch it once where there is a network: python -c "import datasets; datasets.load_dataset('{_REPOSITORY}')"
    (it lands in the Hugging Face cache; copy that folder, or set HF_HOME to it)
  - a local folder of images:             --data ImageFolder --data.folder PATH
  - photographs that need no download:    --data PhotoCrops"""


@dataclass(frozen=True)
class CIFAR10(DataSet):
    """CIFAR-10's 50000 training and 10000 test images, with labels.

    Attributes:
        low: number that the grey level 0 becomes.
        high: number that the grey level 255 becomes.
    """

    low: float = 0.0
    high: float = 1.0

    @override
    def load(self) -> ImageSplits:
        """Return the images; a ConnectionError says what to do where they are neither cached nor to be reached."""
        grey_levels = GreyLevels(256, self.low, self.high)
        splits = _splits()
        train, test = splits["train"], splits["test"]
        return ImageSplits(
            Images(_images(train), grey_levels),
            Images(_images(test), grey_levels),
            torch.tensor(train["label"]),
            torch.tensor(test["label"]),
        )


def _splits() -> Any:
    import datasets  # noqa: PLC0415
    import datasets.config  # noqa: PLC0415
    from huggingface_hub import constants  # noqa: PLC0415

    if not _hub_answers():
        # Without this, loading a missing data set retries for half a minute before it says so.
        datasets.config.HF_HUB_OFFLINE = True
        constants.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset(_REPOSITORY)
    except (OSError, ValueError) as error:
        raise ConnectionError(_REMEDY) from error


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


def _images(split: Any) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in split["img"]])).permute(0, 3, 1, 2).contiguous()
