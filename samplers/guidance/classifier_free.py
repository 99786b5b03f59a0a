r"""Classifier-free guidance (Ho & Salimans, 2022): away from what any image is like, towards those of a class.

With y_label and y_none a network's outputs with and without the label,

    y = y_none + scale (y_label - y_none).

scale = 1 + w, w being that paper's guidance strength: 0 ignores the label, 1 (w = 0) is the conditional network as it
is, and more trades variety for likeness to the class. Every prediction is per coefficient u = latent u_t + output y,
and the two weights 1 - scale and scale add up to one, so the same sum holds for x, epsilon, v and the score: the guided
estimate does not depend on what the network predicts.

For exact outputs the guided score is that of p(z_t) (p(z_t | label) / p(z_t))^scale at each t. Those are *not* the
marginals of one law degraded by the process, except for scale = 0 and 1: the samples of other scales have no density
that is known.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...core.checks import values_are_readable
from ...models.conditioning import BatchDenoiser
from ...models.denoiser import Denoiser


class ClassifierFreeGuidance(BatchDenoiser):
    """A denoiser that exaggerates what its network says of labels; it works wherever a denoiser does.

    The outputs with and without label come from one call of the network on a batch twice as long: of two calls each
    would wait for the device to start it anew, and small batches leave most of a device idle. Where memory is short,
    let the sampler split the batch.

    Args:
        denoiser: a denoiser whose network knows classes, trained with some labels left out.
        labels: label of each row, (batch,), 0 .. classes - 1. Rows of "no label", `classes`, are not guided.
        scale: guidance scale, 1 + w of Ho & Salimans (2022); 0 ignores labels, 1 is the conditional denoiser.
        interval: times (low, high] in which guidance acts; beside them the scale is 1. In the middle alone, guidance
            costs less variety (Kynkaanniemi et al., 2024, who give noise levels instead of times). None is all times.

    Attributes:
        network_calls: how many times one call sends the batch through the network: twice the denoiser's own, or as
            often for the scales 0 and 1. Where times are free to read, and none lies in the interval, once only.

    Raises:
        TypeError: `denoiser` is no `Denoiser`, or the labels are not integers.
        ValueError: the network knows no classes, a label lies outside 0 .. classes (where values are free to read), the
            scale is negative or not finite, or the interval is not one within [0, 1].
    """

    def __init__(
        self,
        denoiser: Denoiser,
        labels: Int[Tensor, " batch"],
        scale: float,
        *,
        interval: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(denoiser, labels)
        if not 0 <= scale < math.inf:
            msg = f"scale must be a finite number of at least 0, got {scale}: 1 is without guidance, 3 is usual"
            raise ValueError(msg)
        if interval is not None and not 0 <= interval[0] < interval[1] <= 1:
            msg = f"interval must be (low, high) with 0 <= low < high <= 1, got {interval}: None is all times"
            raise ValueError(msg)
        self.scale, self.interval = scale, interval
        guided = scale != 1 and (scale != 0 or interval is not None)
        self.network_calls = (2 if guided else 1) * denoiser.network_calls

    def output(self, z_t: Float[Tensor, "batch ..."], t: Float[Tensor, "*batch"]) -> Float[Tensor, "batch ..."]:
        """Return the guided prediction, (batch, *shape).

        Raises:
            ValueError: the batch has another length than the labels, or the network returns another shape.
        """
        self.check_batch(z_t)
        if self.scale == 1 or self._nothing_inside(t):
            return self.denoiser.output(z_t, t, self.labels)
        if self.scale == 0 and self.interval is None:
            return self.denoiser.output(z_t, t)
        none = torch.full_like(self.labels, self.denoiser.known_classes())
        twice = self.denoiser.output(
            torch.cat([z_t, z_t]), t.expand(len(z_t)).repeat(2), torch.cat([none, self.labels])
        )
        y_none, y_label = twice.chunk(2)
        # lerp is exact at both ends.
        return torch.lerp(y_none, y_label, self._scale_at(t, z_t))

    def select(self, rows: slice | Int[Tensor, " rows"]) -> ClassifierFreeGuidance:
        """Return the guided denoiser of these rows of the batch.

        Raises:
            ValueError: they reach beyond the labels.
        """
        return ClassifierFreeGuidance(self.denoiser, self.labels_of(rows), self.scale, interval=self.interval)

    def _nothing_inside(self, t: Tensor) -> bool:
        """Tell whether it is known that no time lies in the interval."""
        return self.interval is not None and values_are_readable(t) and not bool(self._inside(t, self.interval).any())

    @staticmethod
    def _inside(t: Tensor, interval: tuple[float, float]) -> Tensor:
        low, high = interval
        return (t > low) & (t <= high)

    def _scale_at(self, t: Tensor, z_t: Tensor) -> Tensor:
        """Return the scale at times () or (batch,), broadcastable to z_t."""
        scale = torch.full_like(t, self.scale, dtype=z_t.dtype)
        if self.interval is not None:
            scale = torch.where(self._inside(t, self.interval), scale, 1.0)
        return scale.reshape(-1, *(1,) * (z_t.ndim - 1))
