"""Laws of log_alpha and log_sigma as functions: of one time each, the same at every call, in any batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import FORMULA, require_equal, require_within, tell_apart
from .law import Example, law, law_at_once
from .plain import as_time, plain, widen

# Some batches are as large as samplers' are, of which the first examples tell.
LARGE_BATCH = 257


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


@law_at_once(
    "each time is computed afresh",
    "Keep nothing from call to call: a cache whose key is a rounded time answers for other times, and one without a "
    "key for all of them. Tables belong in __init__.",
)
def fresh(process: LinearGaussianProcess) -> None:
    """A time just asked for does not answer for one close by."""
    for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
        for t in (0.3, 0.62):
            for later in (t + 2e-3, t + 2e-5, t + 2e-7):
                one, other, both = (as_time(process, *times) for times in ((t,), (later,), (t, later)))
                asked, answer = widen(process, method(one), one)[0], widen(process, method(other), other)[0]
                right = widen(process, method(both), both)
                require_fresh(process, name, (t, later), (asked, answer, right.expand(2, *process.shape)[1]))


def require_fresh(
    process: LinearGaussianProcess, name: str, times: tuple[float, float], values: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Require the answer to be right unless it differs from what was asked before; the rest is other laws' business."""
    asked, answer, right = values
    if not torch.equal(asked, answer) or torch.equal(asked, right):
        return
    require_within(
        torch.where(answer == right, 0.0, (answer - right).abs()),
        # Far below the change that a cache leaves out, far above rounding.
        1e-12 * (1 + right.abs()).nan_to_num(0.0, 0.0),
        lambda index: (
            f"{name}({times[1]:.7g}), asked after {name}({times[0]:.7g}), is "
            + ", its value there, instead of ".join(tell_apart(answer[index], right[index]))
        ),
        rank=len(process.shape),
        times=times[1:],
    )


@law(
    "every example of a batch has its own time",
    "What an example gets in a batch is what it gets alone. Use self.expand_times(t), nothing that looks at t as a "
    "whole (t.mean(), t[0], t.max()); if t of shape (batch,) meets a table whose last axis happens to have the "
    "batch's size, torch broadcasts silently.",
    times=3,
)
def own_times(process: LinearGaussianProcess, example: Example) -> None:
    """log_alpha((t_1, ..., t_n)) is log_alpha(t_1), ..., log_alpha(t_n), whatever axis has the size n."""
    # Cycling through the times makes neighbours differ, in batches as large as an axis too.
    size = LARGE_BATCH if example.seed % 8 == 0 else max(2, example.batch)
    times = [example.times[i % 3] for i in range(size)]
    t = as_time(process, *times)
    for name, method in (("log_alpha", process.log_alpha), ("log_sigma", process.log_sigma)):
        together = widen(process, method(t), t)
        for i, time in enumerate(times[:8]):
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


LAWS = (steady, fresh, own_times)
