"""Measures of a trained model: its bound on data, and what its samples look like."""

from .bound_report import Breakdown, Figure, LikelihoodReport, evaluate_bound
from .energy import energy_distance
from .feature_networks import EfficientNetFeatures, FeatureNetwork, InceptionFeatures, features_of
from .frechet import FeatureStatistics, frechet_distance
from .image_set import Gauge, ImageSet, Look
from .kernel_distance import KernelDistance, kernel_distance
from .manifold import Manifold, compare_manifolds
from .memorisation import Memorisation, assess_memorisation
from .metric import Metric
from .neighbours import Neighbours, nearest_neighbours
from .power_spectrum import FittedPowerLaw, PowerEstimator, PowerSpectrum, octaves, power_spectrum, rings
from .recognition import Recogniser, Recognition
from .recognition_report import report_recognition
from .sample_report import ClassShares, Distance, FeatureDistances, OctavePower, RealImages, SampleReport

__all__ = [
    "Breakdown",
    "ClassShares",
    "Distance",
    "EfficientNetFeatures",
    "FeatureDistances",
    "FeatureNetwork",
    "FeatureStatistics",
    "Figure",
    "FittedPowerLaw",
    "Gauge",
    "ImageSet",
    "InceptionFeatures",
    "KernelDistance",
    "LikelihoodReport",
    "Look",
    "Manifold",
    "Memorisation",
    "Metric",
    "Neighbours",
    "OctavePower",
    "PowerEstimator",
    "PowerSpectrum",
    "RealImages",
    "Recogniser",
    "Recognition",
    "SampleReport",
    "assess_memorisation",
    "compare_manifolds",
    "energy_distance",
    "evaluate_bound",
    "features_of",
    "frechet_distance",
    "kernel_distance",
    "nearest_neighbours",
    "octaves",
    "power_spectrum",
    "report_recognition",
    "rings",
]
