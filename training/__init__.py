"""Training: what a run is, its data, the loop, its folder and pictures, shared by all recipes."""

from .data import CIFAR10, ArrayExamples, DataSet, Digits, ImageFolder, PhotoCrops, Splits
from .held_out import HeldOut
from .launch import launch
from .loading import LoadedRun, load_run
from .run_config import Pictures, Precision, RunConfig, Training
from .run_folder import RunFolder
from .trainer import Trainer

__all__ = [
    "CIFAR10",
    "ArrayExamples",
    "DataSet",
    "Digits",
    "HeldOut",
    "ImageFolder",
    "LoadedRun",
    "PhotoCrops",
    "Pictures",
    "Precision",
    "RunConfig",
    "RunFolder",
    "Splits",
    "Trainer",
    "Training",
    "launch",
    "load_run",
]
