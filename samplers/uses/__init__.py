"""What is done with samplers: interpolations, trees of samples, restarts from degraded images."""

from .branching import Generation, Tree, branch
from .interpolation import Blend, interpolate, interpolate_seeds
from .restart import (
    Start,
    blurred_start,
    restart,
    time_of_blur,
    upsampled_start,
)

__all__ = [
    "Blend",
    "Generation",
    "Start",
    "Tree",
    "blurred_start",
    "branch",
    "interpolate",
    "interpolate_seeds",
    "restart",
    "time_of_blur",
    "upsampled_start",
]
