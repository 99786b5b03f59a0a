"""Conditions: what belongs to a row and goes to the network with it, such as class labels, or an image to start from.

A condition is a tensor, or a dictionary of tensors, with one entry for each row of a batch along the first axis. It
travels beside the latents, through denoiser, loss, sampler and guidance, and only the network reads it.

The networks here read two kinds: labels, and images (or any signals) whose channels they see beside the latent's.
Integers, (batch,), are labels; floating-point numbers or booleans (a mask) with more axes an image; both at once
are {"labels": ..., "image": ...}.

Labels are integers 0 .. classes - 1, and `classes` itself stands for "no label". A network learns p(x) beside
p(x | label) where some examples of a batch come without their label (Ho & Salimans, 2022): "no label" is then one more
class, with its embedding. An image of zeros stands for "no image".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from ..core.checks import check_instance, values_are_readable
from ..core.randomness import uniform_noise

Condition = Tensor | dict[str, Tensor]
Batch = Tensor | Sequence[Tensor | dict[str, Tensor] | None]


def select_rows(condition: Condition | None, rows: slice | Int[Tensor, " rows"]) -> Condition | None:
    """Return the condition of these rows of a batch, given as a slice or by their numbers, which may repeat."""
    if condition is None:
        return None
    if isinstance(condition, dict):
        return {name: _rows(part, rows) for name, part in condition.items()}
    return _rows(condition, rows)


def batches_with_conditions(
    data: Shaped[Tensor, "count ..."] | Iterable[Batch], batch_size: int
) -> Iterator[tuple[Tensor, Condition | None, Tensor | None]]:
    """Yield batches of data, each with its condition and its process's known end, or None.

    Args:
        data: all examples in one tensor, or batches of them, each alone or in a pair with its condition, as a
            `DataLoader` of images and labels gives them, or in a triple (x, condition or None, given) with known ends.
        batch_size: examples at a time, where `data` is one tensor.

    Raises:
        TypeError: a batch is neither a tensor nor such a pair or triple.
        ValueError: a condition, or what is given, has another number of rows than its batch.
    """
    for batch in data.split(batch_size) if isinstance(data, Tensor) else data:
        parts = tuple(batch) if isinstance(batch, list | tuple) else (batch,)
        x, condition, given = cast(
            "tuple[Any, ...]", (*parts, None, None)[:3] if len(parts) <= 3 else (batch, None, None)
        )
        x = check_instance("a batch", x, Tensor, "alone, with its condition, or with that and what is given")
        check_rows("a batch's condition", condition, len(x))
        check_rows("what a batch is given", given, len(x))
        yield x, condition, given


def check_rows(name: str, condition: Condition | None, count: int) -> None:
    """Check that a condition has one entry for each of `count` rows.

    Raises:
        TypeError: it is not a tensor or a dictionary of tensors.
        ValueError: it has another number of rows.
    """
    if condition is None:
        return
    check_instance(name, condition, (Tensor, dict), "with one entry for each row")
    for part in condition.values() if isinstance(condition, dict) else (condition,):
        check_instance(name, part, Tensor, "with one entry for each row")
        if part.ndim == 0 or part.shape[0] != count:
            msg = f"{name} must have one entry for each of {count} rows, got shape {tuple(part.shape)}"
            raise ValueError(msg)


def _rows(part: Tensor, rows: slice | Tensor) -> Tensor:
    return part[rows if isinstance(rows, slice) else rows.to(part.device)]


class ConditionParts(NamedTuple):
    """What a network that knows labels and images reads of a condition.

    Attributes:
        labels: class labels, (batch,); None if there are none.
        image: an image to see beside the latent, (batch, channels, ...); None if there is none.
    """

    labels: Tensor | None
    image: Tensor | None


def condition_parts(condition: Condition | None) -> ConditionParts:
    """Return labels and image of a condition.

    Raises:
        TypeError: an image is one of integers.
        ValueError: a dictionary holds something else.
    """
    if isinstance(condition, dict):
        other = sorted({*condition} - {*ConditionParts._fields})
        if other:
            msg = f"a condition's parts are 'labels' and 'image', got {', '.join(map(repr, other))}"
            raise ValueError(msg)
        parts = ConditionParts(condition.get("labels"), condition.get("image"))
    elif isinstance(condition, Tensor) and condition.ndim > (1 if condition.is_floating_point() else 2):
        parts = ConditionParts(None, condition)
    else:
        parts = ConditionParts(condition, None)
    if parts.image is not None and not (parts.image.is_floating_point() or parts.image.dtype == torch.bool):
        msg = (
            f"an image condition must be floating-point, in the units that the network is trained on, got"
            f" {parts.image.dtype} of shape {tuple(parts.image.shape)}: image / 127.5 - 1 for example (labels have one"
            " axis, (batch,))"
        )
        raise TypeError(msg)
    return parts


def without(condition: Condition | None, part: str | None) -> Condition | None:
    """Return what is left of a condition without its "labels", or its "image"; nothing without all of it, None.

    Raises:
        TypeError, ValueError: as `condition_parts`.
    """
    if part is None or condition is None:
        return None
    kept = {name: value for name, value in condition_parts(condition)._asdict().items() if name != part}
    left = {name: value for name, value in kept.items() if value is not None}
    return left or None


def image_channels(network: object) -> int:
    """Return how many channels of images a network sees, its attribute `image_channels`; 0 without one."""
    return getattr(network, "image_channels", 0)


def with_image(condition: Condition | None, image: Float[Tensor, "batch channels ..."]) -> Condition:
    """Return a condition with an image added to it; its channels come after those of an image that is there already."""
    labels, there = condition_parts(condition)
    image = image if there is None else torch.cat([there, image.to(there)], dim=1)
    return image if labels is None else {"labels": labels, "image": image}


def checked_image(
    image: Float[Tensor, "..."] | None, channels: int, z: Float[Tensor, "batch ..."]
) -> Float[Tensor, "batch channels ..."] | None:
    """Return the image that a network made for so many channels of one sees beside latents z, in their dtype.

    No image is one of zeros; None is returned for a network that takes none.

    Raises:
        ValueError: its shape is another, or the network takes none.
    """
    if image is None:
        return z.new_zeros(z.shape[0], channels, *z.shape[2:]) if channels else None
    if not channels:
        msg = (
            f"this network was made without an image condition, but got one of shape {tuple(image.shape)}: make it with"
            f" image_channels={image.shape[1] if image.ndim > 1 else 1}, or leave the image out"
        )
        raise ValueError(msg)
    wanted = (z.shape[0], channels, *z.shape[2:])
    if tuple(image.shape) != wanted:
        msg = f"the image condition must have shape {wanted}, (batch, image_channels, ...), got {tuple(image.shape)}"
        raise ValueError(msg)
    return image.to(z)


class LabelEmbedding(nn.Module):
    """A learned vector for each class, and one for "no label"; they start as independent standard normal numbers.

    Args:
        classes: number of classes.
        size: length of a vector.

    Raises:
        ValueError: classes < 1.
    """

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        if classes < 1:
            msg = f"classes must be at least 1, got {classes}: leave it out (None) for a network without labels"
            raise ValueError(msg)
        self.classes = classes
        self.table = nn.Embedding(classes + 1, size)

    def forward(self, labels: Int[Tensor, " batch"] | None, batch: int) -> Float[Tensor, "batch size"]:
        """Return the vectors of `labels`, (batch, size); None means that none of `batch` examples has a label.

        Raises:
            TypeError, ValueError: as `check_labels`.
        """
        if labels is None:
            return self.table.weight[-1].expand(batch, -1)
        allowed = check_labels(labels, self.classes, batch=batch)
        # Rows are never looked up beyond the table, which would stop a device; what is not allowed becomes NaN.
        found = self.table(torch.where(allowed, labels, self.classes))
        return torch.where(allowed[:, None], found, torch.nan)


def check_labels(labels: Int[Tensor, "..."], classes: int, *, batch: int | None = None) -> Bool[Tensor, "..."]:
    """Check that `labels` are one integer in 0 .. classes for each example.

    Args:
        labels: the labels, (batch,); `classes` means "no label".
        classes: number of classes.
        batch: number of examples; any if None.

    Returns:
        Which of them lie in that interval: all, where values are readable.

    Raises:
        TypeError: they are not integers.
        ValueError: their shape is not (batch,), or one lies outside 0 .. classes (where values are readable).
    """
    check_instance("labels", labels, Tensor, "torch.tensor([3, 1, 4]) for example")
    if labels.dtype not in (torch.int64, torch.int32):
        msg = f"labels must be integers, int64 or int32, got {labels.dtype}: labels.long() makes them so"
        raise TypeError(msg)
    if labels.ndim != 1 or (batch is not None and labels.shape[0] != batch):
        expected = "(batch,)" if batch is None else f"({batch},)"
        msg = f"labels must have shape {expected}, one for each example, got {tuple(labels.shape)}"
        raise ValueError(msg)
    allowed = (labels >= 0) & (labels <= classes)
    if values_are_readable(labels) and not bool(allowed.all()):
        msg = (
            f"labels must lie in 0..{classes - 1}, or be {classes} for no label, got {int(labels[~allowed][0])}:"
            f" the network knows {classes} classes"
        )
        raise ValueError(msg)
    return allowed


def drop_labels(
    labels: Int[Tensor, " batch"], classes: int, probability: float, *, generator: torch.Generator | None = None
) -> Int[Tensor, " batch"]:
    """Return labels of which each is replaced by "no label", independently of the others.

    Trained on them, one network serves p(x | label) and p(x) (Ho & Salimans, 2022, algorithm 1).

    Args:
        labels: the labels, (batch,).
        classes: number of classes, which stands for "no label".
        probability: of being replaced, in [0, 1].
        generator: source of randomness; torch's default for the labels' device if None. One random number is drawn for
            each label, whatever the probability.

    Raises:
        ValueError: `probability` lies outside [0, 1].
    """
    return torch.where(_dropped(labels, probability, generator), classes, labels)


def drop_images(
    image: Float[Tensor, "batch ..."], probability: float, *, generator: torch.Generator | None = None
) -> Float[Tensor, "batch ..."]:
    """Return images of which each is replaced by zeros, "no image", independently of the others.

    Trained on them, one network serves p(x | image) and p(x), as with `drop_labels`; arguments and errors as there.
    Of a condition with labels too, drop the image in it: {"labels": labels, "image": drop_images(image, 0.1)}.

    Raises:
        TypeError: `image` is no tensor.
    """
    check_instance("image", image, Tensor, "the image of a condition, condition['image'], and not all of it")
    dropped = _dropped(image, probability, generator)
    return image.masked_fill(dropped.reshape(-1, *(1,) * (image.ndim - 1)), 0.0)


def _dropped(rows: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Draw which rows are left without their condition, (batch,)."""
    if not 0 <= probability <= 1:
        msg = f"probability must lie in [0, 1], got {probability}: a tenth of the conditions is usually dropped"
        raise ValueError(msg)
    # Uniform in [0, 1): 0 drops none, 1 all.
    return uniform_noise(rows.shape[:1], device=rows.device, generator=generator) < probability
