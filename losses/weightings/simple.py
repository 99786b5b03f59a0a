"""Every coefficient of one prediction's error counts the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import check_instance
from ...degradations import LinearGaussianProcess, PredictEpsilon, Prediction
from .base import Weighting, data_output, limits

# Below this a factor alpha is on its way to underflow, and the same ratio is taken without it.
_SMALL = 2.0**-500


@dataclass(frozen=True)
class SimpleWeighting(Weighting):
    """1 on the squared error of a prediction, the "simple" loss of Ho et al. (2020, eq. 14) for epsilon.

    Attributes:
        measure: prediction in whose terms the error is measured; the network's own if None, at no cost.

    Raises:
        TypeError: measure is not a `Prediction`.
    """

    measure: Prediction | None = None

    def __post_init__(self) -> None:
        """Refuse what is no prediction."""
        if self.measure is not None:
            check_instance("measure", self.measure, Prediction, "PredictX() for example")

    def weight(self, process: LinearGaussianProcess, t: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
        """See `Weighting.weight`.

        Raises:
            ValueError: `measure` is None: the weight then depends on what the network predicts.
        """
        if self.measure is None:
            msg = (
                "SimpleWeighting() weighs the network's own prediction, whichever that is: name it, as in"
                " SimpleWeighting(PredictX()), to ask for a weight on the epsilon-error"
            )
            raise ValueError(msg)
        return self.gain(process, PredictEpsilon(), t).square()

    def gain(
        self, process: LinearGaussianProcess, prediction: Prediction, t: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "..."]:
        """See `Weighting.gain`; here it is the ratio of both predictions' outputs."""
        measure = self.measure
        if measure is None or measure == prediction:
            return torch.ones((1,) * (len(process.shape) + 1), dtype=t.dtype, device=process.device)

        def ratio(t: Tensor) -> Tensor:
            at = process.log_coefficients(t)
            theirs, ours = (p.conversion(process, t, at.log_alpha, at=at).output.abs() for p in (prediction, measure))
            # Both carry the factor alpha_t. Where it takes them out of range, the factor 1 in its place does not.
            plain = data_output(prediction, process, t) / data_output(measure, process, t)
            return torch.where(ours > _SMALL, theirs / ours, plain)

        return limits(ratio, t)

    def require_defined(self, process: LinearGaussianProcess) -> None:
        """Check that `process` can convert the measure stably.

        Raises:
            ValueError: it cannot; the message names the predictions that it can.
        """
        if self.measure is not None:
            self.measure.require_stable(process)

    def weighted_error(
        self,
        process: LinearGaussianProcess,
        prediction: Prediction,
        t: Float[Tensor, " batch"],
        error: Float[Tensor, "batch ..."],
    ) -> Float[Tensor, "batch ..."]:
        """See `Weighting.weighted_error`; the network's own error is left as it is."""
        if self.measure is None or self.measure == prediction:
            return error
        return super().weighted_error(process, prediction, t, error)
