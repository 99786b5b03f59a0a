"""Orthonormal bases in which processes are diagonal."""

from .base import Basis
from .cosine import CosineBasis
from .pixel import PixelBasis

__all__ = ["Basis", "CosineBasis", "PixelBasis"]
