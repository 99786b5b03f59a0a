r"""The distribution of the data given the first latent, p(x | z_first): the last step of the generative model.

It is centred on the denoiser's estimate x_hat, and how wide it is is for the decoder to say. The first latent's noise
leaves u = u_t / alpha_t open by sigma_t / alpha_t per coefficient: that is the posterior's width under a flat prior,
and a decoder's default.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ...core.checks import broadcast_to, check_instance, check_signal, values_are_readable
from ...core.constants import ConstantModule
from ...core.precision import schedule_dtype, to_compute_dtype
from ...degradations import LinearGaussianProcess
from ...degradations.process import Time
from ..grey_levels import GreyLevels


class Decoder(ConstantModule, ABC):
    """A distribution of the data given the denoiser's estimate from the first latent.

    A subclass writes `negative_log_likelihood`, `from_levels` (what quantised data become) and `fitted`.

    Args:
        process: the forward process.
        grey_levels: levels of the data where it is quantised; None for continuous data.

    Raises:
        TypeError: an argument is something else.
    """

    stddev: Tensor | None

    def __init__(self, process: LinearGaussianProcess, grey_levels: GreyLevels | None) -> None:
        super().__init__()
        check_instance("process", process, LinearGaussianProcess, "IsotropicDiffusion(shape) for example")
        if grey_levels is not None:
            declared = "GreyLevels(count=256, low=0.0, high=1.0) for example"
            check_instance("grey_levels", grey_levels, GreyLevels, declared)
        self.process = process.centred()
        self.grey_levels = grey_levels

    def extra_repr(self) -> str:
        """Show the levels; the process is shown below."""
        return f"grey_levels={self.grey_levels}"

    def prepare(
        self, x: Shaped[Tensor, "batch ..."], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Return the floating-point data that latents are made of and that `negative_log_likelihood` takes.

        Args:
            x: data, (batch, *shape): floating-point; where levels are declared, these as integers or their
                values.
            generator: source of the noise of dequantisation, where there is any; torch's default if None.

        Returns:
            (batch, *shape), float64 if `x` is and float32 otherwise.

        Raises:
            TypeError: `x` is integer data and no levels are declared.
            ValueError: `x` has another shape, or is not on the declared levels.
        """
        check_instance("x", x, Tensor, "torch.as_tensor(...) makes one")
        if self.grey_levels is not None:
            x = self.from_levels(x, self.grey_levels, generator)
        elif not x.dtype.is_floating_point and not x.dtype.is_complex:
            msg = (
                f"integer data ({x.dtype}) without levels: declare what the integers stand for, such as"
                f" {type(self).__name__}(process, grey_levels=GreyLevels(count=256, low=0.0, high=1.0)) for 8-bit"
                " data whose level 0 is the value 0 and level 255 the value 1"
            )
            raise TypeError(msg)
        check_signal("x", x, self.process.shape)
        return to_compute_dtype(x)

    @abstractmethod
    def from_levels(self, x: Tensor, grey_levels: GreyLevels, generator: torch.Generator | None) -> Tensor:
        """Return the data to make latents of from quantised data."""

    @abstractmethod
    def negative_log_likelihood(
        self, x: Float[Tensor, "batch ..."], x_hat: Float[Tensor, "batch ..."], t: Time
    ) -> Float[Tensor, " batch"]:
        """Return -log p(x | z_t) in nats, (batch,), in the precision that schedules are computed in.

        Args:
            x: data as `prepare` returns it, (batch, *shape).
            x_hat: the denoiser's estimate of it from z_t, (batch, *shape); gradients flow to it.
            t: time of the first latent, a number, () or (batch,), in [0, 1].

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, a time lies outside [0, 1], or there is no such distribution at t.
        """

    @abstractmethod
    def fitted(self, x: Float[Tensor, "batch ..."], x_hat: Float[Tensor, "batch ..."]) -> Decoder:
        """Return this decoder with the standard deviation under which `x`, given `x_hat`, is most probable.

        Args:
            x: data as `prepare` returns it, (batch, *shape), all that is to be fitted to.
            x_hat: the denoiser's estimates of it from first latents, (batch, *shape).

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, or an error is 0 in all examples, where no width is the best.
        """

    def with_stddev(self, stddev: float | Float[Tensor, "..."]) -> Decoder:
        """Return this decoder with another standard deviation, one that was fitted say.

        Args:
            stddev: in the data's units, a number or broadcastable to the process's shape.

        Raises:
            TypeError, ValueError: as the decoder's constructor.
        """
        made = copy.copy(self)
        made._buffers = self._buffers.copy()  # noqa: SLF001  # copy.copy shares the table of buffers
        made._register_stddev(stddev)  # noqa: SLF001
        return made

    def _register_stddev(self, stddev: float | Tensor | None) -> None:
        """Register a standard deviation as a table that is saved with the model: it may have been fitted.

        Raises:
            TypeError: it is not floating-point.
            ValueError: it is not positive and finite, or not broadcastable to the process's shape.
        """
        if stddev is None:
            self.register_buffer("stddev", None)
            return
        number = "a standard deviation in the data's units"
        check_instance("stddev", stddev, (Tensor, float, int), number)
        table = stddev.detach() if isinstance(stddev, Tensor) else torch.tensor(float(stddev), dtype=torch.float64)
        if not table.dtype.is_floating_point:
            msg = f"stddev must be floating-point, in the data's units, got {table.dtype}"
            raise TypeError(msg)
        broadcast_to("stddev", table, self.process.shape, "one signal's")
        allowed = (table > 0) & (table < torch.inf)
        if not bool(allowed.all()):
            worst = table[~allowed].flatten()[0].item()
            msg = f"stddev must be positive and finite, in the data's units, got {worst}"
            raise ValueError(msg)
        device = self.process.device
        self.register_buffer("stddev", table.to(device, schedule_dtype(device), copy=True))

    def _log_open(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
        """Return log sigma_t - log alpha_t at checked times, per coefficient; NaN where both are minus infinity."""
        at = self.process.at(t)
        return at.log_sigma - at.log_alpha

    def _require_width(self, log_stddev: Tensor, t: Tensor) -> Tensor:
        """Return the log of a standard deviation made from sigma_t / alpha_t, checked to be a positive number's.

        Raises:
            ValueError: it is zero, infinite or undefined (where values are readable; elsewhere it becomes NaN).
        """
        # Logs of numbers that only overflow are no obstacle: nothing here needs the number itself.
        allowed = (log_stddev > math.log(torch.finfo(log_stddev.dtype).tiny)) & (log_stddev < torch.inf)
        if not values_are_readable(log_stddev):
            return torch.where(allowed, log_stddev, torch.nan)
        if not bool(allowed.all()):
            row, *_ = (~allowed).nonzero()[0].tolist()
            worst = log_stddev[~allowed].flatten()[0].exp().item()
            where = t.expand(len(log_stddev))[row].item() if t.ndim else t.item()
            msg = (
                f"{type(self).__name__} without a stddev takes the width that the first latent's noise leaves open,"
                f" sigma_t / alpha_t, and that is {worst:g} at t = {where:g}: give it a stddev in the data's units, or"
                " take a first latent with both signal and noise"
            )
            raise ValueError(msg)
        return log_stddev

    def _check_pair(self, x: Tensor, x_hat: Tensor) -> None:
        """Check data and estimate, as `negative_log_likelihood` says."""
        check_signal("x", x, self.process.shape)
        check_signal("x_hat", x_hat, self.process.shape)
        if len(x) != len(x_hat):
            msg = f"x and x_hat must have one batch size, got {len(x)} and {len(x_hat)}"
            raise ValueError(msg)
