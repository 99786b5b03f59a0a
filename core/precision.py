"""Which dtype arithmetic is done in: schedules in float64 where the device has it, signals never below float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Devices whose hardware knows no float64; constants live there in float32.
_WITHOUT_FLOAT64 = frozenset({"mps"})


def schedule_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype in which schedules are computed on `device`: float64, or float32 where there is none."""
    return torch.float32 if device.type in _WITHOUT_FLOAT64 else torch.float64


def to_compute_dtype(tensor: Tensor) -> Tensor:
    """Return `tensor` in the dtype its arithmetic is done in: float64 stays, everything else becomes float32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.to(torch.float32)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which autocast leaves this device's arithmetic alone."""
    kind = device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
