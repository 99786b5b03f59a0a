"""What is said of examples that cannot be read: those of one fault together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

# Faults that are told one by one, and examples that are named for each.
_FAULTS, _NAMED = 20, 5


class DataError(ValueError):
    """Data turned out not to be what they were taken for, in the middle of a run."""


@final
class Reason(str):
    """Why an example cannot be read: its name and the fault, as one text.

    Args:
        fault: what is wrong with it.
        name: its name; empty where the fault says which example it is.

    Attributes:
        fault: as given.
        name: as given.
    """

    __slots__ = ("fault", "name")
    fault: str
    name: str

    def __new__(cls, fault: str, name: str = "") -> Reason:
        """Make the text."""
        made = super().__new__(cls, f"{name} {fault}" if name else fault)
        made.fault, made.name = fault, name
        return made

    def __reduce__(self) -> tuple[type[Reason], tuple[str, str]]:
        """Let it come out of a worker process."""
        return type(self), (self.fault, self.name)


class UnreadableError(DataError):
    """An example cannot be read.

    Attributes:
        index: its number.
        reason: its name, and what is wrong with it.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index, self.reason = index, reason

    def __reduce__(self) -> tuple[type[UnreadableError], tuple[int, str]]:
        """Let it come out of a worker process."""
        return type(self), (self.index, self.reason)


def described(unreadable: Mapping[int, str], count: int, *, named: int = _NAMED) -> str:
    """Say which of `count` examples are unreadable, and why, each fault once.

    Args:
        unreadable: reasons, by number.
        count: of all examples.
        named: examples of each fault that are named.
    """
    if len(unreadable) == 1:
        return next(iter(unreadable.values()))
    faults = dict[str, list[str]]()
    for index in sorted(unreadable):
        reason = unreadable[index]
        fault, name = (reason.fault, reason.name) if isinstance(reason, Reason) else (reason, "")
        faults.setdefault(fault, []).append(name)
    # The rarest first: one damaged file is not lost behind a thousand transparent ones.
    rarest = sorted(faults.items(), key=lambda each: len(each[1]))
    more = f"; and {len(rarest) - _FAULTS} other faults" if len(rarest) > _FAULTS else ""
    told = "; ".join(_of_fault(fault, names, named) for fault, names in rarest[:_FAULTS])
    return f"{len(unreadable)} of {count} examples cannot be read: {told}{more}"


def _of_fault(fault: str, names: list[str], named: int) -> str:
    """Say what is wrong with one example, and which others have the same fault."""
    first, *others = names
    text = f"{first} {fault}" if first else fault
    if not others:
        return text
    some = [name for name in others[: named - 1] if name]
    which = f": {', '.join(some)}{', ...' if len(others) > len(some) else ''}" if some else ""
    return f"{text} (and so {len(others)} more{which})"
