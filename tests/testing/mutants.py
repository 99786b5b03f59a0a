"""A table of processes that are wrong in one way each, filled by the modules `wrong_*` beside it."""

from dataclasses import dataclass

from unmelt.degradations import CosineBasis
from unmelt.testing.strategies import Anisotropic

SHAPE = (2, 3, 4)


class Sound(Anisotropic):
    """Right; what it is wrong in is a subclass's."""

    def __init__(self):
        super().__init__(CosineBasis(SHAPE))


@dataclass
class Mutant:
    """A wrong process: the law that it breaks, a pattern of the message, and whether no other law sees it."""

    build: type
    law: str
    message: str
    alone: bool


MUTANTS: list[Mutant] = []


def mutant(law, message, *, alone=True):
    """Register the class below."""

    def register(build):
        MUTANTS.append(Mutant(build, law, message, alone))
        return build

    return register


def changed(value, index, by):
    """Return a copy of a tensor of shape (..., *SHAPE) with something added to one coefficient."""
    value = value.expand(*value.shape[:-3], *SHAPE).clone()
    value[(..., *index)] += by
    return value
