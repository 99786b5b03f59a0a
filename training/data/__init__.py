"""Data sets: each a value in a file of its own that says where examples come from."""

from .array_file import ArrayFile, Channels
from .arrays import ArrayExamples
from .checking import DataReport, check_data
from .cifar10 import CIFAR10
from .data_set import DataSet
from .digits import Digits
from .examples import Examples, Splits
from .hub import HubImages
from .idx_files import IDXFiles
from .image_folder import ImageFolder
from .mnist_sample import MNISTSample
from .photo_crops import PhotoCrops
from .picture_data import PictureDataSet
from .stream import HubStream
from .unreadable import UnreadableError

__all__ = [
    "CIFAR10",
    "ArrayExamples",
    "ArrayFile",
    "Channels",
    "DataReport",
    "DataSet",
    "Digits",
    "Examples",
    "HubImages",
    "HubStream",
    "IDXFiles",
    "ImageFolder",
    "MNISTSample",
    "PhotoCrops",
    "PictureDataSet",
    "Splits",
    "UnreadableError",
    "check_data",
]
