"""Laws of alpha_t and sigma_t themselves: shapes, precision, and a log-SNR that never rises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .advice import SHAPES, TENSORS, first_line
from .compare import (
    FORMULA,
    largest,
    require_equal,
    require_within,
    tell_apart,
)
from .law import (
    Example,
    Law,
    Violation,
    law,
    law_at_once,
)
from .plain import as_time, plain, widen


@law(
    "the coefficients do not change by themselves",
    "log_alpha and log_sigma may depend on t and on the constructor's arguments only: draw random numbers in __init__, "
    "and keep nothing from call to call.",
)
def steady(process: LinearGaussianProcess, example: Example) -> None:
    """log_alpha(t) is the same when asked again, also after other times."""
    before = plain(process, example.t)
    plain(process, 0.5)
    for name, first, again in zip(("log_alpha", "log_sigma"), before, plain(process, example.t), strict=True):
        require_equal(f"{name}(t), asked again,", again, first, rank=len(process.shape))


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


@law(
    "the times are left alone",
    "Write t = t * t for t *= t, and leave out methods that end in an underscore: t is the caller's, and "
    "self.expand_times(t) may be the same memory.",
)
def untouched(process: LinearGaussianProcess, example: Example) -> None:
    """The tensor t is the same after log_alpha(t) and log_sigma(t)."""
    for count in (1, 2):
        for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
            t = as_time(process, *[example.t] * count)
            before = t.clone()
            method(t)
            if not torch.equal(t, before):
                is_now = tell_apart(t.flatten()[0], before.flatten()[0])[0]
                msg = f"{name} changes the tensor of times that it gets, whose first becomes {is_now}"
                raise Violation(msg)


@law(
    "every example of a batch has its own time",
    "Each result may depend on that example's time alone. Use self.expand_times(t), nothing that looks at t as a whole "
    "(t.mean(), t[0], t.max()); if t of shape (batch,) meets a table whose last axis happens to have the batch's size, "
    "torch broadcasts silently.",
    times=3,
)
def own_times(process: LinearGaussianProcess, example: Example) -> None:
    """log_alpha((t_1, ..., t_n)) is log_alpha(t_1), ..., log_alpha(t_n), whatever axis has the size n."""
    # Cycling through the times makes neighbours differ, in batches as large as an axis too.
    times = [example.times[i % 3] for i in range(max(2, example.batch))]
    t = as_time(process, *times)
    for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
        together = widen(process, method(t), t)
        for i, time in enumerate(times):
            one = as_time(process, time)
            alone = widen(process, method(one), one)[0]
            require_equal(
                f"{name}, in a batch of {len(times)} times,",
                together[i],
                alone,
                rank=len(process.shape),
                relative=FORMULA,
                absolute=FORMULA,
                times=(time,),
            )


@law(
    "the coefficients are computed in double precision",
    "Make tables with dtype=torch.float64, leave out .float() and .to(torch.float32), and give torch.tensor(...) a "
    "dtype: seven digits of a logarithm near -100 are five digits of alpha.",
)
def precision(process: LinearGaussianProcess, example: Example) -> None:
    """Times in float64 give logarithms in float64, of the same value whatever torch's default dtype is."""
    t = as_time(process, example.t)
    for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
        value = method(t)
        if value.dtype != t.dtype:
            msg = f"{name}(t) is {value.dtype} for t in {t.dtype}"
            raise Violation(msg)
        default = torch.get_default_dtype()
        other = torch.float32 if default == torch.float64 else torch.float64
        try:
            torch.set_default_dtype(other)
            again = method(t)
        finally:
            torch.set_default_dtype(default)
        what = f"{name}(t), with torch's default dtype set to {other},"
        require_equal(what, widen(process, again, t)[0], widen(process, value, t)[0], rank=len(process.shape))


@law(
    "the coefficients are numbers",
    "alpha and sigma are finite: their logarithms may be minus infinity (no signal, no noise), but never NaN or plus "
    "infinity. The usual cause is the logarithm of a negative number, or 0 times infinity at t = 0 or t = 1.",
)
def numbers(process: LinearGaussianProcess, example: Example) -> None:
    """Logarithms are below plus infinity."""
    for name, value in zip(("log_alpha", "log_sigma"), plain(process, example.t), strict=True):
        wrong = ~(value < torch.inf)
        if bool(wrong.any()):
            index = tuple(int(i) for i in wrong.nonzero()[0])
            msg = f"{name}(t) is {value[index].item():g}"
            raise Violation(msg, coefficient=index)


