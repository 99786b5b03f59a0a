"""Guidance: denoisers that steer samples, towards a class or towards what has been observed. Any sampler takes them."""

from .classifier_free import ClassifierFreeGuidance
from .conditional_latents import conditional_latents
from .covariance import CovarianceGuidance
from .diffusion_posterior import DiffusionPosteriorSampling
from .linear_observation import LinearObservation
from .observation import Observation
from .operator_observation import OperatorObservation
from .pseudo_inverse import PseudoInverseGuidance
from .restoration import Restoration, RestorationErrors, restore

__all__ = [
    "ClassifierFreeGuidance",
    "CovarianceGuidance",
    "DiffusionPosteriorSampling",
    "LinearObservation",
    "Observation",
    "OperatorObservation",
    "PseudoInverseGuidance",
    "Restoration",
    "RestorationErrors",
    "conditional_latents",
    "restore",
]
