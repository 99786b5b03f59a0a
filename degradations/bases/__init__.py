"""Orthonormal bases in which processes are diagonal."""

from .base import Basis
from .colours import opponent_basis, opponent_colours
from .cosine import CosineBasis
from .eigen import EigenBasis
from .fourier import FourierBasis
from .haar import HaarBasis
from .hartley import HartleyBasis
from .laplacian import LaplacianBasis
from .matrix import MatrixBasis
from .pca import FittedPCA, PCABasis
from .pixel import PixelBasis
from .product import ProductBasis
from .separable import SeparableBasis
from .sine import SineBasis

__all__ = [
    "Basis",
    "CosineBasis",
    "EigenBasis",
    "FittedPCA",
    "FourierBasis",
    "HaarBasis",
    "HartleyBasis",
    "LaplacianBasis",
    "MatrixBasis",
    "PCABasis",
    "PixelBasis",
    "ProductBasis",
    "SeparableBasis",
    "SineBasis",
    "opponent_basis",
    "opponent_colours",
]
