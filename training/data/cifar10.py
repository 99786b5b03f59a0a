"""CIFAR-10 through Hugging Face `datasets`: 60000 colour images of 32 x 32 pixels (Krizhevsky, 2009)."""

from __future__ import annotations

import urllib.error
import urllib.request

import datasets
import datasets.config
import numpy as np
import torch
from huggingface_hub import constants
from torch import Tensor

from .images import DataRange, Images, ImageSplits

_REPOSITORY = "uoft-cs/cifar10"
_PROBE_SECONDS = 3.0

_REMEDY = f"""CIFAR-10 is not on this machine and its hub cannot be reached. Ways on:
  - fetch it once where there is a network: python -c "import datasets; datasets.load_dataset('{_REPOSITORY}')"
    (it lands in the Hugging Face cache; copy that folder, or set HF_HOME to it)
  - a local folder of images:             --data.source folder --data.folder PATH
  - photographs that need no download:    --data.source photos"""


def load_cifar10(data_range: DataRange) -> ImageSplits:
    """Return CIFAR-10's 50000 training and 10000 test images, with labels.

    Raises:
        ConnectionError: the data is neither cached nor to be reached; the message says what to do.
    """
    if not _hub_answers():
        # Without this, loading a missing data set retries for half a minute before it says so.
        datasets.config.HF_HUB_OFFLINE = True
        constants.HF_HUB_OFFLINE = True
    try:
        splits = datasets.load_dataset(_REPOSITORY)
    except (OSError, ValueError) as error:
        raise ConnectionError(_REMEDY) from error
    train, test = splits["train"], splits["test"]
    return ImageSplits(
        Images(_images(train), data_range=data_range),
        Images(_images(test), data_range=data_range),
        torch.tensor(train["label"]),
        torch.tensor(test["label"]),
    )


def _hub_answers() -> bool:
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


def _images(split: datasets.Dataset) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in split["img"]])).permute(0, 3, 1, 2).contiguous()
