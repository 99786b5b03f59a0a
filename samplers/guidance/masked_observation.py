"""An observation of which each row of a batch lacks other numbers: a mask for each image."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import broadcast_to, check_mask, check_signal
from ...degradations import Basis, PixelBasis
from .observation import Observation


class MaskedObservation(Observation):
    """The numbers of another observation's y that are visible, other ones in each row: y_m = M (H x + s n).

    Args:
        observation: H and s.
        visible: the diagonal of M, as in `Observation.seen_where`.

    Raises:
        TypeError: `visible` is not a boolean tensor.
        ValueError: it does not fit the shape of observations.
    """

    visible: Tensor

    def __init__(self, observation: Observation, visible: Bool[Tensor, "rows ..."]) -> None:
        super().__init__(observation.shape, observation.observed_shape, noise_std=observation.noise_std)
        check_mask("visible", visible)
        rows = len(visible) if visible.ndim else 1
        visible = broadcast_to("visible", visible, (rows, *self.observed_shape), "the observations'")
        self.of = observation
        diagonal = observation.diagonal
        self._in_pixels = diagonal is not None and isinstance(diagonal[0], PixelBasis)
        if diagonal is not None and self._in_pixels:
            visible = visible & (diagonal[1] != 0)
        self.register_constant("visible", visible)

    @override
    def extra_repr(self) -> str:
        """Show how much is visible."""
        return f"visible={int(self.visible.sum())} of {self.visible.numel()}"

    @override
    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        return torch.where(self.visible, self.of(x), 0.0)

    @override
    def adjoint(self, y: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        return self.of.adjoint(self.coefficients(y))

    @property
    @override
    def diagonal(self) -> tuple[Basis, Tensor] | None:
        if not self._in_pixels or self.of.diagonal is None:
            return None
        # Still a number for each pixel, with the closed forms that this allows.
        basis, gain = self.of.diagonal
        return basis, torch.where(self.visible, gain, 0.0)

    @property
    @override
    def largest(self) -> float | Tensor:
        return self.of.largest

    @override
    def seen_where(self, visible: Bool[Tensor, "rows ..."]) -> MaskedObservation:
        check_mask("visible", visible)
        return MaskedObservation(self.of, self.visible & visible)

    @override
    def coefficients(self, y: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        return torch.where(self.visible, y, 0.0)

    @override
    def mean_square(self, coefficients: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        count = self.visible.flatten(1).sum(1).clamp(min=1)
        return coefficients.flatten(1).square().sum(1) / count

    @override
    def filled(self, y: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return y with what is not visible taken from H x."""
        check_signal("y", y, self.observed_shape)
        return torch.where(self.visible, y, self.of(x).to(y))
