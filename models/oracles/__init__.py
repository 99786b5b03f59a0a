"""Exact denoisers, for data whose distribution is known: what losses, bounds and samplers are proved with."""

from .base import Oracle
from .empirical import EmpiricalOracle
from .gaussian import GaussianOracle
from .mixture import MixtureOracle

__all__ = ["EmpiricalOracle", "GaussianOracle", "MixtureOracle", "Oracle"]
