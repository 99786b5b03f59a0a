"""Samples of the signal behind one observation, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.checks import check_count, check_mask, check_signal
from ...models import Condition
from ...models.clipped_denoiser import unclipped
from ..sampler import Sampler
from .observation import Observation
from .observed import ObservationGuidance


class RestorationErrors(NamedTuple):
    """Root mean square errors over all numbers of a signal, in the data's units.

    Attributes:
        sample: of one sample, the mean square being over samples too.
        mean: of the samples' mean: less, for a sample makes up detail that the observation does not tell.
    """

    sample: float
    mean: float


@dataclass(frozen=True, eq=False, repr=False)
class Restoration:
    """Samples of p(x | y) for one observation y.

    Attributes:
        observation: how y was made, and how exactly.
        observed: y, (*observed_shape).
        samples: signals that y may have come from, in the data's range, not clipped, (count, *shape).
    """

    observation: Observation
    observed: Float[Tensor, "..."]
    samples: Float[Tensor, "count ..."]

    @property
    def mean(self) -> Float[Tensor, "..."]:
        """The samples' mean, (*shape): the best guess by square error, the better the more samples there are."""
        return self.samples.mean(0)

    @property
    def std(self) -> Float[Tensor, "..."]:
        """The samples' standard deviation in each place, (*shape): how little y tells of it. NaN for one sample."""
        if len(self.samples) == 1:
            return torch.full_like(self.samples[0], torch.nan)
        return self.samples.std(0)

    @property
    def misfit(self) -> float:
        """Root mean square of what samples leave of y, over the coefficients observed: about the observation's noise.

        Much more says that y was not observed so, or is of nothing that the denoiser knows.
        """
        y = self.observed.expand(len(self.samples), *self.observed.shape)
        left = self.observation.residual(y, self.samples)
        return self.observation.mean_square(left).mean().sqrt().item()

    def errors(self, original: Float[Tensor, "..."]) -> RestorationErrors:
        """Return how far samples are from the signal that was observed, (*shape).

        Raises:
            TypeError: it is not floating-point.
            ValueError: it has another shape.
        """
        check_signal("original", original[None], tuple(self.samples.shape[1:]))
        away = (self.samples - original.to(self.samples)).square().mean().sqrt().item()
        return RestorationErrors(away, (self.mean - original.to(self.samples)).square().mean().sqrt().item())

    def __repr__(self) -> str:
        """Show how many samples there are, and how far they lie apart."""
        apart = self.std.square().mean().sqrt().item()
        return f"Restoration({len(self.samples)} samples of shape {tuple(self.samples.shape[1:])}, std {apart:.3g})"


def restore(
    sampler: Sampler,
    observed: Float[Tensor, "..."],
    count: int = 8,
    *,
    visible: Bool[Tensor, "..."] | None = None,
    condition: int | None = None,
    generator: torch.Generator | Sequence[int] | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> Restoration:
    """Draw samples of the signal behind one observation.

    Args:
        sampler: a sampler of a denoiser guided by observations, such as `CovarianceGuidance`.
        observed: the observation y, (*observed_shape), without a batch axis.
        count: how many samples.
        visible: True where y is known of this one, broadcastable to its shape; everywhere if None.
        condition: class of the signal, for a network that knows classes.
        generator: source of randomness, torch's default if None; or a seed for each sample.
        batch_size: most samples at a time; all at once if None.
        progress: show a progress bar (needs tqdm).

    Raises:
        TypeError: `observed` is not floating-point, or `visible` not boolean.
        ValueError: it has another shape or is not finite, count < 1, or the sampler's denoiser takes no observation.
        RuntimeError: the guidance's equations were not solved in the iterations allowed.
    """
    guided = unclipped(sampler.denoiser)
    if not isinstance(guided, ObservationGuidance):
        msg = (
            f"the sampler's denoiser must be guided by an observation, got {type(guided).__name__}: wrap it, as in"
            " CovarianceGuidance(denoiser, observation, variance=spectrum)"
        )
        raise ValueError(msg)  # noqa: TRY004  # a sampler of the right kind, with a denoiser that does not fit
    check_count("count", count)
    y = observed[None]
    observation = guided.observation
    check_signal("observed", y, observation.observed_shape)
    given: Condition = y.expand(count, *observed.shape)
    if visible is not None:
        observation = observation.seen_where(check_mask("visible", visible)[None])
        given = {"observed": given, "visible": visible.expand(observed.shape).expand_as(given)}
    labels: Condition | None = None if condition is None else torch.full((count,), condition)
    samples = sampler.sample(
        count,
        condition=labels,
        given=given,
        generator=generator,
        batch_size=batch_size,
        progress=progress,
    )
    return Restoration(observation, observed, samples)
