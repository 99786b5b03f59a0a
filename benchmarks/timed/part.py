"""What parts of the benchmark share: how long they take, whom unmelt is timed beside, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from measuring import Contenders, memory_can_be_measured, peak_memory, summary, take_turns
from torch import Tensor, nn

from unmelt.degradations import Basis
from unmelt.models import UNet

# Float32 rounding of four matrix products (or FFTs) of up to 512 numbers of size 1, found to be below 5e-6.
TOLERANCE = 2e-5


class Bound(NamedTuple):
    """A number that should not be larger, or smaller, than another.

    Attributes:
        what: what was measured.
        value: what was found.
        aim: what it should be.
        at_least: whether larger is better.
    """

    what: str
    value: float
    aim: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.value >= self.aim if self.at_least else self.value <= self.aim

    @property
    def row(self) -> list[str]:
        """What tables show of it."""
        side = "at least" if self.at_least else "at most"
        return [self.what, f"{self.value:.3g}", f"{side} {self.aim:g}", "met" if self.met else "not met"]


@dataclass(frozen=True)
class Plan:
    """How much is measured, and beside whom.

    Attributes:
        seconds: time spent on each row of numbers.
        smoke: whether everything is as small as it gets.
        released: folder of the released code of inverse heat dissipation.
        azula: folder that holds the package azula.
        k_diffusion: folder that holds the package k_diffusion.
        diffusers: whether diffusers is installed and taken along.
    """

    seconds: float
    smoke: bool
    released: Path | None
    azula: Path | None
    k_diffusion: Path | None
    diffusers: bool

    def small_network(self) -> UNet:
        """Return the U-Net of 4 M parameters for colour images of 32 x 32; a thinner one for a smoke test."""
        return UNet((3, 32, 32), channels=4 if self.smoke else 32)


@dataclass
class Found:
    """What a part has found.

    Attributes:
        cases: for each case what `measured` says of its contenders, and whatever else was counted.
        bounds: what of it should be within a bound.
    """

    cases: dict[str, Any] = field(default_factory=dict)
    bounds: list[Bound] = field(default_factory=list)


class DoNothing(nn.Module):
    """A network that does next to nothing, and whose outputs stay bounded, as a network's do."""

    def forward(self, z: Tensor, t: Tensor, condition: object = None) -> Tensor:
        """Return z within [-1, 1]."""
        return z.clamp(-1.0, 1.0)


def measured(contenders: Contenders, *, seconds: float, least: int = 7) -> dict[str, dict[str, float]]:
    """Return what `summary` says of contenders that took turns, and on Linux the memory of one more call of each."""
    numbers = summary(take_turns(contenders, seconds=seconds, least=least))
    for name, call in contenders.items() if memory_can_be_measured() else ():
        numbers[name]["peak_bytes"] = peak_memory(call)
    return numbers


def agree(what: str, results: list[Tensor]) -> None:
    """Check that results are the same number for number, up to rounding.

    Raises:
        ValueError: they are not; what would be timed is not the same work.
    """
    worst = max((result.double() - results[0].double()).abs().max().item() for result in results[1:])
    largest = results[0].abs().max().item()
    if not worst <= TOLERANCE * max(1.0, largest):
        msg = f"{what}: contenders differ by {worst:.3g}"
        raise ValueError(msg)


@contextmanager
def counted_transforms(basis: Basis, count: int) -> Generator[list[str]]:
    """Yield a list to which every transform of `count` signals, there or back, is added that is taken meanwhile.

    A call that takes twice as many at once is two.
    """
    done: list[str] = []
    names = ("analyse", "synthesise")

    def counted(name: str) -> Callable[[Tensor], Tensor]:
        transform = getattr(basis, name)

        def call(signals: Tensor) -> Tensor:
            done.extend([name] * (len(signals) // count))
            return transform(signals)

        return call

    for name in names:
        setattr(basis, name, counted(name))
    try:
        yield done
    finally:
        for name in names:
            # The class's own again.
            delattr(basis, name)


def seeded() -> None:
    """Begin torch's default generator anew, so that every part is the same whatever ran before it."""
    torch.manual_seed(0)
