"""Transformers over patches: networks without convolutions, for signals of any number of axes."""

from .dit import DiT
from .patch_transformer import PatchTransformer

__all__ = ["DiT", "PatchTransformer"]
