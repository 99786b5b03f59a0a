r"""The likelihood of a denoiser's probability flow: an ordinary differential equation that carries p(z_t) to t = 1.

With u = V^T z, u_hat the denoiser's estimate of the data and eps_hat = (u - alpha u_hat) / sigma the noise that goes
with it, per coefficient,

    du/dt = d alpha/dt u_hat + d sigma/dt eps_hat = r u + (l'/2) (alpha u_hat),    r = d log sigma/dt,  l' = dl_t/dt,

which for the exact denoiser has the process's own marginals p(z_t) (Song et al., 2021, the probability flow). The
denoiser's output y enters through alpha u_hat = latent u + output y (see `unmelt.degradations.predictions`), so that
nothing is divided by alpha, and

    du/dt = a u + b y,    a = r + (l'/2) latent,    b = (l'/2) output.

The log-density at the start of a trajectory is the one at its end plus all the volume that was gained on the way
(Chen et al., 2018, the instantaneous change of variables):

    log p_s(u_s) = log p_1(u_1) + integral_s^1 sum_k ( a_k + b_k dy_k / du_k ) dt.

V is orthonormal, so that densities of z and of u agree. The sum is exact or estimated; see `unmelt.evaluation.traces`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torchdiffeq import odeint

from ..degradations import LinearGaussianProcess, Prediction
from ..degradations.agreement import check_same_process
from ..degradations.bases.base import compute_precision
from ..degradations.checks import check_instance, check_signal
from ..degradations.rates import inside, rate
from ..degradations.tables import schedule_dtype
from ..losses import Bound, Decoder, Prior
from ..models.denoiser import AbstractDenoiser, HasJacobianDiagonal
from .traces import ClosedFormTrace, HutchinsonTrace, Trace, TraceRule


class FlowCoefficients(NamedTuple):
    """Coefficients of du/dt = latent u + output y per unit of time, each broadcastable to (batch, *shape)."""

    latent: Float[Tensor, "..."]
    output: Float[Tensor, "..."]


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


def flow_coefficients(
    process: LinearGaussianProcess, prediction: Prediction, t: Float[Tensor, "*batch"]
) -> FlowCoefficients:
    """Return the coefficients of the probability flow at checked times, () or (batch,), for a network's `prediction`.

    Where 0 stands against infinity, as where the signal vanishes at t = 1, they are the limits from within [0, 1].
    """
    here = _coefficients(process, prediction, t)
    # Reading values makes a device wait, as every step of a solver does, and spares finding limits that are not needed.
    if not any(bool(c.isnan().any()) for c in here):
        return here
    near = _coefficients(process, prediction, inside(t))
    return FlowCoefficients(*(torch.where(c.isnan(), limit, c) for c, limit in zip(here, near, strict=True)))


def _coefficients(process: LinearGaussianProcess, prediction: Prediction, t: Tensor) -> FlowCoefficients:
    """Return the coefficients as the formulas give them, NaN for infinity times 0."""
    # One pass for values and slopes of both logarithms: a solver asks hundreds of times.
    at, (drift, stretch), *_ = torch.func.jvp(process.log_coefficients, (t,), (torch.ones_like(t),))
    if bool(drift.isnan().any()) or bool(stretch.isnan().any()):
        drift, stretch = process.drift(t), rate(process.batched_log_sigma, t)
    half_fall = drift - stretch
    latent, output = prediction.conversion(process, t, at.log_alpha, at=at)
    return FlowCoefficients(stretch + half_fall * latent, half_fall * output)


class FlowLikelihood:
    """Log-densities under the probability flow of a denoiser, from a prior at t = 1.

    A density at t > 0 is one of *noisy* data; `bound` makes it one on data, 8-bit data too, with a decoder. A network
    that was trained on levels only is asked about times between them.

    The solver, Dormand and Prince's of fifth order, chooses one step for a whole batch such that the root mean square
    of the local errors, over the batch, stays within the tolerances. Errors of single examples may be larger, and add
    up over the steps. An error of a latent counts by how many standard deviations it is: where sigma is 0.01 the
    tolerances should be small against that. Those of 1e-5 leave up to a thousandth of a nat per coefficient for most
    processes, and a hundredth where coefficients vanish at once; ten times smaller ones take 1.3 times the calls.

    Args:
        process: the forward process.
        prior: law of the latents at t = 1.
        trace: how the trace of the denoiser's Jacobian is found; None takes the denoiser's closed form where it has
            one and `HutchinsonTrace()` elsewhere.
        rtol: relative tolerance per step, > 0, for latents.
        atol: absolute tolerance per step, > 0, for latents in the data's units, and for the log-density in nats per
            coefficient.
        most_calls: the solver gives up after so many calls of the denoiser.
        first: time in [0, 1] at which densities are taken unless `log_prob` is told another; 0 if None. The process
            must have noise in every coefficient there.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a tolerance or `most_calls` is not positive, `first` lies outside [0, 1], or the prior's process is
            another one.
    """

    def __init__(
        self,
        process: LinearGaussianProcess,
        *,
        prior: Prior,
        trace: Trace | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        most_calls: int = 10_000,
        first: float | None = None,
    ) -> None:
        check_instance("prior", prior, Prior, "StandardNormalPrior(process) for example")
        if trace is not None:
            check_instance("trace", trace, Trace, "HutchinsonTrace(probes=8) for example")
        check_same_process(process, prior.process, whose="the prior", where="this likelihood")
        for name, tolerance in (("rtol", rtol), ("atol", atol)):
            if not 0 < tolerance < math.inf:
                msg = f"{name} must be a finite number > 0, such as 1e-5, got {tolerance}"
                raise ValueError(msg)
        if most_calls < 1:
            msg = f"most_calls must be at least 1, got {most_calls}"
            raise ValueError(msg)
        self.process, self.prior, self.trace = process, prior, trace
        self.rtol, self.atol, self.most_calls = rtol, atol, most_calls
        self.first = _time("first", 0.0 if first is None else first)

    # Off for callers in inference mode, who could not differentiate the denoiser.
    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def log_prob(
        self,
        denoiser: AbstractDenoiser,
        z: Float[Tensor, "batch ..."],
        *,
        t: float | None = None,
        generator: torch.Generator | None = None,
    ) -> LogLikelihood:
        """Return log-densities of the flow at latents `z` of time `t`.

        Args:
            denoiser: denoiser of the same process, in evaluation mode.
            z: latents, (batch, *shape), floating-point; the equation is solved in float64 if they are, else in float32.
            t: their time in [0, 1]; `first` if None.
            generator: source of the trace's randomness; torch's default if None.

        Raises:
            TypeError: `z` is not floating-point, or the denoiser does not offer what the trace needs.
            ValueError: a shape is wrong, `t` lies outside [0, 1] or where some coefficient has no noise, the denoiser's
                process is another one, or what it returns is not finite.
            RuntimeError: the tolerances cannot be met, or not within `most_calls`.
        """
        u, start = self._begin(denoiser, z, t)
        trace = self.trace or (ClosedFormTrace() if isinstance(denoiser, HasJacobianDiagonal) else HutchinsonTrace())
        field = _Field(denoiser, trace.rule(denoiser, u, generator=generator), self.most_calls)
        u, growth = self._solve(field, (u, u.new_zeros(trace.estimates, len(u))), start)
        volume = self.process.in_schedule_dtype(growth) * u[0].numel()
        at_end = self.prior.log_prob(self.process.basis.inverse(u))
        return LogLikelihood(at_end + volume.mean(0), trace.standard_error(volume), field.calls)

    def bound(
        self,
        denoiser: AbstractDenoiser,
        x: Shaped[Tensor, "batch ..."],
        *,
        decoder: Decoder,
        t: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Bound:
        """Return an upper bound on -log p(x) of *data*, from the flow's density at one latent z_t of each example.

        -log p(x) <= E[ log q(z_t | x) - log p(z_t) ] + E[ -log p(x | z_t) ], p(z_t) the flow's own density: the bound
        of a model whose only latent is z_t. Its first part is `prior`; there are no levels, so `diffusion` is 0.

        Args:
            denoiser: denoiser of the same process, in evaluation mode.
            x: data, (batch, *shape), floating-point; or integer levels where the decoder declares them.
            decoder: law of the data given z_t.
            t: time of the latent in [0, 1]; `first` if None.
            generator: source of all randomness; torch's default if None.

        Returns:
            The bound in nats; `stderr` is that of the trace alone, the latent being one draw.

        Raises:
            TypeError, ValueError, RuntimeError: as `log_prob`; as the decoder's `prepare`; or the decoder was made for
                another process.
        """
        process = self.process
        check_same_process(process, decoder.process, whose="the decoder", where="this likelihood")
        with torch.no_grad():
            x = decoder.prepare(x, generator=generator).to(process.device)
            time = self.first if t is None else _time("t", t)
            q = process.marginal(x, time)
            z = q.sample(generator=generator)
            found = self.log_prob(denoiser, z, t=time, generator=generator)
            reconstruction = decoder.negative_log_likelihood(x, denoiser(z, time), time)
            prior = q.log_prob(z).to(found.log_prob) - found.log_prob
        nothing = prior.new_zeros(len(prior), 0)
        return Bound(
            prior=prior,
            diffusion=torch.zeros_like(prior),
            reconstruction=process.in_schedule_dtype(reconstruction),
            terms=nothing,
            times=nothing,
            ranks=nothing,
            weights=nothing,
            stderr=process.in_schedule_dtype(found.stderr),
            dimensions=x[0].numel(),
            quantisation=decoder.quantisation,
        )

    # Off for callers in inference mode, who could not differentiate the denoiser.
    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def encode(
        self, denoiser: AbstractDenoiser, z: Float[Tensor, "batch ..."], *, t: float | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Return the latents at t = 1, (batch, *shape), to which the flow carries `z`; arguments as in `log_prob`."""
        u, start = self._begin(denoiser, z, t)
        (u,) = self._solve(_Field(denoiser, None, self.most_calls), (u,), start)
        return self.process.basis.inverse(u)

    def _begin(self, denoiser: AbstractDenoiser, z: Tensor, t: float | None) -> tuple[Tensor, float]:
        """Return the checked latents' spectrum, and the checked time."""
        process = self.process
        check_signal("z", z, process.shape)
        if len(z) == 0:
            msg = "z holds no latent: a batch needs at least one"
            raise ValueError(msg)
        check_same_process(process, denoiser.process, whose="the denoiser", where="this likelihood")
        start = self.first if t is None else _time("t", t)
        log_sigma = process.log_coefficients(process.as_times(start)).log_sigma
        # Reading a value makes a device wait, as every step of the solver does.
        if bool((log_sigma == -torch.inf).any()):
            noisy = bool((process.log_coefficients(process.as_times(1.0)).log_sigma > -torch.inf).all())
            remedy = "ask at a later time, such as first=1e-3" if noisy else "take a process with noise at t = 1"
            msg = (
                f"{type(process).__name__} has no noise in some coefficient at t = {start}, where the flow has no"
                f" density: {remedy}"
            )
            raise ValueError(msg)
        return process.basis.forward(compute_precision(z)), start

    def _solve(self, field: _Field, state: tuple[Tensor, ...], start: float) -> tuple[Tensor, ...]:
        """Return the state at t = 1 of the trajectory that `state` starts."""
        if start == 1:
            return state
        like = state[0]
        times = torch.tensor([start, 1.0], device=like.device, dtype=schedule_dtype(like.device))
        # The last step is made to end at t = 1: there are no times beyond.
        options = {"step_t": times[-1:], "dtype": times.dtype}
        # An error in the log-density counts as it is, however large a sum of unlike terms has grown on the way.
        rtol: Any = (self.rtol, 0.0)[: len(state)]
        path = odeint(field, state, times, rtol=rtol, atol=self.atol, method="dopri5", options=options)
        return tuple(part[-1] for part in path)


