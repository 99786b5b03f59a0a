"""Measures of a trained model: its bound on data, and what its samples look like."""

from .bound_report import Breakdown, Figure, LikelihoodReport, evaluate_bound
from .memorisation import Memorisation, assess_memorisation
from .neighbours import Neighbours, nearest_neighbours
from .recognition import Recogniser, Recognition
from .recognition_report import report_recognition

__all__ = [
    "Breakdown",
    "Figure",
    "LikelihoodReport",
    "Memorisation",
    "Neighbours",
    "Recogniser",
    "Recognition",
    "assess_memorisation",
    "evaluate_bound",
    "nearest_neighbours",
    "report_recognition",
]
