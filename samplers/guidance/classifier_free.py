r"""Classifier-free guidance (Ho & Salimans, 2022): away from what any image is like, towards those of a class.

With y_label and y_none a network's outputs with and without the label,

    y = y_none + scale (y_label - y_none).

scale = 1 + w, w being that paper's guidance strength: 0 ignores the label, 1 (w = 0) is the conditional network as it
is, and more trades variety for likeness to the class. Every prediction is per coefficient u = latent u_t + output y,
and the two weights 1 - scale and scale add up to one, so the same sum holds for x, epsilon, v and the score: the guided
estimate does not depend on what the network predicts.

For exact outputs the guided score is that of p(z_t) (p(z_t | label) / p(z_t))^scale at each t. Those are *not* the
marginals of one distribution degraded by the process, except for scale = 0 and 1: the samples of other scales have no
density that is known.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance, check_number, values_are_readable
from ...degradations.process import Time
from ...models import AbstractDenoiser, ClippedDenoiser, Condition, Denoiser
from ...models.conditions import ConditionParts, check_rows, select_rows, without
from ...models.denoiser import estimate


class ClassifierFreeGuidance(AbstractDenoiser):
    """A denoiser that exaggerates what its network makes of a condition; it works wherever a denoiser does.

    `sampler.sample(count, condition=labels)` draws guided samples; without a condition nothing is guided. For labels
    the outputs with and without come from one call of the network on a batch twice as long: of two calls each would
    wait for the device to start it again, and small batches leave most of a device idle. Where memory is short, let the
    sampler split the batch. Rows of "no label", `classes`, are not guided. Other conditions take two calls.

    Args:
        denoiser: a denoiser whose network takes a condition, trained with some of them left out.
        scale: guidance scale, 1 + w of Ho & Salimans (2022); 0 ignores conditions, 1 is the conditional denoiser.
        interval: times (low, high] in which guidance acts; beside them the scale is 1. In the middle alone, guidance
            costs less variety (Kynkaanniemi et al., 2024, who give noise levels instead of times). None is all times.
        leave_out: which part of a condition is exaggerated, "labels" or "image", as it was left out in training; the
            other part is kept on both sides. None is the whole condition. A known end is no condition: it is kept.
        empty: the condition that stands for none, one for all rows, (1, ...), of a network that always takes one, such
            as the text states of an empty prompt. None leaves the condition out.

    Raises:
        TypeError: `denoiser` is not a `Denoiser`, a clipped one say: clip the guided denoiser instead.
        ValueError: the scale is negative or not finite, the interval is not one within [0, 1], or there is no such part
            of a condition, or both a part and an empty condition are given.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        *,
        interval: tuple[float, float] | None = None,
        leave_out: str | None = None,
        empty: Condition | None = None,
    ) -> None:
        if isinstance(denoiser, ClippedDenoiser):
            msg = (
                "guidance goes inside of clipping, not around it: clip the guided denoiser,"
                " ClippedDenoiser(ClassifierFreeGuidance(denoiser, scale), data_range), and load one of diffusers with"
                " clip=False"
            )
            raise TypeError(msg)
        check_instance("denoiser", denoiser, Denoiser, "Denoiser(UNet(shape, classes=10), ...) for example")
        check_rows("empty", empty, 1)
        super().__init__(denoiser.process)
        check_number("scale", scale, "[0, inf)", "1 is without guidance, 3 is usual")
        if interval is not None and not 0 <= interval[0] < interval[1] <= 1:
            msg = f"interval must be (low, high) with 0 <= low < high <= 1, got {interval}: None is all times"
            raise ValueError(msg)
        if leave_out not in {None, *ConditionParts._fields}:
            msg = f"leave_out must be 'labels' or 'image', or None for the whole condition, got {leave_out!r}"
            raise ValueError(msg)
        if leave_out is not None and empty is not None:
            msg = f"leave_out={leave_out!r} keeps a part of a condition, and empty replaces all of it: give one"
            raise ValueError(msg)
        self.denoiser, self.scale, self.interval = denoiser, scale, interval
        self.leave_out, self.empty = leave_out, empty
        self.prediction, self.grey_levels = denoiser.prediction, denoiser.grey_levels

    @property
    @override
    def classes(self) -> int | None:
        return self.denoiser.classes

    @override
    def extra_repr(self) -> str:
        """Show the scale, and the times where it holds."""
        interval = "" if self.interval is None else f", interval={self.interval}"
        return f"scale={self.scale:g}{interval}" + ("" if self.leave_out is None else f", leave_out={self.leave_out!r}")

    @override
    def forward(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Time,
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        return estimate(self, z_t, t, condition, given)

    @override
    def output(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Float[Tensor, "*batch"],
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        if condition is None or (self.scale == 0 and self.interval is None):
            return self.denoiser.output(z_t, t, self._less(condition, len(z_t)), given)
        if self.scale == 1 or self._nothing_inside(t):
            return self.denoiser.output(z_t, t, condition, given)
        y_none, y_condition = self._both(z_t, t, condition, given)
        # lerp is exact at both ends.
        return torch.lerp(y_none, y_condition, self._scale_at(t, z_t))

    @override
    def network_calls(self, t: Float[Tensor, "*batch"], condition: Condition | None = None) -> int:
        alone = condition is None or self.scale == 1 or (self.scale == 0 and self.interval is None)
        return self.denoiser.network_calls(t, condition) * (1 if alone or self._nothing_inside(t) else 2)

    def _both(self, z_t: Tensor, t: Tensor, condition: Condition, given: Condition | None) -> tuple[Tensor, Tensor]:
        """Return the outputs without and with the condition."""
        classes = self.denoiser.classes
        own = self.leave_out == "image" or self.empty is not None
        if own or classes is None or isinstance(condition, dict) or condition.is_floating_point():
            less = self._less(condition, len(z_t))
            return self.denoiser.output(z_t, t, less, given), self.denoiser.output(z_t, t, condition, given)
        labels = torch.cat([torch.full_like(condition, classes), condition])
        twice = torch.arange(len(z_t)).repeat(2)
        both = self.denoiser.output(torch.cat([z_t, z_t]), t.expand(len(z_t))[twice], labels, select_rows(given, twice))
        y_none, y_condition = both.chunk(2)
        return y_none, y_condition

    def _less(self, condition: Condition | None, count: int) -> Condition | None:
        """Return what is not exaggerated of a condition, for so many rows."""
        if self.empty is not None:
            return select_rows(self.empty, torch.zeros(count, dtype=torch.int64))
        return without(condition, self.leave_out)

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
