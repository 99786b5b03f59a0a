"""The laws that log_alpha and log_sigma return logarithms: alpha and sigma themselves look like others' logarithms.

A forgotten logarithm cannot be told for sure, since alpha = exp(0.9) and sigma = exp(0.01) are numbers like any other.
What is refused is what no process means that has data of size about 1: noise that covers it at t = 0 already by sigma =
exp(a number up to 1), or a signal that begins at e times the data and is at no time below the data. A constant
factor of the data, alpha_0 = 2 or alpha_0 = 1e-3, passes, and so does larger noise. Where the formula is given nothing
is guessed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .law import Violation, law_at_once
from .plain import as_time, widen

TIMES = 65
# alpha_0 itself is 1, or a little less: 0.9999 of DDPM, 0.99998 of the cosine schedule.
WHOLE = (0.9, 1 + 1e-6)
# What is meant as sigma_0, of data of size 1, is at most that.
LARGEST_SIGMA = 1.0


@law_at_once(
    "log_alpha returns a logarithm",
    "Did log_alpha return alpha itself? Return its logarithm: that of exp(-rate * t) is -rate * t, that of any other "
    "formula is formula.log().",
)
def of_alpha(process: LinearGaussianProcess) -> None:
    """log_alpha is not alpha itself."""
    log_alpha, _ = course(process)
    start = log_alpha[0]
    if not (bool((log_alpha >= 0).all()) and WHOLE[0] <= start.min().item() and start.max().item() <= WHOLE[1]):
        return
    first = start.max().item()
    msg = (
        f"log_alpha(t) is {first:.6g} at t = 0 and never below 0, so that alpha is {math.exp(first):.6g} there and at "
        "no time below 1"
    )
    raise Violation(msg, times=(0.0,))


@law_at_once(
    "log_sigma returns a logarithm",
    "Did log_sigma return sigma itself, or its square? Return its logarithm: torch.full_like(t, math.log(0.01)) for "
    "sigma = 0.01, formula.log() for a formula, minus infinity for no noise. If sigma is meant to lie between 1 and e "
    "at t = 0, as for data in grey levels up to 255, give check_process your formula, sigma=lambda t: ..., and nothing "
    "is guessed.",
)
def of_sigma(process: LinearGaussianProcess) -> None:
    """log_sigma is not sigma itself, nor its square."""
    what = sigma_itself(*course(process))
    if what is not None:
        raise Violation(what, times=(0.0,))


def course(process: LinearGaussianProcess) -> tuple[Tensor, Tensor]:
    """Return log alpha and log sigma from t = 0 to 1, (times, *shape) each."""
    t = as_time(process, *(k / (TIMES - 1) for k in range(TIMES)))
    log_alpha, log_sigma = (widen(process, method(t), t) for method in (process.log_alpha, process.log_sigma))
    return log_alpha, log_sigma


def sigma_itself(log_alpha: Tensor, log_sigma: Tensor) -> str | None:
    """Return what tells that log_sigma, (times, *shape), is sigma itself; None if nothing does."""
    start, alpha = log_sigma[0], log_alpha.exp()
    covered = bool((start > 0).all()) and bool((log_alpha[0] < start).all())
    if covered and bool((log_sigma >= 0).all()) and start.min().item() <= LARGEST_SIGMA:
        first = start.min().item()
        return (
            f"log_sigma(t) is {first:.6g} at t = 0, so that sigma is {math.exp(first):.6g}, and noise is larger than "
            "data of size 1 before anything is degraded"
        )
    if not bool((log_sigma >= 0).all()) or bool((alpha == alpha[:1]).all()):
        return None
    square = (1 - alpha**2).clamp(min=0)
    formulas = (("1 - alpha_t", 1 - alpha), ("sqrt(1 - alpha_t^2)", square.sqrt()), ("1 - alpha_t^2", square))
    for formula, sigma in formulas:
        # The root of a cancelled square has half of its digits.
        if torch.allclose(log_sigma, sigma, rtol=0.0, atol=1e-6):
            return f"log_sigma(t) itself is {formula} at all times"
    return None


LAWS = (of_alpha, of_sigma)
