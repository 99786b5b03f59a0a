"""The law that alpha_t and sigma_t change without jumps, by ever finer search."""

from __future__ import annotations

from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import tell_apart
from .law import Violation, law_at_once
from .plain import as_time, widen
from .scan import scan

# So many pairs of times are searched, and so many intervals of the fine grid that look odd: whose change is not halfway
# between its neighbours' by such a share of itself (0.5 at a kink, 1 at a jump).
PAIRS, FEW, ODD = 15, 6, 0.25
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


@law_at_once(
    "the coefficients change without jumps",
    "The degradation is continuous in t, or samplers with more steps come no nearer to it; only a coefficient that "
    "vanishes altogether may do so at once. Interpolate between levels: `levels = 50` names the grid that is sampled, "
    "the coefficients go through it (leave out round, floor and torch.bucketize, and half precision).",
)
def continuous(process: LinearGaussianProcess) -> None:
    """No change of alpha or sigma between two times remains when the interval shrinks to nothing."""
    random = Random(0)  # noqa: S311
    pairs = [sorted(random.randint(0, 100) / 100 for _ in range(2)) for _ in range(PAIRS)]
    for name in ("alpha", "sigma"):
        for s, t in [(0.0, 1.0), *pairs, *suspicious(process, name)]:
            require_continuous(process, name, s, t)


def suspicious(process: LinearGaussianProcess, name: str) -> list[tuple[float, float]]:
    """Return the intervals of the fine grid whose change is least like their neighbours', a few."""
    found: list[tuple[float, float, float]] = []
    for part in scan(process):
        values = (part.log_alpha if name == "alpha" else part.log_sigma).exp()
        changes = relative_changes(values, torch.maximum(values[1:], values[:-1]))
        odd = torch.where(changes > LARGE, excess(changes) / changes, 0.0).flatten(1).amax(1)
        oddest = odd.topk(min(FEW, len(odd)))
        found += [
            (score, part.times[i], part.times[i + 1])
            for score, i in zip(oddest.values.tolist(), oddest.indices.tolist(), strict=True)
            if score > ODD
        ]
    return [(s, t) for _, s, t in sorted(found, reverse=True)[:FEW]]


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
