"""Measures of a trained model: likelihoods, and what its samples look like."""

from .flow import FlowLikelihood, LogLikelihood
from .likelihood import Breakdown, Figure, LikelihoodReport, evaluate_bound
from .memorisation import Memorisation, assess_memorisation
from .neighbours import Neighbours, nearest_neighbours
from .recognition import Recogniser, Recognition
from .traces import ClosedFormTrace, ExactTrace, HutchinsonTrace, Trace

__all__ = [
    "Breakdown",
    "ClosedFormTrace",
    "ExactTrace",
    "Figure",
    "FlowLikelihood",
    "HutchinsonTrace",
    "LikelihoodReport",
    "LogLikelihood",
    "Memorisation",
    "Neighbours",
    "Recogniser",
    "Recognition",
    "Trace",
    "assess_memorisation",
    "evaluate_bound",
    "nearest_neighbours",
]
