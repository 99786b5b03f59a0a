"""Sources of training images."""

from .images import DataRange, Images, ImageSplits
from .labelled import LabelledImages

__all__ = ["DataRange", "ImageSplits", "Images", "LabelledImages"]
