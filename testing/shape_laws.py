"""Laws of what a subclass returns: a number of levels, and tensors that broadcast to a batch of signals."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..core.checks import check_count
from ..degradations import LinearGaussianProcess
from .advice import KERNELS, SHAPES, TENSORS, first_line
from .law import Example, Violation, law, law_at_once
from .plain import as_time


@law_at_once(
    "levels is a whole number, or None",
    "It is the number K of levels that the process is defined on, at least 1, where level k is time k / levels; None "
    "where time is continuous.",
)
def whole_levels(process: LinearGaussianProcess) -> None:
    """A property may return anything; what is assigned was checked then."""
    if process.levels is None:
        return
    try:
        check_count("levels", process.levels)
    except (TypeError, ValueError) as error:
        raise Violation(first_line(error)) from error


@law_at_once(
    "the shape is that of the basis",
    "Give the basis the shape of a signal, and do not override process.shape.",
)
def shape_of_basis(process: LinearGaussianProcess) -> None:
    """A tuple of whole numbers, of the basis."""
    shape: Any = process.shape
    if not isinstance(shape, tuple) or shape != process.basis.shape:
        msg = f"process.shape is {shape!r} instead of {process.basis.shape!r}"
        raise Violation(msg)


@law(
    "the coefficients broadcast to (batch, *shape)",
    "log_alpha and log_sigma take times in [0, 1] as a tensor, () or (batch,), and return a tensor of logarithms.",
)
def broadcasting(process: LinearGaussianProcess, example: Example) -> None:
    """Each of them is a tensor of shape (batch or 1, *shape with ones), (*shape) or (batch,)."""
    for t in (as_time(process, example.t), as_time(process, *[example.t] * max(2, example.batch))):
        for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
            value: Any = method(t)
            if not isinstance(value, Tensor):
                msg = f"{name}(t) is a {type(value).__name__} instead of a tensor"
                raise Violation(msg, advice=TENSORS)
            if value.is_complex():
                msg = f"{name}(t) is complex: {value.dtype}"
                raise Violation(msg, advice=f"Logarithms of alpha and sigma are real. {KERNELS}")
            batch = len(t) if t.ndim else 1
            allowed = (batch, *process.shape)[-value.ndim :] if value.ndim else ()
            fits = value.ndim <= len(allowed) and all(
                size in (1, most) for size, most in zip(value.shape, allowed, strict=True)
            )
            if not fits and value.shape != t.shape:
                msg = (
                    f"{name}(t) has shape {tuple(value.shape)} for t of shape {tuple(t.shape)}, which does not "
                    f"broadcast to {(batch, *process.shape)}"
                )
                raise Violation(msg, advice=SHAPES)


LAWS = (shape_of_basis, whole_levels, broadcasting)
