r"""Samplers of the reverse diffusion: Euler and Maruyama's, and an exponential one of second order.

With a share eta of the forward noise the reverse process is, per coefficient and with time running down,

    du = [f u - (1 + eta^2)/2 g^2 score] dt + eta g dw,        score = (alpha u_hat - u) / sigma^2

(Song et al., 2021, for eta = 1). For every eta its marginals are the forward process's; eta = 0 is the probability
flow.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_instance
from ..degradations import ReverseSDE
from ..degradations.level import log_transition, posterior_coefficients
from ..degradations.predictions import Conversion
from ..models import AbstractDenoiser, Prior
from .base import End, Sampler
from .exponential import Variable, exponential_step
from .signals import mix, white
from .walk import PlannedStep, Walk


class StochasticCoefficients(NamedTuple):
    """A step's shares of latent, estimates and noise.

    Attributes:
        latent: share of the latent.
        held: share of the estimate at t, where it is the only one.
        estimates: shares of the estimates at t and at s.
        stddev: standard deviation of the noise in the data's units.
        at_t: turns latent and output at t into an estimate.
        at_s: the same at s.
    """

    latent: Float[Tensor, "steps ..."]
    held: Float[Tensor, "steps ..."]
    estimates: tuple[Float[Tensor, "steps ..."], ...]
    stddev: Float[Tensor, "steps ..."]
    at_t: Conversion
    at_s: Conversion


class ExponentialSDESampler(Sampler):
    """Solves the reverse diffusion by an exponential Heun method: two network calls per step, one for the last.

    The linear part and the noise of a step are exact; the estimate runs on a straight line between its values at t and
    at a first guess of the latent at s, *made with the noise that the step adds*. The law of samples is thereby off by
    second order in the step, as an estimate that moves with the noise would be missed otherwise (weak second order; a
    single path is off by more). The steps to and next to t = 0 have the order that they have in `HeunSampler`.

    Args:
        denoiser: estimates the data from latents of its process.
        steps: number of steps on a uniform grid; None takes the process's own levels, or 50 where it has none.
        times: the grid instead, falling from 1 to 0, (steps + 1,).
        eta: share of the forward noise: 1 is the time reversal, smaller values are less noisy.
        variable: what estimates are interpolated in.
        prior: law of the first latent; standard normal if None, where the process ends in it.
        end: what a run that ends at t = 0 returns.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: as `Sampler`, eta is not positive, or the process is deterministic.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        *,
        steps: int | None = None,
        times: Float[Tensor, " times"] | None = None,
        eta: float = 1.0,
        variable: Variable = Variable.TIME,
        prior: Prior | None = None,
        end: End = End.ESTIMATE,
    ) -> None:
        self.eta = checked_eta(eta)
        check_instance("variable", variable, Variable, "Variable.TIME or Variable.LOG_SNR")
        self.variable = variable
        super().__init__(denoiser, steps=steps, times=times, prior=prior, end=end)
        self.require_noise(type(self).__name__)

    @property
    def draws_noise(self) -> bool:
        """See `Sampler.draws_noise`."""
        return True

    def coefficients(self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"]) -> StochasticCoefficients:
        """See `Sampler.coefficients`."""
        process, prediction = self.process, self.denoiser.prediction
        held = exponential_step(process, (t,), t, s, eta=self.eta)
        line = exponential_step(process, (t, s), t, s, eta=self.eta, variable=self.variable)
        last = self.ends(s)
        one, nothing = (torch.full_like(held.estimates[0], value) for value in (1.0, 0.0))
        return StochasticCoefficients(
            latent=torch.where(last, nothing, held.latent),
            held=torch.where(last, one, held.estimates[0]),
            estimates=tuple(torch.where(last, w, e) for w, e in zip((one, nothing), line.estimates, strict=True)),
            stddev=torch.where(last, nothing, held.stddev),
            at_t=prediction.conversion(process, t),
            at_s=prediction.conversion(process, s),
        )

    def advance(self, walk: Walk, step: PlannedStep) -> None:
        """See `Sampler.advance`."""
        c: StochasticCoefficients = step.coefficients
        before = walk.latent
        estimate = walk.estimate(before, step.t, c.at_t)
        walk.prediction = lambda: estimate
        if step.to_data and self.end is End.ESTIMATE:
            walk.latent = mix((estimate, c.held))
            return
        noise = white(before, c.stddev, walk.draw)
        one = c.latent.new_ones((1,) * c.latent.ndim)
        guess = mix((before, c.latent), (estimate, c.held), (noise, one))
        later = walk.estimate(guess, step.s, c.at_s)
        walk.latent = mix((before, c.latent), (estimate, c.estimates[0]), (later, c.estimates[1]), (noise, one))


class EulerMaruyamaCoefficients(NamedTuple):
    """A step z_s = latent z_t + estimate u_hat + stddev epsilon, and what turns latent and output into u_hat."""

    latent: Float[Tensor, "steps ..."]
    estimate: Float[Tensor, "steps ..."]
    stddev: Float[Tensor, "steps ..."]
    conversion: Conversion


class EulerMaruyamaSampler(Sampler):
    """Solves the reverse diffusion by Euler and Maruyama's method: the plain one, first order, one call per step.

    Drift and noise are taken at t and multiplied by the rates' exact integrals over the step, F = log alpha_s - log
    alpha_t and G = l_s - l_t,

        u_s = u_t + F u_t + (1 + eta^2)/2 G (alpha_t u_hat - u_t) + eta sqrt(G) sigma_t epsilon.

    Where they are infinite (a step from a time without signal, or to one without noise) the exponential step is taken.
    Being explicit it is stable only while no coefficient changes much within a step; steps at which it would turn a
    coefficient over and blow it up are refused. More steps help, but not next to a time without signal that alpha
    approaches like a high power: no uniform grid is fine enough there. `PosteriorSampler(coupling=ReverseSDE(eta))` is
    the exponential method of the same order, which has no such limit.

    Args:
        denoiser: estimates the data from latents of its process.
        steps: number of steps on a uniform grid; None takes the process's own levels, or 50 where it has none.
        times: the grid instead, falling from 1 to 0, (steps + 1,).
        eta: share of the forward noise: 1 is the time reversal, smaller values are less noisy.
        prior: law of the first latent; standard normal if None, where the process ends in it.
        end: what a run that ends at t = 0 returns.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: as `Sampler`, eta is not positive, the process is deterministic, or (from `sample`) a step is
            unstable.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        *,
        steps: int | None = None,
        times: Float[Tensor, " times"] | None = None,
        eta: float = 1.0,
        prior: Prior | None = None,
        end: End = End.ESTIMATE,
    ) -> None:
        self.eta = checked_eta(eta)
        super().__init__(denoiser, steps=steps, times=times, prior=prior, end=end)
        self.require_noise(type(self).__name__)

    @property
    def draws_noise(self) -> bool:
        """See `Sampler.draws_noise`."""
        return True

    def coefficients(self, t: Float[Tensor, "*steps"], s: Float[Tensor, "*steps"]) -> EulerMaruyamaCoefficients:
        """See `Sampler.coefficients`.

        Raises:
            ValueError: a step is unstable (where values are free to read, else wherever a run is planned).
        """
        process = self.process
        start, end = process.log_coefficients(s), process.log_coefficients(t)
        fade, change = log_transition(start, end)
        last = self.ends(s)
        pull = -(1 + self.eta**2) / 2 * change
        # From a time without signal, or to one without noise, both integrals are infinite: the exact step is finite.
        endless = change == -torch.inf
        exact = posterior_coefficients(start, end, ReverseSDE(self.eta))
        latent = torch.where(last, 0.0, torch.where(endless, exact.latent, 1 - fade - pull))
        estimate = torch.where(endless, exact.signal * start.log_alpha.exp(), pull * end.log_alpha.exp())
        stddev = torch.where(endless, exact.stddev, self.eta * (-change).sqrt() * end.log_sigma.exp())
        if not torch.compiler.is_compiling() and not bool((latent >= -1).all()):
            worst = latent.nan_to_num(nan=-torch.inf).min().item()
            more = max(2, math.ceil((1 - worst) / 2)) if math.isfinite(worst) else "hundreds of"
            msg = (
                f"a step of this grid multiplies a coefficient by {worst:.3g}, below -1, so that Euler and Maruyama's"
                f" method is unstable for {type(process).__name__}: take about {more} times as many steps (next to a"
                " time without signal no number is enough), or PosteriorSampler or ExponentialSDESampler, which are"
                " stable at any"
            )
            raise ValueError(msg)
        return EulerMaruyamaCoefficients(
            latent=latent,
            estimate=torch.where(last, 1.0, estimate),
            stddev=torch.where(last, 0.0, stddev),
            conversion=self.denoiser.prediction.conversion(process, t, at=end),
        )

    def advance(self, walk: Walk, step: PlannedStep) -> None:
        """See `Sampler.advance`."""
        c: EulerMaruyamaCoefficients = step.coefficients
        estimate = walk.estimate(walk.latent, step.t, c.conversion)
        walk.prediction = lambda: estimate
        ends = step.to_data and self.end is End.ESTIMATE
        walk.latent = mix(
            (walk.latent, c.latent), (estimate, c.estimate), noise=None if ends else (c.stddev, walk.draw)
        )


def checked_eta(eta: float) -> float:
    """Return a share of the forward noise, checked to be positive.

    Raises:
        ValueError: it is not, or not finite.
    """
    if not 0 < eta < float("inf"):
        msg = f"eta must be positive, 1 being the time reversal, got {eta}: without noise take MultistepSampler"
        raise ValueError(msg)
    return float(eta)
