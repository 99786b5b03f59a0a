"""Are samples recognisable? A classifier's confidence, its variety, and the distance to training images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.neural_network import MLPClassifier
from torch import Tensor

CONFIDENT = 0.8


@dataclass(frozen=True)
class Recognition:
    """What a classifier of real images and the distances to them say of a set of images.

    Attributes:
        recognised: share of images that the classifier gives some class a probability of at least `CONFIDENT`.
        classes: number of classes among the most probable ones of the recognised images.
        nearest: mean Euclidean distance to the nearest training image, in the data's units.
    """

    recognised: float
    classes: int
    nearest: float


class Recogniser:
    """A classifier trained on labelled real images, a neural network with one hidden layer of 128 (scikit-learn).

    Args:
        images: training images, (count, channels, height, width).
        labels: their classes, (count,).
    """

    def __init__(self, images: Float[Tensor, "count channels height width"], labels: Int[Tensor, " count"]) -> None:
        self._images = images.flatten(1)
        self._classifier = MLPClassifier((128,), max_iter=400, random_state=0)
        self._classifier.fit(self._images.numpy(), labels.numpy())

    def assess(self, images: Float[Tensor, "count channels height width"]) -> Recognition:
        """Return how recognisable `images` are, (count, channels, height, width), in the training images' range."""
        flat = images.flatten(1)
        probabilities = torch.from_numpy(self._classifier.predict_proba(flat.numpy()))
        confidence, classes = probabilities.max(1)
        certain = confidence >= CONFIDENT
        return Recognition(
            recognised=certain.double().mean().item(),
            classes=len(classes[certain].unique()),
            nearest=torch.cdist(flat, self._images).min(1).values.mean().item(),
        )
