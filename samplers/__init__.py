"""Samplers: from the prior back to data."""

from .posterior import PosteriorSampler, Trajectory

__all__ = ["PosteriorSampler", "Trajectory"]
