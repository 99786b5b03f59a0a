"""Ground floor: what every other part imports, and what those who write a new part may need."""

from .checks import Shape
from .configuration import FromData, FromFile, Later, later, resolve
from .constants import ConstantModule
from .randomness import white_noise

__all__ = [
    "ConstantModule",
    "FromData",
    "FromFile",
    "Later",
    "Shape",
    "later",
    "resolve",
    "white_noise",
]
