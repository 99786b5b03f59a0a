"""Laws of the basis: V is orthonormal, in every precision, for each signal alone.

A map that keeps all inner products is linear, so linearity needs no law of its own; signals of several sizes find a
clamp.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import digits, require_equal
from .law import Example, Violation, law, law_at_once
from .layouts import require_same_in_any_layout
from .plain import gradient, signals

TRANSFORMS = ("forward", "inverse")
SIZES = (1.0, 1e-3, 1e3)


@law(
    "the basis keeps shape and precision",
    "analyse and synthesise return the shape and the real dtype they get: register a table once in float64 and once in "
    "float32, or convert it with .to(x.dtype); pack real and imaginary parts, as FourierBasis does.",
    times=0,
)
def kinds(process: LinearGaussianProcess, example: Example) -> None:
    """float32 stays float32, float64 stays float64, half precision becomes float32."""
    x = signals(process, example)
    for dtype in (torch.float32, x.dtype, torch.float16, torch.bfloat16):
        expected = dtype if dtype.itemsize >= 4 else torch.float32
        for name in TRANSFORMS:
            result = getattr(process.basis, name)(x.to(dtype))
            if result.dtype != expected or result.shape != x.shape:
                msg = (
                    f"basis.{name} makes {tuple(result.shape)} in {result.dtype} of {tuple(x.shape)} in {dtype}, "
                    f"instead of {tuple(x.shape)} in {expected}"
                )
                raise Violation(msg)


@law(
    "the inverse transform undoes the transform",
    "inverse(forward(x)) and forward(inverse(x)) are x. Compare analyse with synthesise: the one's matrix is the "
    "other's transpose, and nothing in them looks at the signal's values, as a clamp or a choice of sign does.",
    times=0,
)
def inverses(process: LinearGaussianProcess, example: Example) -> None:
    """V V^T x = x and V^T V x = x."""
    basis = process.basis
    for x in probes(process, example):
        there, back = basis.inverse(basis.forward(x)), basis.forward(basis.inverse(x))
        for what, result in (("inverse(forward(x))", there), ("forward(inverse(u))", back)):
            with naming_single_tables(x):
                require_equal(f"basis.{what}, at an entry,", result.double(), x.double(), rank=0, absolute=room(x))


@law(
    "the basis is orthonormal",
    "Lengths and angles are the same before and after: white noise must stay white. Normalise the basis functions, "
    "which must be orthogonal to each other (scipy's and numpy's transforms need norm='ortho').",
    times=0,
)
def orthonormal(process: LinearGaussianProcess, example: Example) -> None:
    """<V^T x, V^T y> = <x, y>, and the same for V."""
    for x, y in zip(probes(process, example), probes(process, example, 1), strict=True):
        for name in TRANSFORMS:
            transform = getattr(process.basis, name)
            u, v = transform(x), transform(y)
            # Of the same signals both ways, so that a wrong length is found as well as a wrong angle.
            for a, b, transformed in ((x, x, inner(u, u)), (x, y, inner(u, v))):
                size = (inner(a, a) * inner(b, b)).sqrt()
                subject = "squared length" if a is b else "inner product"
                what = f"the {subject} of two signals after basis.{name}, as a share of their lengths,"
                with naming_single_tables(x):
                    require_equal(what, transformed / size, inner(a, b) / size, rank=0, absolute=room(x, 1.0))


@law(
    "the basis transforms each signal of a batch alone",
    "analyse and synthesise see (..., *shape) and transform the last axes only: nothing may depend on the batch's size "
    "or on its other signals.",
    times=0,
)
def apart(process: LinearGaussianProcess, example: Example) -> None:
    """V^T (x_1, ..., x_n) = (V^T x_1, ..., V^T x_n)."""
    x = signals(process, example)
    for name in TRANSFORMS:
        transform = getattr(process.basis, name)
        together, alone = transform(x), torch.cat([transform(x[i : i + 1]) for i in range(len(x))])
        what = f"basis.{name}, in a batch of {len(x)},"
        require_equal(what, together, alone, rank=len(process.shape), absolute=room(x))


@law_at_once(
    "the basis leaves signals alone",
    "Write x = x * a for x *= a, copy before you write into a tensor, and leave out methods that end in an "
    "underscore: x is the caller's.",
)
def signals_alone(process: LinearGaussianProcess) -> None:
    """The signals are the same after a transform."""
    for name in TRANSFORMS:
        for x in (signals(process, Example()), signals(process, Example()).float()):
            before = x.clone()
            getattr(process.basis, name)(x)
            if not torch.equal(x, before):
                msg = f"basis.{name} changes the tensor that it gets"
                raise Violation(msg)


@law_at_once(
    "the basis takes signals that lie in memory in any order",
    "Channels-last images and slices are no contiguous memory: write x.reshape for x.view, or x.contiguous() first.",
)
def any_layout(process: LinearGaussianProcess) -> None:
    """Permuted signals and slices have the transform of contiguous ones."""
    x = signals(process, Example(batch=3))
    for name in TRANSFORMS:
        require_same_in_any_layout(f"basis.{name}", getattr(process.basis, name), x, room=room(x))


@law_at_once(
    "the basis is the same in every precision",
    "float32 and float64 signals have the same coefficients, inside torch.autocast as well: override analyse and "
    "synthesise, not forward and inverse, which keep autocast away.",
)
def any_precision(process: LinearGaussianProcess) -> None:
    """The transform of float32 signals is that of float64 ones, whether autocast is on or off."""
    x = signals(process, Example())
    rank, single = len(process.shape), x.float()
    device = x.device.type
    for name, argument in zip(TRANSFORMS, ("x", "u"), strict=True):
        transform = getattr(process.basis, name)
        expected = transform(x).float()
        for where in ("", " inside autocast"):
            autocast = bool(where) and torch.amp.is_autocast_available(device)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
                result = transform(single)
            if result.dtype != torch.float32:
                msg = f"basis.{name}({argument}){where} is {result.dtype}"
                raise Violation(msg)
            what = f"basis.{name}({argument}) in torch.float32{where}"
            require_equal(what, result, expected, rank=rank, absolute=room(single) / digits(torch.float32))


@law_at_once(
    "gradients flow through the basis",
    "Leave out torch.no_grad(), .detach(), .data and numpy: guidance, likelihoods and losses differentiate through "
    "both transforms.",
)
def differentiable(process: LinearGaussianProcess) -> None:
    """The gradient of <y, V^T x> in x is V y, and the other way about."""
    y = signals(process, Example(), 1)
    for name, back, argument in (("forward", "inverse", "x"), ("inverse", "forward", "u")):
        x = signals(process, Example()).requires_grad_()
        what = f"basis.{name}({argument})"
        with torch.enable_grad():
            result = (getattr(process.basis, name)(x) * y).sum()
            found = gradient(result, x)
        if found is None:
            msg = f"{what} gives no gradient"
            raise Violation(msg)
        what = f"the gradient of {what}, of its product with a signal,"
        require_equal(what, found, getattr(process.basis, back)(y), rank=len(process.shape), absolute=room(y))


@contextmanager
def naming_single_tables(x: Tensor) -> Generator[None, None, None]:
    """Give an error that is small, but large for float64, its usual cause."""
    try:
        yield
    except Violation as violation:
        small = violation.amount is not None and violation.amount < 1e-5 * max(1.0, x.abs().max().item())
        if x.dtype == torch.float64 and small:
            violation.advice = (
                "An error of about 1e-7 of the signal, in float64, is that of a table kept in float32, or of "
                "arithmetic in float32: make tables in float64 and convert them with .to(x.dtype)."
            )
        raise


def probes(process: LinearGaussianProcess, example: Example, number: int = 0) -> list[Float[Tensor, "batch ..."]]:
    """Return signals of several sizes, in the schedule dtype and in float32."""
    x = signals(process, example, number)
    return [*(size * x for size in SIZES), x.float()]


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Return inner products of flattened signals, (batch,), in the best precision there is on the CPU."""
    return (a.cpu().double() * b.cpu().double()).flatten(1).sum(1)


def room(x: Tensor, size: float | None = None) -> float:
    """Return the rounding of a transform of x in x's dtype, in units of float64's: sums of up to n numbers, 64-fold."""
    largest = x.abs().max().item() if size is None else size
    return 64 * torch.finfo(x.dtype).eps * x[0].numel() ** 0.5 * max(largest, 1e-300)


LAWS = (kinds, signals_alone, any_layout, apart, inverses, orthonormal, any_precision, differentiable)
