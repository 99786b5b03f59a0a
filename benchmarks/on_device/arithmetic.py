"""What torch may take products of float32 in, for some time."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def products(setting: str) -> Generator[None, None, None]:
    """Take matrix products in "highest", "high" or "medium" precision: only the first is float32."""
    chosen = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(chosen)


@contextmanager
def convolutions(*, tf32: bool) -> Generator[None, None, None]:
    """Take convolutions on CUDA in TensorFloat-32, as torch does by itself, or in float32."""
    chosen = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = chosen
