"""The tensor product of bases, each on different axes: a rotation of colours with a cosine transform of the plane."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...core.checks import check_instance
from .base import Basis


class ProductBasis(Basis):
    """The tensor product V_1 x V_2 x ...: every basis transforms its own axes and leaves the others alone.

    `ProductBasis(MatrixBasis((3,), opponent_colours()), CosineBasis((32, 32), axes=2))` is a basis of signals of shape
    (3, 32, 32). As one matrix on flattened signals it is the Kronecker product of the factors' matrices.

    Args:
        bases: the factors, at least one, in the order of the axes.

    Attributes:
        shape: the factors' shapes, one after the other.

    Raises:
        TypeError: an argument is not a `Basis`.
        ValueError: there is no argument.
    """

    def __init__(self, *bases: Basis) -> None:
        for basis in bases:
            check_instance("each of bases", basis, Basis, "MatrixBasis(shape, V) for a matrix V")
        super().__init__([size for basis in bases for size in basis.shape])
        self.factors = nn.ModuleList(bases)

    @override
    def agrees_with(self, other: nn.Module) -> bool:
        return (
            super().agrees_with(other)
            and isinstance(other, ProductBasis)
            and len(self.factors) == len(other.factors)
            and all(ours.agrees_with(theirs) for ours, theirs in zip(self._bases(), other.factors, strict=True))
        )

    @override
    def analyse(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        for basis, axes, last in self._places():
            x = torch.movedim(basis.analyse(torch.movedim(x, axes, last)), last, axes)
        return x

    @override
    def synthesise(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        for basis, axes, last in self._places():
            u = torch.movedim(basis.synthesise(torch.movedim(u, axes, last)), last, axes)
        return u

    def _bases(self) -> list[Basis]:
        return [basis for basis in self.factors if isinstance(basis, Basis)]

    def _places(self) -> list[tuple[Basis, tuple[int, ...], tuple[int, ...]]]:
        """Return every factor, the axes it acts on, and the last axes, where it expects them."""
        places: list[tuple[Basis, tuple[int, ...], tuple[int, ...]]] = []
        start = -len(self.shape)
        for basis in self._bases():
            stop = start + len(basis.shape)
            places.append((basis, tuple(range(start, stop)), tuple(range(-len(basis.shape), 0))))
            start = stop
        return places
