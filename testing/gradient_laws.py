"""Laws of derivatives: log_alpha and log_sigma have them in t, forwards and backwards, and in what is learned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.rates import rate
from ..degradations import LinearGaussianProcess
from .compare import FORMULA, digits, largest, require_equal, require_within, tell_apart
from .law import Example, Violation, law, law_at_once
from .plain import as_time, gradient, plain, signals, widen

TIMES = (0.137, 0.41, 0.73)
# Logarithms of size 1 are differences of 1e-16 / 1e-4 apart from their slopes, curvature is felt on 1e-4 of the time.
STEP = 1e-4
# Steps that see less curvature and more rounding: of what changes within a millionth of time.
SHORTER = (1e-6, 1e-8)
# Of a slope, what the curvature's own change within two steps may hide.
CURVATURE = 1e-3


@law(
    "log_alpha and log_sigma can be differentiated in t",
    "drift, diffusion and all that follows from them differentiate the two by t. Write them with torch operations from "
    "t to the result: no .item(), .detach(), torch.tensor(t), numpy, torch.no_grad() or torch.inference_mode().",
)
def differentiable(process: LinearGaussianProcess, example: Example) -> None:
    """The automatic slope lies between the differences to the left and to the right, at kinks too."""
    if not STEP <= example.t <= 1 - STEP:
        return
    for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
        slope = automatic(process, method, example.t)
        left, error = off_by(process, name, slope, example.t, STEP)
        for step in SHORTER:
            if bool((error > 0).any()):
                # A steep ramp that is shorter than the step.
                error = torch.minimum(error, off_by(process, name, slope, example.t, step)[1])
        require_within(
            error,
            torch.zeros_like(error),
            lambda index, name=name, slope=slope, left=left: (
                f"the automatic derivative of {name} is "
                + f" where differences over {STEP:g} give ".join(tell_apart(slope[index], left[index]))
            ),
            rank=len(process.shape),
        )


def off_by(
    process: LinearGaussianProcess, name: str, slope: Tensor, t: float, step: float
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Return the slope to the left by a difference, and how far `slope` lies outside of left and right."""
    around = [getattr(plain(process, t + shift), name) for shift in (-step, 0.0, step)]
    left, right, room = differences(around, step)
    low, high = torch.minimum(left, right) - room, torch.maximum(left, right) + room
    error = torch.maximum(low - slope, slope - high).clamp(min=0.0)
    error = torch.where(slope.isnan(), torch.inf, error)
    return left, torch.where(left.isfinite() & right.isfinite(), error, 0.0)


def automatic(process: LinearGaussianProcess, method: Callable[[Tensor], Tensor], t: float) -> Float[Tensor, "..."]:
    """Return the slope of `log_alpha` or `log_sigma` at t, (*shape)."""
    return rate(lambda time: widen(process, method(time), time), as_time(process, t))[0]


def differences(values: list[Tensor], step: float = STEP) -> tuple[Tensor, Tensor, Tensor]:
    """Return the slopes to the left and to the right of three values `step` apart, and what they may be off by."""
    before, here, after = values
    left, right = (here - before) / step, (after - here) / step
    rounding = 1e4 * torch.finfo(here.dtype).eps * (1 + here.abs() / 1e3) / step
    room = CURVATURE * torch.maximum(left.abs(), right.abs()) + rounding * digits(here.dtype)
    # Infinity minus infinity is not a slope; callers mask it.
    return left, right, room.nan_to_num(0.0, 0.0)


@law_at_once(
    "gradients reach the times and the parameters",
    "Learned schedules and likelihoods are differentiated backwards. Write both with torch operations from t and the "
    "parameters to the result: no torch.no_grad(), .detach(), .data, .item() or torch.tensor(parameter), and read "
    "parameters in log_alpha and log_sigma, not once in __init__.",
)
def reaching(process: LinearGaussianProcess) -> None:
    """Reverse mode gives the derivatives in t that forward mode gives, and every parameter takes part."""
    with torch.enable_grad():
        outputs: dict[str, Tensor] = {}
        for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
            outputs[name] = require_gradient_in_t(process, name, method)
        outputs["basis.forward"] = process.basis.forward(signals(process, Example())).square().sum()
        for name, parameter in process.named_parameters():
            if parameter.requires_grad:
                require_gradient_in_parameter(name, parameter, outputs)


def require_gradient_in_t(process: LinearGaussianProcess, name: str, method: Callable[[Tensor], Tensor]) -> Tensor:
    """Require the gradient in t of a logarithm's finite values, and return their sum."""
    t = as_time(process, *TIMES).requires_grad_()

    def expanded(time: Tensor) -> Tensor:
        return widen(process, method(time), time).expand(len(t), *process.shape)

    values = expanded(t)
    finite = values.isfinite()
    # As compiled graphs differentiate.
    _, slopes, *_ = torch.func.jvp(expanded, (t.detach(),), (torch.ones_like(t),))
    expected = torch.where(finite & slopes.isfinite(), slopes.detach(), 0.0)
    total = torch.where(finite & slopes.isfinite(), values, 0.0).sum()
    found = gradient(total, t)
    found = torch.zeros_like(t) if found is None else found
    summed, size = expected.flatten(1).sum(1), expected.abs().flatten(1).sum(1)
    what = f"the gradient of {name} in t, summed over coefficients,"
    require_equal(what, found, summed, rank=0, absolute=FORMULA * largest(size) + 1e-12, times=())
    return total


def require_gradient_in_parameter(name: str, parameter: Tensor, outputs: dict[str, Tensor]) -> None:
    """Require that something depends on a parameter, by a number."""
    reached = False
    for what, output in outputs.items():
        found = gradient(output, parameter)
        if found is not None and bool(found.isnan().any()):
            msg = f"the gradient of {what} in the parameter {name} is nan"
            advice = (
                "The usual cause is torch.where, which hides a value but not its infinite derivative (of a root or a "
                "logarithm at 0): give the function a harmless argument there, by torch.where inside it."
            )
            raise Violation(msg, advice=advice)
        reached = reached or found is not None
    if not reached:
        msg = f"the parameter {name} gets no gradient from log_alpha, log_sigma or the basis"
        raise Violation(msg)


LAWS = (differentiable, reaching)
