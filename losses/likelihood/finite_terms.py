"""Whether the bound is finite at all: checked when it is made, before any network is called."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...degradations import Coupling, LinearGaussianProcess, Markov, Step
from ...models import PosteriorStd, ReverseStd
from .latent_times import has_noise
from .terms import step_term

# Numbers in one table of coefficients: 32 MiB in float64.
_TABLE_NUMBERS = 2**22


def check_continuum(process: LinearGaussianProcess, first: float, coupling: Coupling, reverse_std: ReverseStd) -> None:
    """Check that the bound has a limit in continuous time from the first latent's time on.

    Raises:
        ValueError: it has none here; the message says why.
    """
    if not isinstance(coupling, Markov) or not isinstance(reverse_std, PosteriorStd):
        msg = (
            "continuous time is the limit of Markov() with PosteriorStd(), of others there is none here, got"
            f" {coupling} and {_name(reverse_std)}: give a number of steps, or leave both out"
        )
        raise ValueError(msg)  # noqa: TRY004  # of the right kinds, but together infinite
    if not has_noise(process, first):
        raise _no_noise(process, first)


def check_grid(
    process: LinearGaussianProcess, times: Float[Tensor, " times"], coupling: Coupling, reverse_std: ReverseStd
) -> None:
    """Check that the terms of all steps of a rising grid are finite, whatever the estimate.

    Raises:
        ValueError: one is infinite; the message says where and why.
    """
    grid = process.to_schedule_dtype(times)
    chunk = max(1, _TABLE_NUMBERS // math.prod(process.shape))
    for s, t in zip(grid[:-1].split(chunk), grid[1:].split(chunk), strict=True):
        term = step_term(Step.between(process.at(s), process.at(t), coupling), reverse_std)
        infinite = ~(term.scale.isfinite() & term.excess.isfinite()).flatten(1).all(1)
        if bool(infinite.any()):
            k = int(infinite.int().argmax())
            raise _infinite(Step.between(process.at(s[k]), process.at(t[k]), coupling), reverse_std)
    if not has_noise(process, grid[0].item()):
        raise _no_noise(process, grid[0].item())


def _infinite(step: Step, reverse_std: ReverseStd) -> ValueError:
    """Return the error that says why the term of this step is infinite."""
    process, coupling = step.at_t.process, step.coupling
    where = f"from t = {step.at_t.t.item():.6g} to {step.at_s.t.item():.6g}"
    still = step.posterior.stddev == 0
    if bool((step.at_s.log_sigma == -torch.inf).any()):
        return _no_noise(process, step.at_s.t.item())
    if bool((still & (step.posterior.signal != 0)).any()):
        msg = (
            f"{coupling} has no variance in the step {where}: its posterior has no density and the bound is infinite;"
            " take a stochastic coupling (Markov, Independent or Eta > 0)"
        )
    elif bool((still & (reverse_std.stddev(step) > 0)).any()):
        msg = (
            f"the step {where} leaves a coefficient as it is under {coupling}, and {_name(reverse_std)} would give it"
            " noise, at infinite cost: take PosteriorStd() or the fitted one, or Independent()"
        )
    else:
        msg = (
            f"{_name(reverse_std)} has no noise in the step {where} where the posterior of {coupling} has, at infinite"
            " cost: take PosteriorStd(), ConstantStd(delta) with delta > 0, or the fitted one"
        )
    return ValueError(msg)


def _no_noise(process: LinearGaussianProcess, t: float) -> ValueError:
    return ValueError(
        f"{process.called} has no noise at t = {t:g} in some coefficient, where latents have no density and the"
        " bound is infinite: start later (such as first=1e-3; the decoder accounts for what is before it), or give the"
        " process noise (WithNoise, where it has no known end)"
    )


def _name(reverse_std: ReverseStd) -> str:
    return type(reverse_std).__name__ if isinstance(reverse_std, nn.Module) else repr(reverse_std)
