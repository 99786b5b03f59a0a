"""Ground floor: what every other part stands on, and what those who write a part of their own may need."""

from .checks import Shape
from .constants import ConstantModule
from .later import Later, later
from .randomness import white_noise

__all__ = ["ConstantModule", "Later", "Shape", "later", "white_noise"]
