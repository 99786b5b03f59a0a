"""Denoisers: estimates of the data from a degraded latent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..degradations import LinearGaussianProcess, Prediction, PredictX
from ..degradations.checks import check_signal
from ..degradations.process import Time


class AbstractDenoiser(nn.Module, ABC):
    """An estimate x_hat(z_t, t) of the data behind a latent of one process. What losses and samplers work with.

    Args:
        process: the forward process whose latents are denoised.

    Attributes:
        prediction: what `output` stands for; here the data itself.
        network_calls: how many times one call of `output` sends the batch through a network.
    """

    prediction: Prediction = PredictX()
    network_calls: int = 1

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__()
        self.process = process

    @abstractmethod
    def forward(self, z_t: Float[Tensor, "batch ..."], t: Time) -> Float[Tensor, "batch ..."]:
        """Return x_hat, (batch, *shape), for latents (batch, *shape) at times in [0, 1], a number, () or (batch,)."""

    def output(self, z_t: Float[Tensor, "batch ..."], t: Float[Tensor, "*batch"]) -> Float[Tensor, "batch ..."]:
        """Return the raw prediction, which `prediction` names, (batch, *shape)."""
        return self.forward(z_t, t)

    def select(self, rows: slice) -> AbstractDenoiser:
        """Return the denoiser of these rows of a larger batch: itself, unless it knows something of each row.

        Samplers split large batches; what depends on a row, such as labels, is split with them.
        """
        del rows
        return self


@runtime_checkable
class HasJacobianDiagonal(Protocol):
    """A denoiser that knows by how much each coefficient of its output moves with that coefficient of the latent.

    Any denoiser may have the method; likelihoods then need no automatic differentiation and no random probes.
    """

    def jacobian_diagonal(self, z_t: Float[Tensor, "batch ..."], t: Time) -> Float[Tensor, "batch ..."]:
        """Return d (V^T y)_k / d (V^T z_t)_k for the output y of `AbstractDenoiser.output`, (batch, *shape).

        Args:
            z_t: latents, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).
        """
        ...


class Denoiser(AbstractDenoiser):
    """A network that predicts something, and the process that turns it into an estimate of the data.

    Args:
        network: called as `network(z_t, t)` with z_t (batch, *shape) and t (batch,) in float32; returns (batch,
        *shape).
        process: the forward process.
        prediction: what the network's output stands for.

    Raises:
        ValueError: `process` cannot convert `prediction` stably; the message names the ones that it can.
    """

    def __init__(self, network: nn.Module, process: LinearGaussianProcess, *, prediction: Prediction) -> None:
        super().__init__(process)
        prediction.require_stable(process)
        self.network = network
        self.prediction = prediction

    def output(self, z_t: Float[Tensor, "batch ..."], t: Float[Tensor, "*batch"]) -> Float[Tensor, "batch ..."]:
        """Return what the network puts out, in z_t's dtype, (batch, *shape), for checked times of shape () or (batch,).

        Raises:
            ValueError: the network returns another shape than it was given.
        """
        # Laws may be computed in float64, networks are not: they see latents in their parameters' precision.
        seen = z_t if z_t.dtype != torch.float64 else z_t.to(next(self.network.parameters(), z_t).dtype)
        output = self.network(seen, t.to(torch.float32).expand(len(z_t)))
        if output.shape != z_t.shape:
            msg = (
                f"the network returned shape {tuple(output.shape)} for a latent of shape {tuple(z_t.shape)};"
                " a prediction has the latent's shape"
            )
            raise ValueError(msg)
        return output.to(z_t.dtype)

    def forward(self, z_t: Float[Tensor, "batch ..."], t: Time) -> Float[Tensor, "batch ..."]:
        """Return the estimate x_hat of the data, (batch, *shape).

        Args:
            z_t: latents, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, or a time outside [0, 1].
        """
        check_signal("z_t", z_t, self.process.shape)
        times = self.process.as_times(t, batch=len(z_t))
        latent, output = self.prediction.conversion(self.process, times)
        return self.process.basis.combine((z_t, latent), (self.output(z_t, times), output))
