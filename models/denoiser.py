"""Denoisers: estimates of the data from a degraded latent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..core.checks import check_signal
from ..degradations import LinearGaussianProcess, Prediction, PredictX
from ..degradations.process import Time
from .ema import unwrap


class AbstractDenoiser(nn.Module, ABC):
    """An estimate x_hat(z_t, t) of the data behind a latent of one process. What losses and samplers work with.

    Args:
        process: the forward process whose latents are denoised.

    Attributes:
        prediction: what `output` stands for; here the data itself.
        network_calls: how many times one call of `output` sends the batch through a network.
        rows: length of the batch that it is for, where it knows something of each row; None for batches of any length.
        data_range: numbers that the lowest and the highest level of the data are, where that is known.
    """

    prediction: Prediction = PredictX()
    network_calls: int = 1
    rows: int | None = None
    data_range: tuple[float, float] | None = None

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__()
        self.process = process

    @abstractmethod
    def forward(self, z_t: Float[Tensor, "batch ..."], t: Time) -> Float[Tensor, "batch ..."]:
        """Return x_hat, (batch, *shape), for latents (batch, *shape) at times in [0, 1], a number, () or (batch,)."""

    def output(self, z_t: Float[Tensor, "batch ..."], t: Float[Tensor, "*batch"]) -> Float[Tensor, "batch ..."]:
        """Return the raw prediction, which `prediction` names, (batch, *shape)."""
        return self.forward(z_t, t)

    def select(self, rows: slice | Int[Tensor, " rows"]) -> AbstractDenoiser:
        """Return the denoiser of these rows of another batch: itself, unless it knows something of each row.

        Args:
            rows: which rows, as a slice or by their numbers, which may come more than once.

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
            *shape). One with an integer attribute `classes` is also called as `network(z_t, t, labels)`, with integers
            0 .. classes - 1, or `classes` for "no label", (batch,); in calls without labels no example has one.
        process: the forward process.
        prediction: what the network's output stands for.
        data_range: numbers that the lowest and the highest level of the data it is trained on are, such as (0.0, 1.0).
            Samplers then refuse a prior of data in another range.

    Attributes:
        classes: number of classes that the network knows; None if it takes no labels.

    Raises:
        ValueError: `process` cannot convert `prediction` stably; the message names the ones that it can.
    """

    def __init__(
        self,
        network: nn.Module,
        process: LinearGaussianProcess,
        *,
        prediction: Prediction,
        data_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(process)
        self.data_range = data_range
        prediction.require_stable(process)
        self.network = network
        self.prediction = prediction
        self.classes: int | None = getattr(unwrap(network), "classes", None)

    def known_classes(self) -> int:
        """Return the number of classes that the network knows.

        Raises:
            ValueError: it takes no labels.
        """
        if self.classes is None:
            msg = (
                f"this denoiser's {type(self.network).__name__} takes no labels: make it with classes, such as"
                " UNet(shape, classes=10), or leave the labels out"
            )
            raise ValueError(msg)
        return self.classes

    def output(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Float[Tensor, "*batch"],
        labels: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return what the network puts out, in z_t's dtype, (batch, *shape).

        Args:
            z_t: latents, (batch, *shape).
            t: checked times, () or (batch,).
            labels: label of each latent, (batch,), for a network that knows classes; None if none has one.

        Raises:
            ValueError: the network returns another shape than it was given, or takes no labels.
        """
        # Laws may be computed in float64, networks are not: they see latents in their parameters' precision.
        seen = z_t if z_t.dtype != torch.float64 else z_t.to(next(self.network.parameters(), z_t).dtype)
        times = t.to(torch.float32).expand(len(z_t))
        if labels is None:
            output = self.network(seen, times)
        else:
            self.known_classes()
            output = self.network(seen, times, labels)
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
        return estimate(self, z_t, t)


def estimate(denoiser: AbstractDenoiser, z_t: Float[Tensor, "batch ..."], t: Time) -> Float[Tensor, "batch ..."]:
    """Return the estimate x_hat of the data that a denoiser's raw output stands for, (batch, *shape).

    Args:
        denoiser: its `output` and `prediction` are used, not its `forward`, which may be this.
        z_t: latents, (batch, *shape).
        t: times in [0, 1], a number, () or (batch,).

    Raises:
        TypeError: an argument is not floating-point.
        ValueError: a shape is wrong, or a time outside [0, 1].
    """
    process = denoiser.process
    check_signal("z_t", z_t, process.shape)
    times = process.as_times(t, batch=len(z_t))
    latent, output = denoiser.prediction.conversion(process, times)
    return process.basis.combine((z_t, latent), (denoiser.output(z_t, times), output))