@law_at_once(
    "the data is still there at t = 0",
    "A coefficient with alpha_0 = 0 is unknown at all times: no model can bring it back. Let log_alpha(0) be finite.",
)
def signal_at_start(process: LinearGaussianProcess) -> None:
    """alpha_0 > 0 for every coefficient."""
    gone = plain(process, 0.0).log_alpha == -torch.inf
    if bool(gone.any()):
        index = tuple(int(i) for i in gone.nonzero()[0])
        msg = "alpha is 0 already"
        raise Violation(msg, times=(0.0,), coefficient=index)


@law_at_once(
    "the signal starts at most whole",
    "alpha is a share of the data, at most 1: did log_alpha return alpha instead of its logarithm? The logarithm of "
    "exp(-rate * t) is -rate * t.",
)
def whole_at_start(process: LinearGaussianProcess) -> None:
    """alpha_0 <= 1 for every coefficient."""
    start, one = plain(process, 0.0), torch.ones(())
    require_within(
        start.log_alpha,
        torch.full_like(start.log_alpha, FORMULA),
        lambda index: "alpha is {}, more than {}; log alpha".format(*tell_apart(start.alpha[index], one)),
        rank=len(process.shape),
        times=(0.0,),
    )


@law(
    "the signal is never above its start",
    "t = 0 is the data and alpha_t <= alpha_0. The usual cause is a missing minus sign in log_alpha, or time counted "
    "backwards.",
)
def signal_falls(process: LinearGaussianProcess, example: Example) -> None:
    """alpha_t <= alpha_0 for every coefficient."""
    start, now = plain(process, 0.0).log_alpha, plain(process, example.t).log_alpha
    require_within(
        minus_known(now, start),
        tolerance_of_logs(now),
        lambda index: "alpha is {}, at t = 0 only {}; log alpha".format(
            *tell_apart(now[index].exp(), start[index].exp())
        ),
        rank=len(process.shape),
    )


@law(
    "the log-SNR never rises",
    "A linear-Gaussian process needs log_alpha(t) - log_sigma(t) that never increases in t. The usual cause is noise "
    "that falls faster than the signal, a missing minus sign, or time counted backwards.",
    times=2,
)
def log_snr_falls(process: LinearGaussianProcess, example: Example) -> None:
    """l_t <= l_s for s <= t, a difference of equal infinities being 0."""
    s, t = example.pair
    early, late = plain(process, s).log_snr, plain(process, t).log_snr
    rise = minus_known(late, early)
    broken = rise > tolerance_of_logs(rise)
    if bool(broken.any()):
        index = tuple(int(i) for i in torch.unravel_index(rise.argmax(), rise.shape))
        amount = rise[index].item()
        what = "it rises by {:.3g} (from {} to {})".format(amount, *tell_apart(early[index], late[index]))
        raise Violation(what, coefficient=index, amount=amount)


def minus_known(a: Tensor, b: Tensor) -> Tensor:
    """Return a - b, 0 where that is unknown: equal infinities, or a NaN, which is another law's business."""
    return torch.where(a == b, 0.0, a - b).nan_to_num(0.0, torch.inf, -torch.inf)


def tolerance_of_logs(like: Tensor) -> Tensor:
    """Return what the library takes for rounding in a change of a log-SNR (`check_falling`), of `like`'s shape."""
    return torch.full_like(like, 1e4 * torch.finfo(like.dtype).eps)


def formula_law(name: str, formula: Callable[[float], Any]) -> Law:
    """Return the law that alpha or sigma, as `name` says, is what the user's plain formula gives."""

    @law(
        f"{name} is the given formula",
        f"Compare log_{name} with the formula: the usual causes are sigma taken for sigma^2, a factor 2 of a "
        "logarithm, and a sign.",
    )
    def given_formula(process: LinearGaussianProcess, example: Example) -> None:
        """exp(log_alpha(t)) is formula(t)."""
        actual = getattr(plain(process, example.t), name)
        expected = evaluate(process, name, formula, example.t).to(actual)
        # What is below 1e-12 of the largest coefficient, at any time, is lost in a signal's rounding anyway.
        ends = (getattr(plain(process, time), name) for time in (0.0, 1.0))
        tiny = 1e-12 * max(largest(values) for values in (expected, *ends))
        require_equal(f"{name}(t)", actual, expected, rank=len(process.shape), relative=FORMULA, absolute=tiny)

    return given_formula


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


LAWS = (
    broadcasting,
    untouched,
    steady,
    own_times,
    precision,
    numbers,
    signal_at_start,
    whole_at_start,
    signal_falls,
    log_snr_falls,
)
