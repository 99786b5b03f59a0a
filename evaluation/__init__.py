"""Measures of a trained model: likelihoods, and what its samples look like."""

from .flow import FlowCoefficients, FlowLikelihood, LogLikelihood, flow_coefficients
from .likelihood import Breakdown, Figure, LikelihoodReport, evaluate_bound
from .recognition import Recogniser, Recognition
from .traces import ClosedFormTrace, ExactTrace, HutchinsonTrace, Trace

__all__ = [
    "Breakdown",
    "ClosedFormTrace",
    "ExactTrace",
    "Figure",
    "FlowCoefficients",
    "FlowLikelihood",
    "HutchinsonTrace",
    "LikelihoodReport",
    "LogLikelihood",
    "Recogniser",
    "Recognition",
    "Trace",
    "evaluate_bound",
    "flow_coefficients",
]
