"""How squared errors add up over an example: a sum or a mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reduction:
    """How squared errors add up over the n coefficients of one example: their sum times `weight(n)`."""

    def weight(self, coefficients: Any) -> Any:
        """Return w for signals of this many coefficients, a float; of a tensor of numbers, one for each of them."""
        return 0.0 * coefficients + 1.0


@dataclass(frozen=True)
class SumOverDimensions(Reduction):
    """w = 1: squared norm of the error, as in the released code of inverse heat dissipation."""


@dataclass(frozen=True)
class MeanOverDimensions(Reduction):
    """w = 1 / n: mean squared error, as DDPM and most code after it trains."""

    def weight(self, coefficients: Any) -> Any:
        """Return 1 / n."""
        return 1.0 / coefficients
