r"""The likelihood of a denoiser's probability flow: an ordinary differential equation that carries p(z_t) to t = 1.

`unmelt.samplers.probability_flow` has the equation, du/dt = a u + b y per coefficient for the denoiser's output y.

The log-density at the start of a trajectory is the one at its end plus all the volume that was gained on the way
(Chen et al., 2018, the instantaneous change of variables):

    log p_s(u_s) = log p_1(u_1) + integral_s^1 sum_k ( a_k + b_k dy_k / du_k ) dt.

V is orthonormal, so that densities of z and of u agree. The sum is exact or estimated; see
`unmelt.losses.likelihood.traces`.
"""

from __future__ import annotations

import math
from types import NoneType
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from typing_extensions import override

from ...core.checks import check_count, check_instance, check_not_empty, check_signal
from ...core.precision import to_compute_dtype
from ...degradations import LinearGaussianProcess
from ...models import Condition, Decoder, GaussianDecoder, Prior
from ...models.centred_denoiser import centred, check_tied, moved_from_end, tied_to
from ...models.denoiser import AbstractDenoiser, HasJacobianDiagonal
from ...models.off_levels import warn_off_levels
from ...models.priors.default import default_prior
from ...samplers.probability_flow import FlowCoefficients, FlowField, solve
from .bound import Bound
from .traces import ClosedFormTrace, HutchinsonTrace, Trace, TraceRule


class LogLikelihood(NamedTuple):
    """What `FlowLikelihood.log_prob` finds.

    Attributes:
        log_prob: log-densities in nats, (batch,), float64 where the device has it.
        stderr: their standard errors from estimating the trace, likewise: 0 where the trace is exact, NaN for a single
            probe. The solver's error is not in it.
        calls: how many times the denoiser was called, each time on the whole batch.
    """

    log_prob: Float[Tensor, " batch"]
    stderr: Float[Tensor, " batch"]
    calls: int


