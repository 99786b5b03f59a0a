"""Denoisers: estimates of the data from a degraded latent."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ..core.checks import check_instance, check_signal, values_are_readable
from ..degradations import LinearGaussianProcess, Prediction, PredictX
from ..degradations.process import Time
from .conditions import Condition, image_channels, with_image
from .ema import unwrap
from .grey_levels import GreyLevels


class AbstractDenoiser(nn.Module, ABC):
    """An estimate x_hat(z_t, t) of the data behind a latent of one process. What losses and samplers work with.

    What belongs to a row of the batch travels with it: `condition` goes to the network, `given` is what the estimate is
    conditioned on beside the latent: an observation, or the known end y of a process that has one.

    Args:
        process: the forward process whose latents are denoised.

    Attributes:
        prediction: what `output` stands for; here the data itself. Of a process with a known end it is a share of the
            data and of z_t - beta_t y (see `CentredDenoiser`).
        needs_given: whether `given` must be given; True for a process with a known end.
        grey_levels: levels and range of the data it was made for, where they are known.
    """

    prediction: Prediction = PredictX()
    needs_given: bool = False
    grey_levels: GreyLevels | None = None

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__()
        self.process = process
        self.needs_given = self.needs_given or process.known_end

    @property
    def classes(self) -> int | None:
        """Number of classes that its network is told as a condition; None if there are none, or nobody knows."""
        return None

    @abstractmethod
    def forward(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Time,
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return x_hat, (batch, *shape).

        Args:
            z_t: latents, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).
            condition: the network's condition, one row per latent; None if it takes none.
            given: what the estimate is conditioned on in each row, for a denoiser with `needs_given`: an observation,
                or the process's known end, (batch, *shape).
        """

    def output(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Float[Tensor, "*batch"],
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return the raw prediction, which `prediction` names, (batch, *shape); arguments as in `forward`."""
        return self.forward(z_t, t, condition, given)

    def network_calls(self, t: Float[Tensor, "*batch"], condition: Condition | None = None) -> int:
        """Return how many times a call of `output` with these arguments sends the batch through a network."""
        del t, condition
        return 1


@runtime_checkable
class HasJacobianDiagonal(Protocol):
    """A denoiser that knows by how much each coefficient of its output moves with that coefficient of the latent.

    Any denoiser may have the method; likelihoods then need no automatic differentiation and no random probes.
    """

    def jacobian_diagonal(
        self, z_t: Float[Tensor, "batch ..."], t: Time, condition: Condition | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Return d (V^T y)_k / d (V^T z_t)_k for the output y of `AbstractDenoiser.output`, (batch, *shape).

        Args:
            z_t: latents, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).
            condition: the network's condition, one row per latent; None if it takes none.
        """
        ...


class Denoiser(AbstractDenoiser):
    """A network that predicts something, and the process that turns it into an estimate of the data.

    Args:
        network: called as `network(z_t, t, condition)` with z_t (batch, *shape), t (batch,) in float32, and a condition
            or None; returns (batch, *shape).
        process: the forward process.
        prediction: what the network's output stands for.
        grey_levels: levels and range of the data that it is trained on. Samplers then refuse a prior of data in
            another range.
        sees_given: whether the network sees the known end y too, as an image of its condition (see
            `unmelt.models.with_image`). The process is the same either way. None is False, for networks that see no
            images; for others, those with `image_channels`, it has to be said.

    Raises:
        TypeError: the network does not take three arguments, or `prediction` is not a `Prediction`.
        ValueError: `process` cannot convert `prediction` stably; the message names the ones that it can. Or the network
            is to see a known end, and the process has none; or the process has one and the network sees images, and
            it is not said whether that is one of them.
    """

    def __init__(
        self,
        network: nn.Module,
        process: LinearGaussianProcess,
        *,
        prediction: Prediction,
        grey_levels: GreyLevels | None = None,
        sees_given: bool | None = None,
    ) -> None:
        super().__init__(process)
        _check_network(network)
        check_instance("prediction", prediction, Prediction, "PredictX() for example")
        prediction.require_stable(process)
        if sees_given and not process.known_end:
            msg = (
                f"{process.called} has no known end that its network could see: leave sees_given out, and pass"
                " an image of your own as condition="
            )
            raise ValueError(msg)
        if sees_given is None and process.known_end and image_channels(unwrap(network)):
            msg = (
                f"{process.called} ends in a known signal y, and {type(unwrap(network)).__name__} sees images: say"
                " sees_given=True if y is what it sees, or sees_given=False if its images are a condition of their own"
            )
            raise ValueError(msg)
        self.sees_given = bool(sees_given)
        self.network = network
        self.prediction = prediction
        self.grey_levels = grey_levels

    def __repr__(self) -> str:
        # A network has hundreds of layers: print(denoiser.network) shows them.
        network = unwrap(self.network)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        what = f"{type(network).__name__} of {parameters:,} parameters"
        seen = ", sees_given=True" if self.sees_given else ""
        return f"{type(self).__name__}({what}, {self.process.called}, {self.prediction}{seen})"

    @property
    @override
    def classes(self) -> int | None:
        """Number of classes that condition the network, its attribute `classes`; None if it is unconditional."""
        return getattr(unwrap(self.network), "classes", None)

    @override
    def output(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Float[Tensor, "*batch"],
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return what the network puts out, in z_t's dtype, (batch, *shape).

        Args:
            z_t: latents, (batch, *shape).
            t: checked times, () or (batch,).
            condition: the network's condition, one row per latent; None if it takes none.
            given: the process's known end, (batch, *shape), if it has one; else None.

        Raises:
            ValueError: the network returns another shape than it was given, or the known end is missing, or something
                is given without one.
        """
        end = known_end(self.process, given, z_t.shape[0])
        if end is not None and self.sees_given:
            condition = with_image(condition, end.to(z_t.dtype))
        # Latents are computed in float32 or float64; networks, halved ones too, see them in their own precision.
        floating = (p for p in self.network.parameters() if p.is_floating_point())
        seen = z_t.to(next(floating, z_t).dtype)
        output = self.network(seen, t.to(torch.float32).expand(z_t.shape[0]), condition)
        if output.shape != z_t.shape:
            msg = (
                f"the network returned shape {tuple(output.shape)} for a latent of shape {tuple(z_t.shape)};"
                " a prediction has the latent's shape"
            )
            raise ValueError(msg)
        return output.to(z_t.dtype)

    @override
    def forward(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Time,
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return the estimate x_hat of the data, (batch, *shape); see `estimate`."""
        return estimate(self, z_t, t, condition, given)


def estimate(
    denoiser: AbstractDenoiser,
    z_t: Float[Tensor, "batch ..."],
    t: Time,
    condition: Condition | None = None,
    given: Condition | None = None,
) -> Float[Tensor, "batch ..."]:
    """Return the estimate x_hat of the data that a denoiser's raw output stands for, (batch, *shape).

    Args:
        denoiser: its `output` and `prediction` are used, not its `forward`, which may be this.
        z_t: latents, (batch, *shape).
        t: times in [0, 1], a number, () or (batch,).
        condition: the network's condition, one row per latent; None if it takes none.
        given: what the estimate is conditioned on in each row; the known end of a process that has one.

    Raises:
        TypeError: an argument is not floating-point.
        ValueError: a shape is wrong, a time outside [0, 1], or a known end is missing.
    """
    process = denoiser.process
    check_signal("z_t", z_t, process.shape)
    at = process.at(t, batch=z_t.shape[0])
    latent, output = denoiser.prediction.conversion(at)
    centred, end = [(z_t, latent)], known_end(process, given, z_t.shape[0]) if process.known_end else None
    if end is not None:
        centred.append((end.to(z_t.dtype), -latent * at.beta))
    return process.basis.combine(*centred, (denoiser.output(z_t, at.t, condition, given), output))


def known_end(process: LinearGaussianProcess, given: Condition | None, count: int) -> Float[Tensor, "count ..."] | None:
    """Return what is given of a process that ends in it, checked, on its device; None for one that does not.

    Args:
        process: the process.
        given: the known end y, (count, *shape), or None.
        count: number of latents.

    Raises:
        TypeError: y is not a floating-point tensor.
        ValueError: it is missing or not wanted, or has another shape.
    """
    if isinstance(given, dict):
        msg = f"given must be one tensor, the known end y of each latent, got a dictionary of {', '.join(given)}"
        raise TypeError(msg)
    process.check_given(given, count)
    return None if given is None else given.to(process.device)


def check_end(denoiser: AbstractDenoiser, given: Condition | None, count: int) -> Float[Tensor, "count ..."] | None:
    """Check at the door what is given of a denoiser's process, its numbers too, and return it as `known_end` does.

    Raises:
        TypeError, ValueError: as `known_end` and `check_units`.
    """
    end = known_end(denoiser.process, given, count)
    if end is not None:
        check_units("given", end, denoiser.grey_levels)
    return end


def check_units(name: str, y: Float[Tensor, "..."], levels: GreyLevels | None) -> None:
    """Check that an observation of data is finite and in their units, where values are readable.

    It may leave the data's range, by noise or by ringing; one that leaves it by more than its width is in other units.

    Raises:
        ValueError: it is not.
    """
    if not values_are_readable(y) or not y.numel():
        return
    low, high = y.min().item(), y.max().item()
    if not -math.inf < low <= high < math.inf:
        msg = f"{name} must be finite numbers, got NaN or infinity: fill what is missing, and mark it in a condition"
        raise ValueError(msg)
    if levels is not None and (low < 2 * levels.low - levels.high or high > 2 * levels.high - levels.low):
        msg = (
            f"{name} lies in [{low:.4g}, {high:.4g}], the data that the denoiser is made for in [{levels.low:g},"
            f" {levels.high:g}]: scale it as they are"
        )
        raise ValueError(msg)


def _check_network(network: nn.Module) -> None:
    try:
        inspect.signature(network.forward).bind(None, None, None)
    except TypeError:
        msg = (
            f"a network is called as network(z_t, t, condition), and {type(network).__name__}.forward does not take"
            " three arguments: def forward(self, z_t, t, condition=None)"
        )
        raise TypeError(msg) from None
