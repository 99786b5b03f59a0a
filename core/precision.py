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


def to_product_dtype(tensor: Tensor) -> Tensor:
    """Return `tensor` in the dtype its matrix products are taken in: float64 where float32 would be rounded for them.

    TensorFloat-32, which users allow for speed, rounds what is multiplied to 11 bits: the error of a transform is then
    as large as the noise of heat dissipation. No device does that to float64, and unlike a setting that is changed for
    the time of a product it holds in gradients and compiled code, too.
    """
    rounded = tensor.dtype == torch.float32 and float32_products_are_rounded()
    return tensor.to(schedule_dtype(tensor.device)) if rounded else tensor


def float32_products_are_rounded() -> bool:
    """Tell whether torch may round the factors of float32 matrix products, by whichever of its settings."""
    # Since torch 2.9, where the older question is an error once newer settings were used.
    setting = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
    return torch.get_float32_matmul_precision() != "highest" if setting is None else setting == "tf32"


# A constant of compiled code, which is compiled again when the setting changes; torch.compiler.assume_constant_result
# does the same, but imports the compiler.
float32_products_are_rounded._dynamo_marked_constant = True  # noqa: SLF001  # pyright: ignore[reportFunctionMemberAccess]


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which autocast leaves this device's arithmetic alone."""
    kind = device.type
    if _has_autocast(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def _has_autocast(kind: str) -> bool:
    return torch.amp.is_autocast_available(kind)


# Compiled code could not ask torch 2.6.
_has_autocast._dynamo_marked_constant = True  # noqa: SLF001  # pyright: ignore[reportFunctionMemberAccess]
