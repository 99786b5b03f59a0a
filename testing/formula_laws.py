"""Laws that a user's own formulas of alpha and sigma make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .advice import first_line
from .compare import FORMULA, largest, require_equal
from .end_laws import share
from .law import Example, Law, Violation, law
from .plain import plain


def formula_law(name: str, formula: Callable[[float], Any]) -> Law:
    """Return the law that alpha or sigma, as `name` says, is what the user's plain formula gives."""

    @law(
        f"{name} is the given formula",
        f"Compare log_{name} with the formula: the usual causes are sigma taken for sigma^2, a factor 2 of a "
        "logarithm, and a sign.",
    )
    def given_formula(process: LinearGaussianProcess, example: Example) -> None:
        """exp(log_alpha(t)) is formula(t)."""
        actual = coefficient(process, name, example.t)
        expected = evaluate(process, name, formula, example.t).to(actual)
        # What is below 1e-12 of the largest coefficient, at any time, is lost in a signal's rounding anyway.
        ends = (coefficient(process, name, time) for time in (0.0, 1.0))
        tiny = 1e-12 * max(largest(values) for values in (expected, *ends))
        require_equal(f"{name}(t)", actual, expected, rank=len(process.shape), relative=FORMULA, absolute=tiny)

    return given_formula


def coefficient(process: LinearGaussianProcess, name: str, t: float) -> Tensor:
    """Return alpha, sigma or beta at t, (*shape), from its logarithm alone."""
    return share(process, t) if name == "beta" else getattr(plain(process, t), name)


def evaluate(process: LinearGaussianProcess, name: str, formula: Callable[[float], Any], t: float) -> Tensor:
    """Return the user's formula at t, (*shape), or tell what it gives instead."""
    advice = f"{name}=... is a function of a number t; it returns a number or an array of numbers for {process.shape}."
    try:
        value = torch.as_tensor(formula(t), dtype=torch.float64)
    except Exception as error:
        msg = f"the formula given as {name} raises {type(error).__name__}: {first_line(error)}"
        raise Violation(msg, cause=error, advice=advice) from error
    shape, rank = tuple(value.shape), len(process.shape)
    if value.ndim == rank + 1 and len(value) == 1:
        # As process.alpha(t) has it.
        value = value[0]
    if value.ndim > rank or any(
        size not in {1, most} for size, most in zip(value.shape[::-1], process.shape[::-1], strict=False)
    ):
        msg = f"the formula given as {name} has shape {shape}, which does not broadcast to {process.shape}"
        raise Violation(msg, advice=advice)
    return value.expand(process.shape)
