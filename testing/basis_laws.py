"""Laws of the basis: V is orthonormal, in every precision, for each signal alone.

A map that keeps all inner products is linear, so linearity needs no law of its own; signals of several sizes find a
clamp.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import require_equal
from .law import Example, Violation, law
from .plain import signals

TRANSFORMS = ("forward", "inverse")
SIZES = (1.0, 1e-3, 1e3)


@law(
    "the basis keeps shape and precision",
    "analyse and synthesise return the shape and dtype they get: register a table once in float64 and once in float32, "
    "or convert it with .to(x.dtype).",
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
    "other's transpose.",
    times=0,
)
def inverses(process: LinearGaussianProcess, example: Example) -> None:
    """V V^T x = x and V^T V x = x."""
    basis = process.basis
    for x in probes(process, example):
        there, back = basis.inverse(basis.forward(x)), basis.forward(basis.inverse(x))
        for what, result in (("inverse(forward(x))", there), ("forward(inverse(u))", back)):
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
                plainly = inner(a, b)
                size = (inner(a, a) * inner(b, b)).sqrt()
                what = "squared length" if a is b else "inner product"
                require_equal(
                    f"the {what} of two signals after basis.{name}, as a share of their lengths,",
                    transformed / size,
                    plainly / size,
                    rank=0,
                    absolute=room(x, 1.0),
                )


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


LAWS = (kinds, inverses, orthonormal, apart)
