"""Guidance: denoisers that steer samples, towards a class or towards what has been observed. Any sampler takes them."""

from .classifier_free import ClassifierFreeGuidance
from .conditional_latents import conditional_latents
from .covariance import CovarianceGuidance
from .diffusion_posterior import DiffusionPosteriorSampling
from .observations import LinearObservation
from .pseudo_inverse import PseudoInverseGuidance
from .restoration import Restoration, RestorationErrors, restore

__all__ = [
    "ClassifierFreeGuidance",
    "CovarianceGuidance",
    "DiffusionPosteriorSampling",
    "LinearObservation",
    "PseudoInverseGuidance",
    "Restoration",
    "RestorationErrors",
    "conditional_latents",
    "restore",
]
