"""Measures of a trained model's samples."""

from .recognition import Recogniser, Recognition

__all__ = ["Recogniser", "Recognition"]
