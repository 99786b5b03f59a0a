"""One page of a run, or of several side by side, that opens from a file: its process, its samples, its numbers."""

from .page import build_gallery

__all__ = ["build_gallery"]
