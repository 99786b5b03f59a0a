"""Checks of what users pass in. Each error names the value, what is allowed, and what to do.

Shapes and dtypes are known without reading memory, so they are checked always. The *values* of a tensor
are read only where reading costs nothing: on the CPU and outside a compiled graph. Elsewhere reading would make
the device wait, or break the graph; there a value that is not allowed becomes NaN, which travels to the
result and is seen, instead of being clamped to something that looks right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_batchedtensor, is_functorch_wrapped_tensor

Shape = tuple[int, ...]
Kind = TypeVar("Kind")


def values_are_readable(tensor: Tensor) -> bool:
    """Tell whether reading `tensor`'s values costs no wait and breaks no graph, and there is one value to read."""
    return tensor.device.type == "cpu" and values_exist(tensor)


def values_exist(tensor: Tensor) -> bool:
    """Tell whether there is one value to read, be it after a wait for the device: outside of graphs and maps."""
    return not torch.compiler.is_compiling() and not _is_mapped(tensor)


def _is_mapped(tensor: Tensor) -> bool:
    """Tell whether `tensor` stands for one row of many inside torch.func.vmap, which lets no value be read."""
    while is_functorch_wrapped_tensor(tensor):
        if is_batchedtensor(tensor):
            return True
        tensor = get_unwrapped(tensor)
    return False


def as_shape(shape: Sequence[int]) -> Shape:
    """Return `shape` as a tuple of positive integers, the shape of one example without a batch axis.

    Raises:
        TypeError: `shape` is not a sequence of integers.
        ValueError: it is empty or has a size below 1.
    """
    sizes: list[object] = [*shape] if hasattr(shape, "__iter__") else [None]
    if not all(isinstance(size, int) for size in sizes):
        msg = f"shape must be a sequence of integers such as (3, 32, 32), got {shape!r}"
        raise TypeError(msg)
    if len(shape) == 0 or min(shape) < 1:
        msg = f"shape must name at least one axis, every size at least 1, got {tuple(shape)}"
        raise ValueError(msg)
    return tuple(int(size) for size in shape)


def check_instance(name: str, value: object, kind: type[Kind] | tuple[type[Kind], ...], remedy: str) -> Kind:
    """Return `value`, checked to be an instance of `kind`.

    Raises:
        TypeError: it is not; the message names it and says what to pass instead.
    """
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        got = f"the class {value.__name__} itself" if isinstance(value, type) else _told(value)
        wanted = " or ".join(f"{'an' if k.__name__[0] in 'aeiouAEIOU' else 'a'} {k.__name__}" for k in kinds)
        msg = f"{name} must be {wanted}, {remedy}; got {got}"
        raise TypeError(msg)
    return value


def _told(value: object) -> str:
    """Return what was passed in, in words: of arrays their kind and shape, not their numbers."""
    if isinstance(value, dict):
        inside = cast("dict[object, object]", value)
        return f"a dict with {', '.join(map(repr, inside))}"[:60] if inside else "an empty dict"
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        return f"{value!r:.60}"
    kind, shape = type(value), cast("Tensor", value).shape
    return f"a {kind.__module__}.{kind.__name__} of shape {tuple(shape)}"


