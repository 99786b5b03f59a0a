"""Likelihoods: the bound and what it is made of, and the probability flow's."""

from .bound import BitsPerDim, Bound
from .elbo import ELBO
from .flow import FlowLikelihood, LogLikelihood
from .summation import FullSum, MonteCarlo, Summation
from .traces import ClosedFormTrace, ExactTrace, HutchinsonTrace, Trace

__all__ = [
    "ELBO",
    "BitsPerDim",
    "Bound",
    "ClosedFormTrace",
    "ExactTrace",
    "FlowLikelihood",
    "FullSum",
    "HutchinsonTrace",
    "LogLikelihood",
    "MonteCarlo",
    "Summation",
    "Trace",
]
