"""Data sets: each a value in a file of its own that says where images come from."""

from .cifar10 import CIFAR10
from .data_set import DataSet
from .digits import Digits
from .image_folder import ImageFolder
from .images import Images, ImageSplits
from .labelled import LabelledImages
from .photo_crops import PhotoCrops

__all__ = [
    "CIFAR10",
    "DataSet",
    "Digits",
    "ImageFolder",
    "ImageSplits",
    "Images",
    "LabelledImages",
    "PhotoCrops",
]
