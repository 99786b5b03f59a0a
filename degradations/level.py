r"""A level: a process at a time, with the logarithms of its coefficients; and what happens between two levels.

With l = log alpha^2 - log sigma^2, for two levels s <= t, per coefficient,

    log alpha_{t|s} = log alpha_t - log alpha_s,
    l_t - l_s       = 2 (log alpha_t - log alpha_s) - 2 (log sigma_t - log sigma_s)  <= 0.

Differences are taken of logarithms, apart for signal and noise, and a difference of equal infinities is 0: no alpha
underflows and no square is subtracted.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_falling, values_exist
from ..core.rates import nudged_inside

if TYPE_CHECKING:
    from .process import LinearGaussianProcess


@dataclass(frozen=True, eq=False)
class Level:
    """A process at one time, or at one time for each example of a batch: `process.at(t)`.

    Attributes:
        process: the process.
        t: checked times, () or (batch,), in the schedule dtype on the process's device.
        log_alpha: log alpha_t per coefficient, (batch or 1, ...), broadcastable to (batch, *shape).
        log_sigma: log sigma_t, in the data's units, likewise.
    """

    process: LinearGaussianProcess
    t: Float[Tensor, "*batch"]
    log_alpha: Float[Tensor, "..."]
    log_sigma: Float[Tensor, "..."]

    def __repr__(self) -> str:
        """Show the process's name and the times."""
        return f"Level({self.process.called}, t={self.t.tolist()})"

    @property
    def alpha(self) -> Float[Tensor, "..."]:
        """alpha_t per coefficient."""
        return self.log_alpha.exp()

    @property
    def sigma(self) -> Float[Tensor, "..."]:
        """sigma_t per coefficient, in the data's units."""
        return self.log_sigma.exp()

    @property
    def beta(self) -> Float[Tensor, "..."]:
        """beta_t, the share of a known end, per coefficient; 0 where the process has none."""
        return self.process.batched_log_beta(self.t).exp()

    @property
    def log_snr(self) -> Float[Tensor, "..."]:
        """l_t = log alpha_t^2 - log sigma_t^2 per coefficient; minus infinity where no signal is left."""
        empty = self.log_alpha == -torch.inf
        return torch.where(empty, -torch.inf, 2 * log_ratio(self.log_alpha, self.log_sigma))

    @property
    def pinned(self) -> bool:
        """Whether some coefficient has neither signal nor noise here, as where a bridge ends in what is known.

        Read whatever the device, and False within a graph that is being compiled: what is asked before a run's steps.
        """
        empty = (self.log_alpha == -torch.inf) & (self.log_sigma == -torch.inf)
        return values_exist(empty) and bool(empty.any())

    def constant(self, value: float) -> Float[Tensor, "..."]:
        """Return one number for all examples and coefficients, (1, ..., 1), in the coefficients' dtype."""
        return self.log_alpha.new_full((1,) * self.log_alpha.ndim, value)

    def expand(self, batch: int) -> Level:
        """Return this level with a time for each of `batch` examples."""
        return replace(self, t=self.t.expand(batch))

    def __getitem__(self, rows: slice) -> Level:
        """Return the levels at some of the times."""
        return replace(
            self, t=self.t[rows], log_alpha=rows_of(self.log_alpha, rows), log_sigma=rows_of(self.log_sigma, rows)
        )

    def corrupt(
        self,
        x: Float[Tensor, "batch ..."],
        noise: Float[Tensor, "batch ..."],
        *,
        given: Float[Tensor, "batch ..."] | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return z_t = A_t x + V diag(sigma_t) V^T noise for data and white noise, (batch, *shape) each.

        The share of the known end is added, which is `given` as in `LinearGaussianProcess.marginal`.
        """
        self.process.check_given(given, x.shape[0])
        end = () if given is None else ((given, self.beta),)
        return self.process.basis.combine((x, self.alpha), (noise, self.sigma), *end)

    def nudged_inside(self) -> Level:
        """Return the level next to this one, towards t = 1/2, from which limits at this one are read off."""
        return self.process.at(nudged_inside(self.t))


class Transition(NamedTuple):
    """What happens between two levels s <= t, per coefficient.

    Attributes:
        log_alpha: log alpha_{t|s}.
        log_snr_change: l_t - l_s <= 0; minus infinity where level t keeps no signal or level s has no noise.
    """

    log_alpha: Float[Tensor, "..."]
    log_snr_change: Float[Tensor, "..."]


def rows_of(table: Float[Tensor, "rows ..."], rows: slice) -> Float[Tensor, "..."]:
    """Return some rows of a table, which is one for all of them where it has only one."""
    return table if len(table) == 1 else table[rows]


def log_ratio(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return a - b for logarithms, where a difference of equal infinities is 0."""
    # Of infinities alone: a gradient flows through a difference of numbers that happen to be equal.
    return torch.where((a == b) & a.isinf(), 0.0, a - b)


def log_transition(at_s: Level, at_t: Level) -> Transition:
    """Return log alpha_{t|s} and l_t - l_s per coefficient, for levels s <= t.

    Raises:
        ValueError: the log-SNR rises, so that no Markov chain with these marginals exists.
    """
    # Compiling comes first, as it cannot ask for the mode; tensors of inference mode would not do for gradients later.
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        return _log_transition(at_s, at_t)
    # A sampler's posterior, its coupling and its steps ask for the same one, each by itself.
    kept: tuple[weakref.ref[Level], Transition] | None = at_t.__dict__.get("_transition")
    if kept is None or kept[0]() is not at_s:
        # By a weak reference, or a chain of levels would keep all of them.
        kept = at_t.__dict__["_transition"] = (weakref.ref(at_s), _log_transition(at_s, at_t))
    return kept[1]


def _log_transition(at_s: Level, at_t: Level) -> Transition:
    fade = log_ratio(at_t.log_alpha, at_s.log_alpha)
    growth = log_ratio(at_t.log_sigma, at_s.log_sigma)
    # Once no signal is left, any factor carries it on; where the noise shrinks, it has to shrink with the noise.
    fade = torch.where(at_s.log_alpha == -torch.inf, growth.clamp(max=0.0), fade)
    # Where the signal vanishes between s and t nothing of it is left to know, whatever the noise does.
    vanishes = (fade == -torch.inf) & (at_s.log_alpha > -torch.inf)
    return Transition(fade, check_falling(torch.where(vanishes, fade, 2 * log_ratio(fade, growth))))


def log_snr_change(at_s: Level, at_t: Level) -> Float[Tensor, "..."]:
    """Return l_t - l_s <= 0 per coefficient, for levels s <= t; raises what `log_transition` does."""
    return log_transition(at_s, at_t).log_snr_change
