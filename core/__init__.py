"""Ground floor: what every other part stands on, and what those who write a part of their own may need."""

from .checks import Shape
from .constants import ConstantModule
from .randomness import white_noise

__all__ = ["ConstantModule", "Shape", "white_noise"]
