r"""A schedule given level by level: any table of DDPM's betas.

Level k of K is time k / K, and level 0 is the data:

    alpha_k^2 = (1 - beta_1) (1 - beta_2) ... (1 - beta_k),    sigma_k^2 = 1 - alpha_k^2.

Between two levels a share f of the later one's beta has been spent,

    alpha^2 = alpha_k^2 (1 - f beta_{k+1}),    sigma^2 = sigma_k^2 + f alpha_k^2 beta_{k+1},

so that log alpha^2 falls, and is the table's own at every level. Both are sums of positive numbers or of logarithms:
the first level keeps all digits of its noise, and a table that ends in beta = 1, without any signal, is as good as
others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.constants import ConstantModule
from .base import Schedule


class DiscreteSchedule(ConstantModule, Schedule):
    """Variance preserving, from the beta of each level (Ho et al., 2020). Its levels are the process's.

    Timestep i of code that counts from 0, such as diffusers', is level i + 1. Tables whose signal-to-noise ratio has
    been rescaled to 0 at the end (Lin, Liu, Li & Yang, 2024, algorithm 1) end in a 1.

    Args:
        betas: beta_1 to beta_K, the share of its variance that a signal loses from level k - 1 to k, in (0, 1); the
            last may be 1.

    Attributes:
        levels: K.

    Raises:
        ValueError: the betas are not numbers in a row, there are none, or one is not finite or lies outside (0, 1], or
            is 1 before the last level.
    """

    betas: Tensor
    log_squares: Tensor
    noises: Tensor

    def __init__(self, betas: Sequence[float] | Float[Tensor, " levels"]) -> None:
        super().__init__()
        table = torch.as_tensor(betas, dtype=torch.float64, device="cpu").detach().clone()
        if table.ndim != 1 or len(table) == 0:
            msg = f"betas must be numbers in a row, one for each level, at least one, got shape {tuple(table.shape)}"
            raise ValueError(msg)
        wrong = ~((table > 0) & (table <= 1))
        if bool(wrong.any()):
            level = int(wrong.nonzero()[0])
            msg = (
                f"betas must lie in (0, 1], shares of the variance, got {table[level].item():g} for level {level + 1}"
                " (of a table of alpha^2, betas are 1 - alpha_k^2 / alpha_{k-1}^2)"
            )
            raise ValueError(msg)
        early = table[:-1] == 1
        if bool(early.any()):
            msg = (
                f"beta is 1 at level {int(early.nonzero()[0]) + 1} of {len(table)}, and no later level keeps any"
                " signal: only the last may be 1; leave the later ones out"
            )
            raise ValueError(msg)
        # Of levels 0 to K - 1, where the intervals begin.
        squares = torch.cat([table.new_zeros(1), torch.log1p(-table[:-1]).cumsum(0)])
        self.levels = len(table)
        self._range = f"beta {table[0]:.3g} to {table[-1]:.3g}"
        self.register_constant("betas", table)
        self.register_constant("log_squares", squares)
        self.register_constant("noises", -torch.expm1(squares))

    @override
    def extra_repr(self) -> str:
        return f"{self.levels} levels, {self._range}"

    @override
    def log_alpha(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        below, share = self._place(t)
        return (self.log_squares.take(below) + torch.log1p(-share * self.betas.take(below))) / 2

    @override
    def log_sigma(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        below, share = self._place(t)
        fresh = share * self.log_squares.take(below).exp() * self.betas.take(below)
        return torch.log(self.noises.take(below) + fresh) / 2

    def _place(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the level below a time, 0 to K - 1, and the share of the way from it to the next."""
        level = t * len(self.betas)
        # Clamped as an integer: a NaN, which a wrong time has become on an accelerator, is none, and must not index.
        below = level.detach().floor().long().clamp(0, len(self.betas) - 1)
        return below, level - below