class FlowLikelihood(nn.Module):
    """The bound on -log p(x) that the probability flow of a denoiser gives, from a prior at t = 1, and its densities.

    `log_prob` gives densities of latents, at t > 0 of *noisy* data; called, it is a bound on data, 8-bit data too, with
    a decoder. A network that was trained on levels only is asked about times between them.

    The solver, Dormand and Prince's of fifth order, chooses one step for a whole batch such that the root mean square
    of the local errors, over the batch, stays within the tolerances. Errors of single examples may be larger, and add
    up over the steps. An error of a latent counts by how many standard deviations it is: where sigma is 0.01 the
    tolerances should be small against that. Those of 1e-5 leave up to a thousandth of a nat per coefficient for most
    processes, and a hundredth where coefficients vanish at once; ten times smaller ones take 1.3 times the calls.

    Args:
        denoiser: the denoiser, which says what the process is; in evaluation mode when it is asked.
        prior: distribution of the latents at t = 1; if None standard normal, where the process ends in it, or what a
            known end says.
        decoder: distribution of the data given the latent at `first`; `GaussianDecoder(process)` if None.
        trace: how the trace of the denoiser's Jacobian is found; None takes the denoiser's closed form where it has
            one and `HutchinsonTrace()` elsewhere.
        rtol: relative tolerance per step, > 0, for latents.
        atol: absolute tolerance per step, > 0, for latents in the data's units, and for the log-density in nats per
            coefficient.
        most_calls: the solver gives up after so many calls of the denoiser.
        first: time in [0, 1] of the latents unless another is given; the process must have noise in every
            coefficient there.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a tolerance or `most_calls` is not positive, `first` lies outside [0, 1], a part was made for
            another process, or the process is pinned to a known end.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        *,
        prior: Prior | None = None,
        decoder: Decoder | None = None,
        trace: Trace | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        most_calls: int = 10_000,
        first: float = 0.0,
    ) -> None:
        super().__init__()
        check_instance("denoiser", denoiser, AbstractDenoiser, "Denoiser(network, process, prediction=...) for example")
        self.denoiser = centred(denoiser)
        process = self.denoiser.process
        if process.at(1.0).pinned:
            msg = (
                f"the probability flow carries every latent of {denoiser.process.called} to the known signal y,"
                " where they have no density: take ELBO, whose prior may be a point"
            )
            raise ValueError(msg)
        self.prior = prior if prior is not None else default_prior(denoiser.process)
        self.decoder = decoder if decoder is not None else GaussianDecoder(process)
        check_instance("prior", self.prior, Prior, "StandardNormalPrior(process) for example")
        check_instance("decoder", self.decoder, Decoder, "GaussianDecoder(process) for example")
        check_instance("trace", trace, (Trace, NoneType), "HutchinsonTrace(probes=8) for example")
        for name, part in (("prior", self.prior), ("decoder", self.decoder)):
            process.require_same(part.process, whose=f"the {name}", where="this likelihood")
        for name, tolerance in (("rtol", rtol), ("atol", atol)):
            if not 0 < tolerance < math.inf:
                msg = f"{name} must be a finite number > 0, such as 1e-5, got {tolerance}"
                raise ValueError(msg)
        check_count("most_calls", most_calls)
        closed = isinstance(self.denoiser, HasJacobianDiagonal)
        self.trace = trace if trace is not None else ClosedFormTrace() if closed else HutchinsonTrace()
        self.rtol, self.atol, self.most_calls = rtol, atol, most_calls
        self.first = _time("first", first)
        expect = "worse likelihoods. Take ELBO(denoiser, steps={levels}), or train a network that predicts x"
        warn_off_levels(denoiser, None, expect=expect)

    @property
    def process(self) -> LinearGaussianProcess:
        """The denoiser's process."""
        return self.denoiser.process

    def __repr__(self) -> str:
        """Show the settings in a line, without the network that torch would list."""
        of = f"{type(self.denoiser).__name__} of {self.process.called}"
        return f"FlowLikelihood({of}, {self.extra_repr()})"

    @override
    def extra_repr(self) -> str:
        return f"trace={self.trace}, rtol={self.rtol}, atol={self.atol}, first={self.first:g}"

    @torch.no_grad()
    def forward(
        self,
        x: Shaped[Tensor, "batch ..."],
        *,
        condition: Condition | None = None,
        given: Float[Tensor, "batch ..."] | None = None,
        generator: torch.Generator | None = None,
    ) -> Bound:
        """Return an upper bound on -log p(x) of *data*, from the flow's density at one latent z_t of each example.

        -log p(x) <= E[ log q(z_t | x) - log p(z_t) ] + E[ -log p(x | z_t) ], p(z_t) being the flow's density and t
        `first`: the bound of a model whose only latent is z_t. Its first part is `prior`; there are no levels, so
        `diffusion` is 0.

        Args:
            x: data, (batch, *shape), floating-point; or integer levels where the decoder declares them.
            condition: the network's condition, one row per example; None if it takes none.
            given: the known end y of each example, where the denoiser's process has one.
            generator: source of all randomness; torch's default if None.

        Returns:
            The bound in nats; `stderr` is that of the trace alone, the latent being one draw.

        Raises:
            TypeError, ValueError, RuntimeError: as `log_prob`, and as the decoder's `prepare`.
        """
        process = self.process
        x = self.decoder.prepare(x, generator=generator).to(process.device)
        check_tied(self.denoiser, given, len(x))
        q = process.marginal(x, self.first)
        z = q.sample(generator=generator)
        found = self._log_prob(z, None, condition, given, generator)
        estimate = self.denoiser(z, self.first, condition, given)
        reconstruction = self.decoder.negative_log_likelihood(x, estimate, self.first)
        prior = q.log_prob(z).to(found.log_prob) - found.log_prob
        nothing = prior.new_zeros(len(prior), 0)
        return Bound(
            prior=prior,
            diffusion=torch.zeros_like(prior),
            reconstruction=process.to_schedule_dtype(reconstruction),
            terms=nothing,
            times=nothing,
            fractions=nothing,
            weights=nothing,
            stderr=process.to_schedule_dtype(found.stderr),
            dimensions=x[0].numel(),
            grey_levels=self.decoder.grey_levels,
        )

    def log_prob(
        self,
        z: Float[Tensor, "batch ..."],
        *,
        t: float | None = None,
        condition: Condition | None = None,
        given: Float[Tensor, "batch ..."] | None = None,
        generator: torch.Generator | None = None,
    ) -> LogLikelihood:
        """Return log-densities of the flow at latents `z` of time `t`.

        Args:
            z: latents, (batch, *shape), floating-point; the equation is solved in float64 if they are, else in float32.
            t: their time in [0, 1]; `first` if None.
            condition: the network's condition, one row per latent; None if it takes none.
            given: the known end y of each latent, where the denoiser's process has one.
            generator: source of the trace's randomness; torch's default if None.

        Raises:
            TypeError: `z` is not floating-point, or the denoiser does not offer what the trace needs.
            ValueError: a shape is wrong, `t` lies outside [0, 1] or where some coefficient has no noise, what the
                denoiser returns is not finite, or a known end is missing or not wanted.
            RuntimeError: the tolerances cannot be met, or not within `most_calls`.
        """
        z = moved_from_end(self.denoiser, z, self.first if t is None else t, given)
        return self._log_prob(z, t, condition, given, generator)

    # Off for callers in inference mode, who could not differentiate the denoiser.
    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def _log_prob(
        self,
        z: Tensor,
        t: float | None,
        condition: Condition | None,
        given: Tensor | None,
        generator: torch.Generator | None,
    ) -> LogLikelihood:
        """Return what `log_prob` does, for latents without the share of a known end."""
        u, start = self._begin(z, t)
        denoiser = tied_to(self.denoiser, given, len(z))
        rule = self.trace.rule(denoiser, u, condition, generator=generator)
        field = _DensityField(denoiser, rule, self.most_calls)
        # An error in the log-density counts as it is, however large a sum of unlike terms has grown on the way.
        state = (u, u.new_zeros(self.trace.estimates, len(u)))
        u, growth = solve(field, state, start, 1.0, rtol=(self.rtol, 0.0), atol=self.atol)
        volume = self.process.to_schedule_dtype(growth) * u[0].numel()
        at_end = self.prior.given(given).log_prob(self.process.basis.inverse(u))
        return LogLikelihood(at_end + volume.mean(0), self.trace.standard_error(volume), field.calls)

    # Off for callers in inference mode, who could not differentiate the denoiser.
    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def encode(
        self,
        z: Float[Tensor, "batch ..."],
        *,
        t: float | None = None,
        condition: Condition | None = None,
        given: Float[Tensor, "batch ..."] | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return the latents at t = 1, (batch, *shape), to which the flow carries `z`; arguments as in `log_prob`."""
        u, start = self._begin(moved_from_end(self.denoiser, z, self.first if t is None else t, given), t)
        field = FlowField(self.denoiser, self.most_calls, condition, given)
        (u,) = solve(field, (u,), start, 1.0, rtol=self.rtol, atol=self.atol)
        return moved_from_end(self.denoiser, self.process.basis.inverse(u), 1.0, given, back=True)

    def _begin(self, z: Tensor, t: float | None) -> tuple[Tensor, float]:
        """Return the checked latents' spectrum, and the checked time."""
        process = self.process
        check_signal("z", z, process.shape)
        check_not_empty("z", z, "a batch of latents")
        start = self.first if t is None else _time("t", t)
        log_sigma = process.at(start).log_sigma
        # Reading a value makes a device wait, as every step of the solver does.
        if bool((log_sigma == -torch.inf).any()):
            noisy = bool((process.at(1.0).log_sigma > -torch.inf).all())
            remedy = "ask at a later time, such as first=1e-3" if noisy else "take a process with noise at t = 1"
            msg = (
                f"{process.called} has no noise in some coefficient at t = {start}, where the flow has no"
                f" density: {remedy}"
            )
            raise ValueError(msg)
        return process.basis.forward(to_compute_dtype(z)), start


class _DensityField(FlowField):
    """The flow of the spectrum and, by a rule for the trace, of the volume.

    Args:
        denoiser: the denoiser.
        rule: how the trace of its Jacobian is found.
        most_calls: the solver gives up after so many calls of the denoiser.
    """

    def __init__(self, denoiser: AbstractDenoiser, rule: TraceRule, most_calls: int) -> None:
        super().__init__(denoiser, most_calls)
        self.rule = rule

    @override
    def rates(self, u: Tensor, t: Tensor, coefficients: FlowCoefficients) -> tuple[Tensor, ...]:
        # The second part is the growth of the volume's logarithm.
        latent, output = coefficients
        y, trace = self.rule(u, t, output)
        # Per coefficient, so that a tolerance means the same for signals of any size.
        growth = (latent.expand(1, *self.denoiser.process.shape).sum().to(u.dtype) + trace) / u[0].numel()
        return latent.to(u.dtype) * u + output.to(u.dtype) * y, growth


def _time(name: str, t: float) -> float:
    """Return a time in [0, 1], the same for a whole batch."""
    if not 0 <= t <= 1:
        msg = f"{name} must be one time in [0, 1], where all latents are, got {t}"
        raise ValueError(msg)
    return float(t)
