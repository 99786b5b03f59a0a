"""What is done with samplers: encoding, interpolation, branching, restarts from degraded images."""

from .branching import Generation, Tree, branch
from .encoding import encode
from .interpolation import Blend, interpolate, interpolate_seeds
from .restart import Start, blurred_start, restart, time_of_blur, upsampled_start

__all__ = [
    "Blend",
    "Generation",
    "Start",
    "Tree",
    "blurred_start",
    "branch",
    "encode",
    "interpolate",
    "interpolate_seeds",
    "restart",
    "time_of_blur",
    "upsampled_start",
]
