"""A law is a sentence about a process and a function that finds out whether it holds for one example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ..degradations import Coupling, LinearGaussianProcess, Markov
from .advice import advice_on, first_line, raising_coefficient


@dataclass(frozen=True)
class Example:
    """What a law is tried on: what hypothesis draws, and makes small once the law is broken.

    Attributes:
        times: as many as the law asks for, rising.
        seed: seed of the signals.
        batch: number of signals, or of times, in a batch.
        coupling: correlation of the noises of two levels.
    """

    times: tuple[float, ...] = ()
    seed: int = 0
    batch: int = 2
    coupling: Coupling = field(default_factory=Markov)

    @property
    def t(self) -> float:
        """The latest time."""
        return self.times[-1]

    @property
    def pair(self) -> tuple[float, float]:
        """The two latest times s <= t."""
        s, t = self.times[-2:]
        return s, t


class Violation(Exception):  # noqa: N818  (never leaves this package: check_process makes a BrokenLaw of it)
    """What a law raises when an example breaks it: what is wrong, and where it is if that is known.

    `advice` takes the place of the law's own where the kind of mistake is known.
    """

    def __init__(
        self,
        what: str,
        *,
        times: tuple[float, ...] | None = None,
        coefficient: tuple[int, ...] | None = None,
        amount: float | None = None,
        cause: Exception | None = None,
        advice: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what, self.times, self.coefficient, self.amount = what, times, coefficient, amount
        self.cause, self.advice = cause, advice


Check = Callable[[LinearGaussianProcess, Example], None]


@dataclass(frozen=True)
class Law:
    """A law of linear-Gaussian processes.

    Attributes:
        name: the law, as a sentence.
        advice: what a process needs, or the usual cause of breaking the law; sentences.
        check: raises `Violation` if the example breaks the law.
        times: how many times an example has.
        once: one example says it all.
    """

    name: str
    advice: str
    check: Check
    times: int = 1
    once: bool = False

    def violation(self, process: LinearGaussianProcess, example: Example) -> Violation | None:
        """Return how the example breaks the law, or None. An exception of the process's own code breaks it, too."""
        try:
            with torch.no_grad():
                self.check(process, example)
        except Violation as violation:
            return violation
        except Exception as error:
            return raised(error)
        return None


def raised(error: Exception) -> Violation:
    """Return the violation that an exception of the process's own code is."""
    name, kind = raising_coefficient(error), type(error).__name__
    what = f"{kind} is raised: {first_line(error)}" if name is None else f"{name}(t) raises {kind}: {first_line(error)}"
    return Violation(what, cause=error, advice=None if name is None else advice_on(error))


def law(name: str, advice: str, *, times: int = 1) -> Callable[[Check], Law]:
    """Make a law of the function below: `@law("the log-SNR never rises", "...", times=2)`."""
    return lambda check: Law(name, advice, check, times)


def law_at_once(name: str, advice: str) -> Callable[[Callable[[LinearGaussianProcess], None]], Law]:
    """Make a law of the function below, which needs no example but the process."""
    return lambda check: Law(name, advice, lambda process, _: check(process), once=True)
