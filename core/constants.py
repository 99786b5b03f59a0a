"""Constant tables that follow a module to its device but keep their precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .precision import schedule_dtype


class ConstantModule(nn.Module):
    """A module whose buffers are constants: moved by `.to(device)`, never rounded by `.to(dtype)`.

    Tables are computed from the constructor's arguments, so they do not enter the `state_dict`, and a
    `model.half()` meant for a network must not turn a frequency table into 11-bit numbers.
    """

    def register_constant(self, name: str, value: Tensor) -> None:
        """Register the constant tensor `value` as the attribute `name`, outside the `state_dict`."""
        self.register_buffer(name, value, persistent=False)

    def agrees_with(self, other: nn.Module) -> bool:
        """Tell whether `other` is this module or one of the same class with equal tables, a copy of it say."""
        if self is other:
            return True
        ours, theirs = dict(self.named_buffers()), dict(other.named_buffers())
        return (
            type(self) is type(other)
            and ours.keys() == theirs.keys()
            and all(torch.equal(table, theirs[name].to(table.device)) for name, table in ours.items())
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ConstantModule:  # noqa: FBT001, FBT002
        tables = {name: table for name, table in self._buffers.items() if table is not None}
        for name in tables:
            self._buffers[name] = None
        try:
            super()._apply(fn, recurse)
            moved = {name: _move(table, fn) for name, table in tables.items()}
        except BaseException:
            self._buffers.update(tables)
            raise
        self._buffers.update(moved)
        return self


def _move(table: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """Move `table` to the device that `fn` sends tensors to, in the best precision that device has."""
    # An empty tensor tells where `fn` leads without asking it to convert (a device without float64 would refuse).
    device = fn(torch.empty(0, dtype=torch.float32, device=table.device)).device
    if table.dtype == torch.float64:
        return table.to(device, schedule_dtype(device))
    return table.to(device)
