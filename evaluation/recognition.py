"""Are samples recognisable? A classifier's confidence, its variety, and the distance to training images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .neighbours import nearest_neighbours

CONFIDENT = 0.8
_LANDMARKS = 400


@dataclass(frozen=True)
class Recognition:
    """What a classifier of real images and the distances to them say of a set of images.

    Attributes:
        recognised: share of images that the classifier gives some class a probability of at least `CONFIDENT`.
        as_labelled: share of images that are recognised and most probably of the class that they should be of; None
            where no labels were given.
        classes: number of classes among the most probable ones of the recognised images.
        nearest: mean Euclidean distance to the nearest training image, in the data's units.
    """

    recognised: float
    as_labelled: float | None
    classes: int
    nearest: float


class Recogniser:
    """A classifier trained on labelled real images: logistic regression on Nystroem features of an RBF kernel.

    The kernel sees how near an image is to real ones, so that noise is not called a digit with confidence, as it is
    by a plain neural network.

    Args:
        images: training images, (count, channels, height, width).
        labels: their classes, (count,).
    """

    def __init__(self, images: Float[Tensor, "count channels height width"], labels: Int[Tensor, " count"]) -> None:
        # Imported here: it takes a second, which a misspelt flag of a recipe should not wait for.
        from sklearn.kernel_approximation import Nystroem  # noqa: PLC0415
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415

        self._images = images.flatten(1)
        pixels = self._images.numpy()
        # The usual width of an RBF kernel: 1 / (dimensions x variance).
        features = Nystroem(
            gamma=1 / (pixels.shape[1] * pixels.var()), n_components=min(_LANDMARKS, len(pixels)), random_state=0
        )
        self._classifier = make_pipeline(features, LogisticRegression(C=100, max_iter=500))
        self._classifier.fit(pixels, labels.numpy())

    def probabilities(self, images: Float[Tensor, "count channels height width"]) -> Float[Tensor, "count classes"]:
        """Return the probability of each class, (count, classes), of images in the training images' range."""
        return torch.from_numpy(self._classifier.predict_proba(images.flatten(1).numpy()))

    def assess(
        self, images: Float[Tensor, "count channels height width"], labels: Int[Tensor, " count"] | None = None
    ) -> Recognition:
        """Return how recognisable images are.

        Args:
            images: (count, channels, height, width), in the training images' range.
            labels: the classes that they should be of, (count,), where they should be of any.
        """
        flat = images.flatten(1)
        confidence, classes = self.probabilities(images).max(1)
        certain = confidence >= CONFIDENT
        return Recognition(
            recognised=certain.double().mean().item(),
            as_labelled=None if labels is None else (certain & (classes == labels)).double().mean().item(),
            classes=len(classes[certain].unique()),
            nearest=nearest_neighbours(flat, self._images).distances.mean().item(),
        )
