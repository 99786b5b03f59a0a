"""Guidance: denoisers that steer samples, towards a class or towards what has been observed. Any sampler takes them."""

from .classifier_free import ClassifierFreeGuidance
from .covariance import CovarianceGuidance
from .diffusion_posterior import DiffusionPosteriorSampling
from .observations import LinearObservation
from .pseudo_inverse import PseudoInverseGuidance
from .starts import latents_given

__all__ = [
    "ClassifierFreeGuidance",
    "CovarianceGuidance",
    "DiffusionPosteriorSampling",
    "LinearObservation",
    "PseudoInverseGuidance",
    "latents_given",
]
