"""The law that alpha_t and sigma_t change without jumps, by ever finer search."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import tell_apart
from .law import Example, Violation, law
from .plain import as_time, widen

# An interval is searched in so many parts.
PARTS = 16
# As short as an interval gets; times near 1 are 1e-16 apart.
SHORTEST = 1e-13
# The change over this much more time that a jump is compared with: what is continuous has changed more, though it may
# be as steep as t^(1/5) at 0.
LONGER = 1e-10
# A jump, as a share of the value.
LARGE = 1e-4
# The smallest numbers, which have few digits, change in jumps.
NOTHING = 1e-290


@law(
    "the coefficients change without jumps",
    "The degradation is continuous in t, or samplers with more steps come no nearer to it; only a coefficient that "
    "vanishes altogether may do so at once. Interpolate between levels: `levels = 50` names the grid that is sampled, "
    "the coefficients go through it (leave out round, floor and torch.bucketize).",
    times=2,
)
def continuous(process: LinearGaussianProcess, example: Example) -> None:
    """No change of alpha or sigma between two times remains when the interval shrinks to nothing."""
    for name in ("alpha", "sigma"):
        require_continuous(process, name, *example.pair)


def require_continuous(process: LinearGaussianProcess, name: str, s: float, t: float) -> None:
    """Narrow [s, t] down to the part whose change stands out, until there is no change to speak of or no interval."""
    longer, size = torch.inf, None
    while t - s > SHORTEST:
        grid = [s + (t - s) * part / PARTS for part in range(PARTS)] + [t]
        times = as_time(process, *grid)
        if times.dtype != torch.float64:
            # Without double precision every function is a staircase.
            return
        values = widen(process, getattr(process, f"log_{name}")(times), times).exp()
        if size is None:
            size = torch.maximum(values[0], values[-1])
        changes = relative_changes(values, size)
        part, *index = (int(i) for i in torch.unravel_index(excess(changes).argmax(), changes.shape))
        change = changes[part].max().item()
        if change <= LARGE:
            return
        s, t = grid[part], grid[part + 1]
        if t - s > LONGER:
            longer = change
        elif t - s <= SHORTEST and change > 0.5 * longer:
            early, late = (values[(part + end, *index)] for end in (0, 1))
            what = "{} jumps from {} to {}".format(name, *tell_apart(early, late))
            raise Violation(what, times=(s, t), coefficient=tuple(index), amount=abs((late - early).item()))


def relative_changes(values: Float[Tensor, "times ..."], size: Float[Tensor, "..."]) -> Float[Tensor, "parts ..."]:
    """Return the changes from time to time as shares of `size`, 0 where either is 0: masks vanish at once."""
    early, late = values[:-1], values[1:]
    gone = (early < NOTHING) | (late < NOTHING)
    return torch.where(gone, 0.0, (late - early).abs() / size).nan_to_num(0.0, 0.0)


def excess(changes: Float[Tensor, "parts ..."]) -> Float[Tensor, "parts ..."]:
    """Return how much more each part changes than its neighbours: what is smooth stands out little."""
    padded = torch.cat([changes[1:2], changes, changes[-2:-1]])
    return changes - (padded[:-2] + padded[2:]) / 2


LAWS = (continuous,)