def check_whole(name: str, value: object) -> None:
    """Check that `value` is an integer, and no boolean.

    Raises:
        TypeError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        msg = f"{name} must be an integer, got {value!r:.60}"
        raise TypeError(msg)


def check_not_empty(name: str, batch: Tensor, purpose: str) -> None:
    """Check that a batch holds an example, which `purpose` needs.

    Raises:
        ValueError: it holds none.
    """
    if len(batch) == 0:
        msg = f"{name} holds no example: {purpose} needs at least one"
        raise ValueError(msg)


def check_not_negative(name: str, table: Tensor) -> None:
    """Check that every number of a table is finite and at least 0.

    Raises:
        ValueError: one is not.
    """
    allowed = (table >= 0) & table.isfinite()
    if not bool(allowed.all()):
        msg = f"{name} must be finite and at least 0, got {table[~allowed].flatten()[0].item():g}"
        raise ValueError(msg)


def check_count(name: str, value: int, least: int = 1, hint: str = "") -> None:
    """Check that `value` is an integer of at least `least`.

    Raises:
        TypeError: it is no integer.
        ValueError: it is smaller; `hint` is added to what is allowed.
    """
    check_whole(name, value)
    if value < least:
        msg = f"{name} must be at least {least}{_aside(hint)}, got {value}"
        raise ValueError(msg)


def check_number(name: str, value: float, interval: str, hint: str = "") -> None:
    """Check that `value` lies in an interval, written as in mathematics: "(0, 1]" leaves out 0, "[0, inf)" infinity.

    Raises:
        TypeError: it is no number.
        ValueError: it does not, or is NaN; `hint` is added to what is allowed.
    """
    if isinstance(value, str) or not hasattr(value, "__float__"):
        msg = f"{name} must be a number, got {value!r:.60}"
        raise TypeError(msg)
    low, high = (float(end) for end in interval[1:-1].split(","))
    high_enough = value >= low if interval[0] == "[" else value > low
    low_enough = value <= high if interval[-1] == "]" else value < high
    if not (high_enough and low_enough):
        msg = f"{name} must {_IN_WORDS.get(interval, f'lie in {interval}')}{_aside(hint)}, got {value}"
        raise ValueError(msg)


_IN_WORDS = {
    "(-inf, inf)": "be finite",
    "(0, inf)": "be positive and finite",
    "[0, inf)": "be finite and at least 0",
}


def _aside(hint: str) -> str:
    return f" ({hint})" if hint else ""


def check_rising(unit: str, **ends: float) -> None:
    """Check that two numbers, given by their names, are 0 < low < high, and finite.

    Raises:
        ValueError: they are not; the message names the unit.
    """
    (low_name, low), (high_name, high) = ends.items()
    if not 0 < low < high < math.inf:
        msg = f"need 0 < {low_name} < {high_name} ({unit}), got {low} and {high}"
        raise ValueError(msg)


def check_floating(name: str, tensor: Tensor, remedy: str | None = None) -> None:
    """Check that `tensor` holds real floating-point numbers.

    Raises:
        TypeError: it is no tensor, or its dtype is an integer, boolean or complex one.
    """
    check_instance(name, tensor, Tensor, "torch.as_tensor(...) makes one")
    if not tensor.dtype.is_floating_point:
        signals = (
            "integer images must be scaled first, for example x.float() / 255 for 8-bit data"
            if not tensor.dtype.is_complex
            else "pass real signals; stack real and imaginary parts as channels"
        )
        msg = f"{name} must be a real floating-point tensor, got {tensor.dtype}: {remedy or signals}"
        raise TypeError(msg)


def broadcast_to(name: str, tensor: Tensor, shape: Shape, whose: str) -> Tensor:
    """Return `tensor` expanded to `shape`, that of `whose`.

    Raises:
        ValueError: it does not broadcast to that.
    """
    try:
        return tensor.expand(shape)
    except RuntimeError:
        msg = f"{name} must broadcast to {whose} shape {shape}, got {tuple(tensor.shape)}"
        raise ValueError(msg) from None


def check_signal(name: str, tensor: Tensor, shape: Shape) -> None:
    """Check that `tensor` is a batch of real floating-point signals of `shape`.

    Raises:
        TypeError: the dtype is an integer, boolean or complex one.
        ValueError: the shape is not (batch, *shape).
    """
    check_floating(name, tensor)
    if tuple(tensor.shape[1:]) != shape or tensor.ndim != len(shape) + 1:
        hint = f"; add the batch axis with {name}[None]" if tuple(tensor.shape) == shape else ""
        msg = f"{name} must have shape (batch, {', '.join(map(str, shape))}), got {tuple(tensor.shape)}{hint}"
        raise ValueError(msg)


def check_mask(name: str, mask: object) -> Tensor:
    """Return a mask, checked to be boolean: a picture's 0 and 255 would multiply, and a float's polarity is a guess.

    Raises:
        TypeError: it is not a boolean tensor.
    """
    check_instance(name, mask, Tensor, "torch.from_numpy(mask != 0) for example")
    mask = cast("Tensor", mask)
    if mask.dtype != torch.bool:
        msg = f"{name} must be boolean, True where a number is seen, got {mask.dtype}: pass {name} != 0"
        raise TypeError(msg)
    return mask


def check_times(name: str, t: Tensor, batch: int | None = None) -> Tensor:
    """Return the times `t`, checked to be floating-point, of shape () or (batch,), within [0, 1].

    Raises:
        TypeError: `t` is not a floating-point tensor.
        ValueError: `t` has another shape, or a value outside [0, 1] (where values are readable;
            elsewhere such a time becomes NaN).
    """
    if not t.dtype.is_floating_point:
        msg = f"{name} must be a floating-point time in [0, 1], got {t.dtype}: pass level / levels for a level"
        raise TypeError(msg)
    if t.ndim > 1 or (t.ndim == 1 and batch is not None and t.shape[0] != batch):
        expected = "() or (batch,)" if batch is None else f"() or ({batch},), one per example"
        msg = f"{name} must have shape {expected}, got {tuple(t.shape)}"
        raise ValueError(msg)
    inside = (t >= 0) & (t <= 1)
    if not values_are_readable(t):
        return torch.where(inside, t, torch.nan)
    if not bool(inside.all()):
        worst = t[~inside].flatten()[0].item() if t.ndim else t.item()
        msg = f"{name} must lie in [0, 1] (0 is data, 1 is fully degraded), got {worst}"
        raise ValueError(msg)
    return t


def check_order(s: Tensor, t: Tensor) -> Tensor:
    """Return the earlier time `s`, checked to be at most `t`.

    Raises:
        ValueError: some s > t (where values are readable; elsewhere such an s becomes NaN).
    """
    ordered = s <= t
    if not (values_are_readable(s) and values_are_readable(t)):
        return torch.where(ordered, s, torch.nan)
    if not bool(ordered.all()):
        wide_s, wide_t = torch.broadcast_tensors(s, t)
        worst = (~torch.as_tensor(ordered)).flatten().nonzero()[0, 0]
        pair = wide_s.flatten()[worst].item(), wide_t.flatten()[worst].item()
        msg = f"s must not be later than t, got s = {pair[0]} > t = {pair[1]}: swap them"
        raise ValueError(msg)
    return s


def check_falling(change: Tensor) -> Tensor:
    """Return the change l_t - l_s of a log-SNR for s <= t, checked to be at most 0 up to rounding.

    A change that is positive only by rounding is set to 0, its exact value there being at most 0.

    Raises:
        ValueError: the log-SNR rises (where values are readable; elsewhere the change becomes NaN).
    """
    # Log-SNRs are sums of a few rounded terms of size up to ~1e4 in a schedule that means to be constant.
    tolerance = 1e4 * torch.finfo(change.dtype).eps
    if not values_are_readable(change):
        return torch.where(change <= tolerance, change.clamp(max=0.0), torch.nan)
    # The largest is NaN where one is.
    if change.numel() and not bool(change.amax() <= tolerance):
        falling = change <= tolerance
        rises = torch.where(falling, -torch.inf, change)
        where = torch.unravel_index(rises.argmax(), change.shape)
        index = tuple(int(i) for i in where)
        msg = (
            f"the log-SNR rises by {rises.max().item():.6g} between s and t at index {index} of (batch, *coefficient), "
            "or is NaN there: a linear-Gaussian process needs log_alpha(t) - log_sigma(t) that never increases in t"
        )
        raise ValueError(msg)
    return change.clamp(max=0.0)
