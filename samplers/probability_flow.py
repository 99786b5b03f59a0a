r"""The probability flow: the ordinary differential equation that carries p(z_t) from one time to another.

With u = V^T z, u_hat the denoiser's estimate of the data and eps_hat = (u - alpha u_hat) / sigma the noise that goes
with it, per coefficient,

    du/dt = d alpha/dt u_hat + d sigma/dt eps_hat = r u + (l'/2) (alpha u_hat),    r = d log sigma/dt,  l' = dl_t/dt,

which for the exact denoiser has the process's own marginals p(z_t) (Song et al., 2021, the probability flow). The
denoiser's output y enters through alpha u_hat = latent u + output y (see `unmelt.degradations.predictions`), so that
nothing is divided by alpha, and

    du/dt = a u + b y,    a = r + (l'/2) latent,    b = (l'/2) output.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.precision import schedule_dtype
from ..core.rates import nudged_inside, rate, value_and_slope
from ..degradations import LinearGaussianProcess, Prediction
from ..models import AbstractDenoiser
from ..models.conditions import Condition

# Of likelihoods; samplers that solve the flow take theirs from a grid.
_ELSEWHERE = "start at another time, such as first=1e-3 (a sampler's grid: EndGrid(first=1e-3))"


class NonFiniteRatesError(ValueError):
    """A rate of change became infinite or NaN; the message says whose, and when."""


class FlowCoefficients(NamedTuple):
    """Coefficients of du/dt = latent u + output y per unit of time, each broadcastable to (batch, *shape)."""

    latent: Float[Tensor, "..."]
    output: Float[Tensor, "..."]


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
    near = _coefficients(process, prediction, nudged_inside(t))
    return FlowCoefficients(*(torch.where(c.isnan(), limit, c) for c, limit in zip(here, near, strict=True)))


def _coefficients(process: LinearGaussianProcess, prediction: Prediction, t: Tensor) -> FlowCoefficients:
    """Return the coefficients as the formulas give them, NaN for infinity times 0."""
    logarithms = process.batched_log_alpha, process.batched_log_sigma
    drift, stretch = (value_and_slope(logarithm, t)[1] for logarithm in logarithms)
    if bool(drift.isnan().any()) or bool(stretch.isnan().any()):
        drift, stretch = process.drift(t), rate(process.batched_log_sigma, t)
    half_fall = drift - stretch
    at = process.at(t)
    latent, output = prediction.conversion(at, at.log_alpha)
    return FlowCoefficients(stretch + half_fall * latent, half_fall * output)


class FlowField:
    """The right-hand side of the equation, for a solver.

    Args:
        denoiser: the denoiser.
        most_calls: the solver gives up after so many calls of it.
        condition: the network's condition, one row per latent.
        given: what the estimate is conditioned on in each row.

    Attributes:
        calls: how many times the denoiser was called, each time on the whole batch.
        network_calls: how many times that sent the batch through a network.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        most_calls: int,
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> None:
        self.denoiser, self.condition, self.given = denoiser, condition, given
        self.most_calls = most_calls
        self.calls = self.network_calls = 0

    def rates(self, u: Tensor, t: Tensor, coefficients: FlowCoefficients) -> tuple[Tensor, ...]:
        """Return the rates of change of the state at a time (), for its first part u, (batch, *shape)."""
        basis = self.denoiser.process.basis
        y = basis.forward(self.denoiser.output(basis.inverse(u), t, self.condition, self.given))
        return (coefficients.latent.to(u.dtype) * u + coefficients.output.to(u.dtype) * y,)

    def __call__(self, t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the rates of change of `state` at a time (), checked to be finite."""
        process = self.denoiser.process
        self.calls += 1
        # To choose its first step the solver may look past the ends, where the process is taken to stay as it is there.
        t = process.to_schedule_dtype(t).clamp(min=0.0, max=1.0)
        self.network_calls += self.denoiser.network_calls(t, self.condition)
        coefficients = flow_coefficients(process, self.denoiser.prediction, t)
        rates = self.rates(state[0], t, coefficients)
        if not all(bool(part.isfinite().all()) for part in rates):
            finite = all(bool(c.isfinite().all()) for c in coefficients)
            culprit = f"{type(self.denoiser).__name__} returns" if finite else f"the rates of {process.called} are"
            remedy = "look at its network and at the latents" if finite else _ELSEWHERE
            msg = f"{culprit} infinite or NaN at t = {t.item():.6g}: {remedy}"
            raise NonFiniteRatesError(msg)
        return rates

    def callback_step(self, t: Tensor, state: tuple[Tensor, ...], step: Tensor) -> None:
        """Called by torchdiffeq before every step: stop where it leads nowhere, and say what may be wrong."""
        del state
        if bool(t + step != t) and self.calls < self.most_calls:
            return
        msg = (
            f"the solver is at t = {t.abs().item():.6g} after {self.calls} calls (most_calls={self.most_calls}), its"
            f" step down to {step.abs().item():.3g}: raise rtol and atol, or most_calls; solve in float64; or see"
            " whether the denoiser is a smooth function of the latent (with dropout it is not: call denoiser.eval())"
        )
        raise RuntimeError(msg)


def solve(
    field: FlowField,
    state: tuple[Tensor, ...],
    start: float,
    stop: float,
    *,
    rtol: float | tuple[float, ...],
    atol: float,
    each: bool = False,
) -> tuple[Tensor, ...]:
    """Return the state at time `stop` of the trajectory on which it is `state` at `start`.

    By Dormand and Prince's method of fifth order, from torchdiffeq, with steps that keep the root mean square of the
    local errors over the batch within the tolerances.

    Args:
        field: the right-hand side.
        state: what moves, the spectrum u first.
        start: time of `state`, in [0, 1].
        stop: the time to go to, earlier or later.
        rtol: relative tolerance per step, or one for each part of the state.
        atol: absolute tolerance per step.
        each: hold every example of the batch within the tolerances, instead of the batch on average.

    Raises:
        ImportError: torchdiffeq is not installed.
        ValueError: a rate is not finite.
        RuntimeError: the tolerances cannot be met, or not within the field's `most_calls`.
    """
    if start == stop or len(state[0]) == 0:
        return state
    try:
        from torchdiffeq import odeint  # noqa: PLC0415  # an extra, wanted only here
    except ImportError:
        msg = "adaptive steps are torchdiffeq's, which is not installed: pip install torchdiffeq"
        raise ImportError(msg) from None
    like = state[0]
    times = torch.tensor([start, stop], device=like.device, dtype=schedule_dtype(like.device))
    # The last step is made to end where the run does: beyond t = 1 there are no times.
    options: dict[str, Any] = {"step_t": times[-1:], "dtype": times.dtype}
    if each:
        options["norm"] = _largest_of_examples
    tolerances: Any = rtol
    path = odeint(field, state, times, rtol=tolerances, atol=atol, method="dopri5", options=options)
    return tuple(part[-1] for part in path)


def _largest_of_examples(state: tuple[Tensor, ...]) -> Tensor:
    """Return the largest root mean square over the examples of a state's parts, (batch, ...)."""
    return torch.stack([part.flatten(1).square().mean(1).sqrt().max() for part in state]).max()