class _Field:
    """The right-hand side: of the spectrum, and with a rule for the trace of the volume."""

    def __init__(self, denoiser: AbstractDenoiser, rule: TraceRule | None, most_calls: int) -> None:
        self.denoiser = denoiser
        self.rule = rule
        self.most_calls = most_calls
        self.calls = 0

    def __call__(self, t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the rates of change of `state` at a time ()."""
        u, process = state[0], self.denoiser.process
        self.calls += 1
        # To choose its first step the solver may look past the end, where the process is taken to stay as it is there.
        t = process.in_schedule_dtype(t).clamp(max=1.0)
        latent, output = flow_coefficients(process, self.denoiser.prediction, t)
        if self.rule is None:
            y = process.basis.forward(self.denoiser.output(process.basis.inverse(u), t))
            rates = (latent.to(u.dtype) * u + output.to(u.dtype) * y,)
        else:
            y, trace = self.rule(u, t, output)
            # Growth of the volume's logarithm per coefficient: a tolerance then means the same for signals of any size.
            growth = (latent.expand(1, *process.shape).sum().to(u.dtype) + trace) / u[0].numel()
            rates = (latent.to(u.dtype) * u + output.to(u.dtype) * y, growth)
        if not all(bool(part.isfinite().all()) for part in rates):
            finite = bool(latent.isfinite().all()) and bool(output.isfinite().all())
            culprit = (
                f"{type(self.denoiser).__name__} returns" if finite else f"the rates of {type(process).__name__} are"
            )
            remedy = "look at its network and at the latents" if finite else "start at another time, such as first=1e-3"
            msg = f"{culprit} infinite or NaN at t = {t.item():.6g}: {remedy}"
            raise ValueError(msg)
        return rates

    def callback_step(self, t: Tensor, state: tuple[Tensor, ...], step: Tensor) -> None:
        """Stop before a step that leads nowhere, with words that say what may be wrong."""
        del state
        if bool(t + step > t) and self.calls < self.most_calls:
            return
        msg = (
            f"the solver is at t = {t.item():.6g} after {self.calls} calls (most_calls={self.most_calls}), its step"
            f" down to {step.item():.3g}: raise rtol and atol, or most_calls; solve in float64; or see whether the"
            " denoiser is a smooth function of the latent (with dropout it is not: call denoiser.eval())"
        )
        raise RuntimeError(msg)


def _time(name: str, t: float) -> float:
    """Return a time in [0, 1], the same for a whole batch."""
    if not 0 <= t <= 1:
        msg = f"{name} must be one time in [0, 1], where all latents are, got {t}"
        raise ValueError(msg)
    return float(t)
