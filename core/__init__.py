"""Ground floor: what every other part imports, and what those who write a new part may need."""

from .checks import Shape
from .constants import ConstantModule
from .from_data import FromData, FromFile, resolve
from .later import Later, later
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
