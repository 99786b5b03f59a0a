"""A batch on its way from t = 1 to t = 0: what a stepper moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from ..degradations import PredictX
from ..degradations.predictions import Conversion
from ..models import AbstractDenoiser, ClippedDenoiser
from ..models.conditions import Condition
from .spectral import Draw, Spectral, combine


@dataclass
class SamplerState:
    """A batch on its way.

    Attributes:
        denoiser: the denoiser.
        latent: where the batch is.
        draw: makes white noise.
        condition: the network's condition, one row per row of the batch.
        given: what the estimate is conditioned on in each row.
        past: what the stepper keeps of earlier steps, newest first.
        origin: the latent that the step before came from, where the stepper keeps it.
        calls: calls of the network so far.
    """

    denoiser: AbstractDenoiser
    latent: Spectral
    draw: Draw
    condition: Condition | None = None
    given: Condition | None = None
    past: list[tuple[Spectral, ...]] = field(default_factory=list)
    origin: Spectral | None = None
    calls: int = 0
    _prediction: Callable[[], Spectral] | None = None

    def begin_step(self) -> None:
        """Forget the prediction of the step before."""
        self._prediction = None

    def output(self, latent: Spectral, t: Float[Tensor, "*batch"]) -> Spectral:
        """Return the network's output for latents at `t`, and count the call."""
        self.calls += self.denoiser.network_calls(t, self.condition)
        output = Spectral(latent.basis, signal=self.denoiser.output(latent.signal, t, self.condition, self.given))
        if self._prediction is None:
            self.show(lambda: self._converted(latent, output, t))
        return output

    def posterior_output(self, t: Float[Tensor, "*batch"]) -> tuple[Spectral, Spectral]:
        """Return the batch's latents at `t` and the network's output for them, and count the call.

        Where a denoiser clips its estimate and keeps the noise, they are the latents with that noise.
        """
        denoiser = self.denoiser
        if not (isinstance(denoiser, ClippedDenoiser) and denoiser.keep_noise):
            return self.latent, self.output(self.latent, t)
        basis = self.latent.basis
        self.calls += denoiser.network_calls(t, self.condition)
        clipped, moved = denoiser.with_noise_kept(self.latent.signal, t, self.condition, self.given)
        output = Spectral(basis, signal=clipped)
        if self._prediction is None:
            self.show(lambda: output)
        return Spectral(basis, signal=moved), output

    def estimate(self, latent: Spectral, t: Float[Tensor, "*batch"], conversion: Conversion) -> Spectral:
        """Return the estimate of the data for latents at `t`, and count the call.

        Args:
            latent: the latents.
            t: their time.
            conversion: what the denoiser's prediction is converted to the data with there.
        """
        first = self._prediction is None
        estimate = self.as_data(latent, self.output(latent, t), conversion)
        if first:
            self.show(lambda: estimate)
        return estimate

    def as_data(self, latent: Spectral, output: Spectral, conversion: Conversion) -> Spectral:
        """Return the estimate of the data that the network's output for a latent stands for."""
        if self.denoiser.prediction == PredictX():
            return output
        return combine((latent, conversion.latent), (output, conversion.output))

    def show(self, prediction: Callable[[], Spectral]) -> None:
        """Say how the estimate of the data that this step is taken with is made, should anybody ask."""
        self._prediction = prediction

    def prediction(self) -> Spectral:
        """Return the estimate of the data that the latest step was taken with."""
        assert self._prediction is not None, "no step has been taken yet"
        found = self._prediction()
        self._prediction = lambda: found
        return found

    def _converted(self, latent: Spectral, output: Spectral, t: Tensor) -> Spectral:
        return self.as_data(latent, output, self.denoiser.prediction.conversion(self.denoiser.process.at(t)))
