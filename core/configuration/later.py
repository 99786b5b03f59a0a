"""Calls whose first arguments come later: a constructor and its settings, as a value.

    process = later(HeatDissipation, levels=200)
    process((3, 32, 32))                          # HeatDissipation((3, 32, 32), levels=200)

What a recipe chooses cannot be made where it is chosen: a process needs the data's shape, a prior the process and the
data. `later` writes the call down without its first arguments. The settings keep the constructor's own names and types,
so a type checker finds a wrong one; the value can be printed, compared and stored.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar, cast, overload

from .signatures import defaults, is_named, listed, named, why_no_setting

First = ParamSpec("First")
Settings = ParamSpec("Settings")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
Made_co = TypeVar("Made_co", covariant=True)


class Later(Generic[First, Made_co]):
    """A call whose first arguments come later: call it with them. Made by `later`, frozen, comparable and hashable.

    Two are equal if they make the same thing of the same arguments: settings that are left out count with their
    defaults, and a class or function is equal to the call of it without settings.

    Args:
        make: what is called: a class, a function or a classmethod.
        settings: its arguments by name; sequences are kept as tuples.

    Attributes:
        make: what is called.
        settings: the arguments by name, as given.
    """

    __slots__ = ("make", "settings")

    make: Callable[..., Made_co]
    settings: Mapping[str, object]

    def __init__(self, make: Callable[..., Made_co], settings: Mapping[str, object]) -> None:
        object.__setattr__(self, "make", make)
        object.__setattr__(self, "settings", MappingProxyType({k: _frozen(v) for k, v in settings.items()}))

    def __call__(self, *first: First.args, **more: First.kwargs) -> Made_co:
        """Return what is made of these first arguments and the settings; an error's note says which call it was."""
        try:
            return self.make(*first, **self.settings, **more)
        except Exception as error:
            error.add_note(f"while making {self!r}")
            raise

    def complete(self) -> dict[str, object]:
        """Return all settings in the parameters' order, those left out with the defaults that they have."""
        known = defaults(self.make) | dict(self.settings)
        return {name: known[name] for name in {**named(self.make), **known} if name in known}

    def __eq__(self, other: object) -> bool:
        if is_named(other):
            other = Later(cast("Callable[..., object]", other), {})
        if not isinstance(other, Later):
            return NotImplemented
        theirs = cast("Later[..., object]", other)
        if self.make != theirs.make:
            return False
        mine, others = self.complete(), theirs.complete()
        return mine.keys() == others.keys() and all(same(value, others[name]) for name, value in mine.items())

    def __hash__(self) -> int:
        # Settings left out and written out are equal, and settings need not be hashable.
        return hash(self.make)

    def __repr__(self) -> str:
        from .writing import shown  # noqa: PLC0415 - writing knows what a Later is

        return shown(self)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"cannot set {name} of {self!r}: it is frozen; write another later(...)"
        raise dataclasses.FrozenInstanceError(msg)

    def __reduce__(self) -> tuple[type[Later[..., Any]], tuple[Callable[..., Any], dict[str, object]]]:
        return Later, (self.make, dict(self.settings))


@overload
def later(
    make: Callable[Concatenate[A, Settings], Made_co], /, *_: Settings.args, **settings: Settings.kwargs
) -> Later[[A], Made_co]: ...
@overload
def later(
    make: Callable[Concatenate[A, B, Settings], Made_co], /, *_: Settings.args, **settings: Settings.kwargs
) -> Later[[A, B], Made_co]: ...
@overload
def later(
    make: Callable[Concatenate[A, B, C, Settings], Made_co], /, *_: Settings.args, **settings: Settings.kwargs
) -> Later[[A, B, C], Made_co]: ...
def later(make: Callable[..., Any], /, *_: Any, **settings: Any) -> Later[..., Any]:
    """Return the call of `make` with these settings, whose first argument, or first two or three, come later.

    Args:
        make: a class, a function or a classmethod, such as `HeatDissipation` or `SpectralDiffusion.power_law`.
        *_: nothing; settings are given by name.
        **settings: arguments of `make`, by name.

    Raises:
        TypeError: `make` cannot be called later, it has no such setting, or one is given by position.
    """
    if not is_named(make):
        got = " ".join(repr(make).split())
        msg = f"later takes what is called later, such as later(HeatDissipation, levels=200), got {got:.80}"
        raise TypeError(msg)
    there = named(make, first=1)
    if _:
        given = ", ".join(f"{value!r:.40}" for value in _)
        msg = f"{make.__qualname__}: give settings by name, got {given}; {listed(there)}"
        raise TypeError(msg)
    for setting in settings:
        if (why := why_no_setting(make, setting, there)) is not None:
            raise TypeError(why)
    return Later(make, settings)


def same(one: object, other: object) -> bool:
    """Tell whether two settings are equal; what gives no plain answer, as tensors do, is equal to itself alone."""
    # NaN, read again, is the same setting.
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    try:
        return one is other or bool(one == other)
    except (RuntimeError, TypeError, ValueError):
        return False


def _frozen(value: object) -> object:
    return tuple(_frozen(item) for item in cast("list[object]", value)) if isinstance(value, list) else value
