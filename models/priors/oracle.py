"""The exact prior of data whose distribution is known."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance
from ...core.randomness import white_noise
from ..oracles import Oracle
from .base import Prior


class OraclePrior(Prior):
    """The marginal at t = 1 of an oracle's data, exactly: with it a bound's only gap is the denoiser's and the grid's.

    Args:
        oracle: the exact denoiser of that data, whose process the prior takes.

    Raises:
        TypeError: `oracle` is not an `Oracle`.
    """

    def __init__(self, oracle: Oracle) -> None:
        check_instance("oracle", oracle, Oracle, "such as EmpiricalOracle(process, data)")
        super().__init__(oracle.process)
        self.oracle = oracle

    @override
    @torch.no_grad()
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        x = self.oracle.sample(count, generator=generator)
        noise = white_noise(x.shape, like=x, generator=generator)
        return self.process.corrupt(x, noise, 1.0).float()

    @override
    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        # There is no density where a coefficient has neither variance nor noise.
        return self.oracle.log_prob(self._latent(z), 1.0)
