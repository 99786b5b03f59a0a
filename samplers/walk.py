"""A batch on its way from t = 1 to t = 0, and the steps it is taken through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from ..degradations import PredictX
from ..degradations.predictions import Conversion
from ..models import AbstractDenoiser
from .signals import Draw, Dual, mix


class PlannedStep(NamedTuple):
    """A step from `t` to `s`, with a sampler's own coefficients.

    Attributes:
        t: time of the latents, () or (batch,), in the schedule's precision.
        s: the time to go to, likewise.
        coefficients: tables of the sampler's, each broadcastable to (batch, *shape), in the latents' dtype.
        to_data: whether s is known to be 0 for the whole batch, so that what an ordinary step needs may be left out.
    """

    t: Float[Tensor, "*batch"]
    s: Float[Tensor, "*batch"]
    coefficients: Any
    to_data: bool = False


def _no_prediction() -> Dual:
    msg = "no step has been taken yet"
    raise RuntimeError(msg)


@dataclass
class Walk:
    """A batch on its way.

    Attributes:
        denoiser: the denoiser, of this batch's rows.
        latent: where it is.
        draw: makes white noise.
        past: estimates of the data made in earlier steps, newest first, as far as the sampler keeps them.
        origin: the latent that the step before came from, where the sampler keeps it.
        prediction: makes the estimate of the data that the latest step was taken with.
        calls: calls of the network so far.
    """

    denoiser: AbstractDenoiser
    latent: Dual
    draw: Draw
    past: list[Dual] = field(default_factory=list)
    origin: Dual | None = None
    prediction: Callable[[], Dual] = _no_prediction
    calls: int = 0

    def output(self, latent: Dual, t: Float[Tensor, "*batch"]) -> Dual:
        """Return the network's output for latents at `t`, and count the call."""
        self.calls += self.denoiser.network_calls
        return Dual(latent.basis, signal=self.denoiser.output(latent.signal, t))

    def estimate(self, latent: Dual, t: Float[Tensor, "*batch"], conversion: Conversion) -> Dual:
        """Return the estimate of the data for latents at `t`, and count the call.

        Args:
            latent: the latents.
            t: their time.
            conversion: coefficients that turn latent and output into the data, in the latents' dtype.
        """
        output = self.output(latent, t)
        if isinstance(self.denoiser.prediction, PredictX):
            return output
        return mix((latent, conversion.latent), (output, conversion.output))
