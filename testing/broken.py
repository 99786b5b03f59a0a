"""The error that names a broken law."""

from __future__ import annotations


class BrokenLaw(AssertionError):  # noqa: N818  (reads as what it says)
    """A process breaks a law of linear-Gaussian processes. The message says which, where, by how much, and what to do.

    Attributes:
        law: the law's name.
        times: the times of the smallest example found, rising: (t,), (s, t) or (r, s, t); empty where time does
            not matter.
        coefficient: index of the coefficient that is worst there, or None where the law is not about single ones.
        amount: by how much the law is broken there, in the unit of the message's numbers; None if that is not a number.
    """

    def __init__(
        self,
        message: str,
        *,
        law: str,
        times: tuple[float, ...] = (),
        coefficient: tuple[int, ...] | None = None,
        amount: float | None = None,
    ) -> None:
        super().__init__(message)
        self.law = law
        self.times = times
        self.coefficient = coefficient
        self.amount = amount

    @property
    def t(self) -> float | None:
        """The later time of the example, if it has one."""
        return self.times[-1] if self.times else None

    @property
    def s(self) -> float | None:
        """The earlier time of the example, if it has two."""
        return self.times[-2] if len(self.times) > 1 else None
