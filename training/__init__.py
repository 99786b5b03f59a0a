"""Training: what a run is, its data, the loop, its folder and pictures, shared by all recipes."""

from .data import CIFAR10, ArrayExamples, DataSet, Digits, ImageFolder, PhotoCrops, Splits
from .description import describe_run
from .exporting import export_run
from .folder import RunFolder
from .launch import launch
from .loading import LoadedRun, load_run
from .loop import HeldOut
from .pretrained import PretrainedModel
from .run_config import Pictures, Precision, RunConfig, Training
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
    "PretrainedModel",
    "RunConfig",
    "RunFolder",
    "Splits",
    "Trainer",
    "Training",
    "describe_run",
    "export_run",
    "launch",
    "load_run",
]
