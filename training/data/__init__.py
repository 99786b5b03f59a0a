"""Sources of training images."""

from .images import DataRange, Images, ImageSplits

__all__ = ["DataRange", "ImageSplits", "Images"]
