"""Laws of alpha_t and sigma_t over all of time: numbers, a signal that fades, and a log-SNR that never rises."""

from __future__ import annotations

import torch
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .advice import KERNELS
from .compare import tell_apart
from .law import Violation, law_at_once
from .plain import plain
from .scan import course, levels_in_words, log_snr_changes, scan

# e^88.7 is the largest number of float32, which signals are in.
LARGEST_LOGARITHM = 88.0
# A log-SNR that rises by less rises by rounding.
ROUNDED = 1e-5


@law_at_once(
    "the coefficients are numbers",
    "alpha and sigma are finite: their logarithms may be minus infinity (no signal, no noise), but never NaN or plus "
    "infinity. The usual cause is 0 times infinity at t = 0 or t = 1, or the logarithm of a negative number. "
    f"{KERNELS}",
)
def numbers(process: LinearGaussianProcess) -> None:
    """Logarithms are below plus infinity, and what they are logarithms of fits into float32."""
    for part in scan(process):
        for name, values in (("alpha", part.log_alpha), ("sigma", part.log_sigma)):
            wrong = ~(values < LARGEST_LOGARITHM)
            if not bool(wrong.any()):
                continue
            time, *index = (int(i) for i in wrong.nonzero()[0])
            value, times = values[(time, *index)].item(), (part.times[time],)
            if not LARGEST_LOGARITHM <= value < torch.inf:
                msg = f"log_{name}(t) is {value:g}"
                raise Violation(msg, times=times, coefficient=tuple(index))
            msg = f"log_{name}(t) is {value:g}: {name} is e^{value:g}, and signals in float32 end at e^88"
            advice = "Is a minus sign missing? " if name == "alpha" else ""
            advice += (
                "Was t taken for a step index? It runs from 0 to 1, and level k of K is the time k / K. Was a "
                "logarithm taken too few times, or e to the power of something once too often?"
            )
            raise Violation(msg, times=times, coefficient=tuple(index), advice=advice)


@law_at_once(
    "the data is still there at t = 0",
    "A coefficient with alpha_0 = 0 is unknown at all times: no model can bring it back. Let log_alpha(0) be finite; "
    "if it is finite at t = 1 instead, time is counted backwards: t = 0 is the data.",
)
def signal_at_start(process: LinearGaussianProcess) -> None:
    """alpha_0 > 0 for every coefficient."""
    gone = plain(process, 0.0).log_alpha == -torch.inf
    if bool(gone.any()):
        index = tuple(int(i) for i in gone.nonzero()[0])
        msg = "alpha is 0 already"
        raise Violation(msg, times=(0.0,), coefficient=index)


@law_at_once(
    "the signal is never above its start",
    "t = 0 is the data and alpha_t <= alpha_0. The usual cause is a missing minus sign in log_alpha, time counted "
    "backwards, a table that does not begin with t = 0, or a kernel whose sum is above 1.",
)
def signal_falls(process: LinearGaussianProcess) -> None:
    """alpha_t <= alpha_0 for every coefficient."""
    start = None
    for part in scan(process):
        start = part.log_alpha[:1] if start is None else start
        above = minus_known(part.log_alpha, start)
        if not bool((above > tolerance_of_logs(above)).any()):
            continue
        time, *index = (int(i) for i in torch.unravel_index(above.argmax(), above.shape))
        now, first = part.log_alpha[(time, *index)], start[(0, *index)]
        amount = above[(time, *index)].item()
        values = tell_apart(now.exp(), first.exp())
        what = "alpha is {}, at t = 0 only {}; log alpha, off by {:.3g}".format(*values, amount)
        raise Violation(what, times=(part.times[time],), coefficient=tuple(index), amount=amount)


@law_at_once(
    "the log-SNR never rises",
    "A linear-Gaussian process needs log_alpha(t) - log_sigma(t) that never increases in t. The usual cause is noise "
    "that falls faster than the signal, a missing minus sign, a wrong entry in a table, or time counted backwards.",
)
def log_snr_falls(process: LinearGaussianProcess) -> None:
    """l_t <= l_s for s <= t, from each time of a fine grid and each level to the next."""
    for part in scan(process):
        change = log_snr_changes(part.log_alpha, part.log_sigma)
        if bool((change > tolerance_of_logs(change)).any()):
            _, *index = (int(i) for i in torch.unravel_index(change.argmax(), change.shape))
            raise rising(process, tuple(index))


def rising(process: LinearGaussianProcess, index: tuple[int, ...]) -> Violation:
    """Return the violation that the steepest rise of one coefficient's log-SNR is, from its bottom to its top."""
    times, log_alpha, log_sigma = course(process, index)
    change = log_snr_changes(log_alpha, log_sigma)
    first = last = int(change.argmax())
    while first > 0 and change[first - 1] > 0:
        first -= 1
    while last + 1 < len(change) and change[last + 1] > 0:
        last += 1
    pair, amount = (times[first], times[last + 1]), change[first : last + 1].sum().item()
    log_snr = 2 * (log_alpha - log_sigma)
    values = tell_apart(log_snr[first], log_snr[last + 1])
    what = "it rises by {:.3g} (from {} to {})".format(amount, *values) + levels_in_words(process, pair)
    advice = (
        "So small a rise is rounding, which the library refuses all the same: the usual cause is a difference of "
        "nearly equal numbers, such as log(1 - alpha^2) where alpha is close to 1. Write torch.log(-torch.expm1(2 * "
        "log_alpha)) / 2, or clamp what means to be constant."
    )
    return Violation(what, times=pair, coefficient=index, amount=amount, advice=advice if amount < ROUNDED else None)


def minus_known(a: Tensor, b: Tensor) -> Tensor:
    """Return a - b, 0 where that is unknown: equal infinities, or a NaN, which is another law's business."""
    return torch.where(a == b, 0.0, a - b).nan_to_num(0.0, torch.inf, -torch.inf)


def tolerance_of_logs(like: Tensor) -> float:
    """Return what the library takes for rounding in a change of a log-SNR (`check_falling`), in `like`'s dtype."""
    return 1e4 * torch.finfo(like.dtype).eps


LAWS = (numbers, signal_at_start, signal_falls, log_snr_falls)
