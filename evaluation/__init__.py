"""Measures of a trained model: its bound on data, and what its samples look like."""

from .bound_report import Breakdown, Figure, LikelihoodReport, evaluate_bound
from .energy import energy_distance
from .feature_networks import EfficientNetFeatures, FeatureNetwork, InceptionFeatures, features_of
from .frechet import FeatureStatistics, frechet_distance
from .kernel_distance import KernelDistance, kernel_distance
from .manifold import Manifold, compare_manifolds
from .memorisation import Memorisation, assess_memorisation
from .neighbours import Neighbours, nearest_neighbours
from .recognition import Recogniser, Recognition
from .recognition_report import report_recognition

__all__ = [
    "Breakdown",
    "EfficientNetFeatures",
    "FeatureNetwork",
    "FeatureStatistics",
    "Figure",
    "InceptionFeatures",
    "KernelDistance",
    "LikelihoodReport",
    "Manifold",
    "Memorisation",
    "Neighbours",
    "Recogniser",
    "Recognition",
    "assess_memorisation",
    "compare_manifolds",
    "energy_distance",
    "evaluate_bound",
    "features_of",
    "frechet_distance",
    "kernel_distance",
    "nearest_neighbours",
    "report_recognition",
]
