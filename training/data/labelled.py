"""Images that come with their labels."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from .images import Images

LabelledBatch = tuple[Float[Tensor, "batch channels height width"], Int[Tensor, " batch"]]


class LabelledImages(Dataset[tuple[Tensor, Tensor]]):
    """Images and the class of each, as a data set of pairs (image, label).

    Args:
        images: the images.
        labels: their classes, integers from 0, (count,).

    Raises:
        ValueError: there is not one label for each image, or one is negative or no integer.
    """

    def __init__(self, images: Images, labels: Tensor) -> None:
        super().__init__()
        if labels.shape != (len(images),):
            msg = f"labels must have shape ({len(images)},), one for each image, got {tuple(labels.shape)}"
            raise ValueError(msg)
        if labels.dtype.is_floating_point or labels.dtype.is_complex or int(labels.min()) < 0:
            msg = f"labels must be integers from 0, got {labels.dtype} with values from {labels.min().item()}"
            raise ValueError(msg)
        self.images = images
        self.labels = labels.to(torch.int64)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image in its data range, and its label, ()."""
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> LabelledBatch:
        """Return a batch at once, which the data loader asks for instead of single images."""
        return self.images.__getitems__(indices), self.labels[indices]
