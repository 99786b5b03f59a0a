"""Every coefficient of one prediction's error counts the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance
from ...degradations import Level, LinearGaussianProcess, PredictEpsilon, Prediction
from .base import Weighting, limits

# Below this a factor alpha is on its way to underflow, and the same ratio is taken without it.
_SMALL = 2.0**-500


@dataclass(frozen=True)
class SimpleWeighting(Weighting):
    """1 on the squared error of a prediction, the "simple" loss of Ho et al. (2020) for epsilon.

    Attributes:
        in_terms_of: prediction in whose terms the error is measured; the network's own if None, at no cost.

    Raises:
        TypeError: `in_terms_of` is not a `Prediction`.
    """

    in_terms_of: Prediction | None = None

    def __post_init__(self) -> None:
        """Refuse anything but a prediction."""
        if self.in_terms_of is not None:
            check_instance("in_terms_of", self.in_terms_of, Prediction, "PredictX() for example")

    @override
    def weight(self, at: Level) -> Float[Tensor, "..."]:
        """Return the weight on the epsilon-error.

        Raises:
            ValueError: `in_terms_of` is None: the weight then depends on what the network predicts.
        """
        if self.in_terms_of is None:
            msg = (
                "SimpleWeighting() weighs the network's own prediction, whichever that is: name it, as in"
                " SimpleWeighting(in_terms_of=PredictX()), to ask for a weight on the epsilon-error"
            )
            raise ValueError(msg)
        return self.error_scale(PredictEpsilon(), at).square()

    @override
    def error_scale(self, prediction: Prediction, at: Level) -> Float[Tensor, "..."]:
        """Return the ratio of both predictions' outputs; see `Weighting.error_scale`."""
        wanted = self.in_terms_of
        if wanted is None or wanted == prediction:
            return at.constant(1.0)

        def ratio(at: Level) -> Tensor:
            theirs, ours = (p.conversion(at, at.log_alpha).output.abs() for p in (prediction, wanted))
            # Both carry the factor alpha_t. Where it takes them out of range, the factor 1 in its place does not.
            plain = prediction.error_factor(at) / wanted.error_factor(at)
            return torch.where(ours > _SMALL, theirs / ours, plain)

        return limits(ratio, at)

    @override
    def require_defined(self, process: LinearGaussianProcess) -> None:
        """Check that `process` can convert `in_terms_of` stably.

        Raises:
            ValueError: it cannot; the message names the predictions that it can.
        """
        if self.in_terms_of is not None:
            self.in_terms_of.require_stable(process)

    @override
    def weighted_error(
        self, prediction: Prediction, at: Level, error: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch ..."]:
        """Return the weighted error; the network's own is left as it is."""
        if self.in_terms_of is None or self.in_terms_of == prediction:
            return error
        return super().weighted_error(prediction, at, error)
