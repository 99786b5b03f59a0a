r"""What every guidance by a linear observation shares: the observation y, the model covariance, Tweedie's formula.

Given z_t, the data is taken to be Gaussian around the denoiser's estimate, with a covariance that is diagonal in the
process's basis V:

    x | z_t ~ N(x_hat, C_t),    C_t = V diag(r_t^2) V^T,    r_t^2 = v sigma_t^2 / (alpha_t^2 v + sigma_t^2).

v is the data's variance per coefficient. For Gaussian data with these variances that is exact. Tweedie's formula
(Robbins, 1956) for the distribution given y as well reads, per coefficient,

    V^T E[x | z_t, y] = V^T x_hat + (sigma_t^2 / alpha_t) V^T grad_{z_t} log p(y | z_t),

and the gradient goes through the denoiser, whose Jacobian J carries the alpha_t that is divided by: for every
distribution of the data J = Cov(x | z_t) V diag(alpha_t / sigma_t^2) V^T, C_t in place of the covariance for the
Gaussian above.

That division cannot be done where alpha_t underflows, as heat's does, or is 0. A coefficient is called *blind* where

    alpha_t^2 v <= eps sigma_t^2,

eps being the precision of the latents: there z_t tells nothing of the coefficient that rounding leaves, and the
gradient, alpha_t v / sigma_t^2 or less, is lost beside those of other coefficients. In blind coefficients J's exact
value for the model covariance stands in for the gradient: the correction is that of `CovarianceGuidance`. In the others
sigma_t^2 / alpha_t is below sigma_t sqrt(v / eps).

A run starts from p(z_1 | y). Where the process ends in noise alone that is a standard normal; but heat leaves the mean
of an image, of which y tells nearly all. There it is drawn as `conditional_latents` does, which takes the data's mean
as well as its variance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance, check_mask, check_signal, values_are_readable
from ...core.constants import ConstantModule
from ...core.precision import to_compute_dtype
from ...degradations import DataSpectrum, Level
from ...degradations.process import Time
from ...models import AbstractDenoiser, Condition
from ...models.priors.standard_normal import ends_in_standard_normal
from ..spectral import Draw
from .conditional_latents import latents_given
from .conditioning import require_same_shape, variance_table
from .observation import Observation


class Spread(NamedTuple):
    """What the model says of each coefficient of the data given a latent, broadcastable to (batch, *shape).

    Attributes:
        variance: r_t^2, in squared data units.
        gain: sigma_t^2 / alpha_t; infinite or NaN in blind coefficients only.
        blind: True where the latent tells nothing of the coefficient.
    """

    variance: Float[Tensor, "..."]
    gain: Float[Tensor, "..."]
    blind: Bool[Tensor, "..."]


class Observed(NamedTuple):
    """What a batch was given: observations, and how each row was observed.

    Attributes:
        observation: H and s, of all rows or by the row.
        y: the observations, (batch, *observed_shape).
    """

    observation: Observation
    y: Float[Tensor, "batch ..."]


class ObservationGuidance(ConstantModule, AbstractDenoiser, ABC):
    """A denoiser that estimates E[x | z_t, y] from an unconditional one and observations, which it is given by the row.

    It predicts the data itself, whatever the denoiser predicts, and works with every sampler:
    `Sampler(guided).sample(len(y), given=y)`, or `given={"observed": y, "visible": mask}` where each row has a mask of
    its own, boolean and of y's shape: what is False there is unknown, and not read. It draws what such a run starts
    from, p(z_1 | y), so the sampler takes no prior.

    Args:
        denoiser: the unconditional denoiser.
        observation: what was observed, and how exactly; it is moved to the process's device.
        variance: the data's variance v >= 0 per coefficient of the process's basis, in squared data units: a spectrum
            (`estimate_spectrum(process.basis, data)`), a tensor that broadcasts to the shape, or one number. A process
            that does not end in noise alone needs the spectrum, which has the data's mean too, or runs `initial`
            latents.

    Attributes:
        spectrum: mean and variance of the data; None where only variances were given.
        iterations: most iterations of the equations' solver; see `CovarianceGuidance`.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a shape does not fit, a variance is negative or not finite, the spectrum is in another basis, or the
            denoiser is itself given observations.
    """

    variance: Tensor
    needs_given = True
    iterations: int | None = None

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        observation: Observation,
        *,
        variance: DataSpectrum | Float[Tensor, "..."] | float,
    ) -> None:
        check_instance("denoiser", denoiser, AbstractDenoiser, "Denoiser(network, process, prediction=...) for example")
        check_instance("observation", observation, Observation, "LinearObservation.mask(...) for example")
        super().__init__(denoiser.process)
        if self.process.known_end:
            msg = (
                f"{type(self).__name__} cannot be made for {self.process.called}, whose latents depend on a known"
                " signal y: what a guided run is given is what was observed. Guide CentredDenoiser(denoiser, end=y)"
            )
            raise ValueError(msg)
        if denoiser.needs_given:
            msg = (
                f"denoiser must be unconditional, but {type(denoiser).__name__} is itself given something of each row:"
                " put all that was observed into one observation"
            )
            raise ValueError(msg)
        require_same_shape(self.process, observation)
        # As modules do, the observation moves itself.
        observation = observation.to(self.process.device)
        self.denoiser, self.observation = denoiser, observation.in_basis(self.process.basis) or observation
        self.grey_levels = denoiser.grey_levels
        self.spectrum = variance if isinstance(variance, DataSpectrum) else None
        self.register_constant("variance", variance_table(self.process, variance))

    @property
    @override
    def classes(self) -> int | None:
        return self.denoiser.classes

    @override
    def network_calls(self, t: Float[Tensor, "*batch"], condition: Condition | None = None) -> int:
        return self.denoiser.network_calls(t, condition)

    @abstractmethod
    def _correction(self, z_t: Tensor, at: Level, condition: Condition | None, seen: Observed) -> tuple[Tensor, Tensor]:
        """Return x_hat, and the spectrum V^T (x_hat_guided - x_hat) in the schedule dtype, (batch, *shape)."""

    @override
    def forward(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Time,
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return the estimate of E[x | z_t, y], (batch, *shape), in z_t's dtype (float32 for half precision).

        Args:
            z_t: latents, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).
            condition: the network's condition, one row per latent; None if it takes none.
            given: y, the observations, (batch, *observed_shape), with masks or without.

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, a time outside [0, 1], or there are more or fewer latents than observations.
        """
        check_signal("z_t", z_t, self.process.shape)
        seen = self._observed(given)
        if len(z_t) != len(seen.y):
            msg = (
                f"given holds {len(seen.y)} observations, but there are {len(z_t)} latents: give each latent its own"
                " row (y.expand(count, ...) for many samples of one observation)"
            )
            raise ValueError(msg)
        z_t = to_compute_dtype(z_t)
        at = self.process.at(t, batch=len(z_t))
        estimate, correction = self._correction(z_t, at, condition, seen)
        wide = self.process.to_schedule_dtype(estimate)
        return (wide + self.process.basis.inverse(correction)).to(z_t.dtype)

    def initial_latents(self, given: Condition | None, draw: Draw) -> Float[Tensor, "batch ..."]:
        """Draw what runs start from, z_1 given y, (batch, *shape), in float32 as priors do.

        Args:
            given: y, the observations, (batch, *observed_shape), with masks or without.
            draw: makes white noise like a tensor, one row for each observation.

        Raises:
            TypeError: `given` is not floating-point.
            ValueError: its shape is wrong or it is not finite, or the process does not end in noise alone and the
                data's mean is not known.
            RuntimeError: the equations were not solved in the iterations allowed.
        """
        observation, y = self._observed(given)
        if values_are_readable(y) and not bool(observation.coefficients(y).isfinite().all()):
            msg = "given must be finite where something is observed, got NaN or infinity: hide such pixels by a mask"
            raise ValueError(msg)
        process = self.process
        if self.spectrum is not None:
            at = process.at(1.0, batch=len(y))
            return latents_given(at, observation, y, self.spectrum, draw, iterations=self.iterations).float()
        if ends_in_standard_normal(process):
            return draw(torch.empty((len(y), *process.shape), device=process.device))
        msg = (
            f"{process.called} leaves some of the data at t = 1 (alpha up to"
            f" {process.alpha(1.0).max().item():.3g}), so the start of a run given y depends on the data's mean as well"
            " as on its variance: give variance=estimate_spectrum(process.basis, images), which has both, or latents of"
            " your own as initial="
        )
        raise ValueError(msg)

    def spread(self, at: Level, *, dtype: torch.dtype = torch.float32) -> Spread:
        """Return the model's variances at a level, for latents of a precision.

        Args:
            at: the level, at times () or (batch,).
            dtype: dtype of the latents; its precision tells which coefficients are blind.
        """
        log_variance = self.variance.log()
        log_total = torch.logaddexp(2 * at.log_alpha + log_variance, 2 * at.log_sigma)
        # With neither noise nor signal nor variance in z_t, what is known of the data is all that is known.
        unseen = log_total == -torch.inf
        posterior = torch.where(unseen, log_variance, log_variance + 2 * at.log_sigma - log_total).exp()
        blind = 2 * at.log_alpha + log_variance <= math.log(torch.finfo(dtype).eps) + 2 * at.log_sigma
        return Spread(posterior, (2 * at.log_sigma - at.log_alpha).exp(), blind)

    def _observed(self, given: Condition | None) -> Observed:
        """Return what was observed, checked, on the process's device."""
        remedy = 'the observations y, one row for each latent, or {"observed": y, "visible": mask} with a mask for each'
        if not isinstance(given, dict):
            y = check_instance("given", given, Tensor, remedy)
            check_signal("given", y, self.observation.observed_shape)
            return Observed(self.observation, y.to(self.process.device))
        if given.keys() != {"observed", "visible"}:
            msg = f"given must be {remedy}; got a dictionary of {', '.join(given) or 'nothing'}"
            raise ValueError(msg)
        seen = self._observed(given["observed"])
        visible = check_mask("visible", given["visible"])
        if visible.shape != seen.y.shape:
            msg = (
                f"visible must have the shape of the observations {tuple(seen.y.shape)}, got {tuple(visible.shape)}:"
                " visible.expand_as(y)"
            )
            raise ValueError(msg)
        return Observed(self.observation.seen_where(visible.to(self.process.device)), seen.y)

    def _residual(self, estimate: Tensor, seen: Observed) -> Tensor:
        """Return y - H x_hat in the observation's coordinates and the schedule dtype, 0 where nothing is observed."""
        wide = self.process.to_schedule_dtype
        return seen.observation.residual(wide(seen.y), wide(estimate))

    def _through_latent(self, weight: Tensor, estimate: Tensor, z_t: Tensor, spread: Spread) -> Tensor:
        """Return (sigma_t^2 / alpha_t) V^T J^T V weight, by a vector-Jacobian product, wrong in blind coefficients.

        Args:
            weight: spectrum of the gradient of log p(y | x_hat) by x_hat, (batch, *shape).
            estimate: x_hat, with its graph.
            z_t: the latents that it was computed from.
            spread: the model's variances.
        """
        basis = self.process.basis
        (slope,) = torch.autograd.grad(estimate, z_t, basis.inverse(weight).to(estimate.dtype))
        return spread.gain * basis.forward(self.process.to_schedule_dtype(slope))

    def _recorded_estimate(self, z_t: Tensor, at: Level, condition: Condition | None) -> tuple[Tensor, Tensor]:
        """Return a copy of z_t and x_hat with the graph between them; called where gradients are recorded."""
        # Copies made here are ordinary tensors, also of tensors made in inference mode.
        z_t = z_t.detach().clone().requires_grad_()
        estimate = self.denoiser(z_t, at.t.clone(), condition)
        if not estimate.requires_grad:
            msg = (
                f"{type(self).__name__} needs the gradient of its denoiser, but {type(self.denoiser).__name__} records"
                " none (does it run under torch.no_grad?): use CovarianceGuidance, which needs none"
            )
            raise ValueError(msg)
        return z_t, estimate


@contextmanager
def recording() -> Generator[None]:
    """Record gradients, inside `torch.no_grad` and `torch.inference_mode` too."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        yield
