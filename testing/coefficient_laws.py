"""Laws of alpha_t and sigma_t themselves: shapes, precision, and a log-SNR that never rises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import FORMULA, require_equal, require_within
from .law import Example, Law, Violation, law, law_at_once
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
    "Multiply tables with self.expand_times(t), which is t with an axis of size 1 for each axis of a signal; the batch "
    "comes first.",
)
def broadcasting(process: LinearGaussianProcess, example: Example) -> None:
    """Each of them is a tensor of shape (batch or 1, *shape with ones), (*shape) or (batch,)."""
    for t in (as_time(process, example.t), as_time(process, *[example.t] * max(2, example.batch))):
        for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
            value: Any = method(t)
            if not isinstance(value, Tensor):
                msg = f"{name}(t) is a {type(value).__name__} instead of a tensor"
                raise Violation(msg)
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
        lambda index: (
            f"alpha is {now[index].exp().item():.6g}, at t = 0 only {start[index].exp().item():.6g}; log alpha"
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
        what = f"it rises by {amount:.3g} (from {early[index].item():.6g} to {late[index].item():.6g})"
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
        expected = torch.as_tensor(formula(example.t), dtype=actual.dtype, device=actual.device).expand(process.shape)
        # What is below 1e-12 of the largest coefficient is lost in a signal's rounding anyway.
        tiny = 1e-12 * expected.abs().max()
        require_equal(f"{name}(t)", actual, expected, rank=len(process.shape), relative=FORMULA, absolute=tiny)

    return given_formula


LAWS = (
    broadcasting,
    steady,
    own_times,
    precision,
    numbers,
    signal_at_start,
    signal_falls,
    log_snr_falls,
)
