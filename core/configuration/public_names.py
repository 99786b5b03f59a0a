"""The names that calls in texts may use: what unmelt's packages and `torch.optim` make public, and the user's.

A text that comes with a run may be somebody else's. It names what is public here, and nothing else is imported for it:
a name of the user's is refused as it stands, unless their code is trusted, as that of whoever types it is.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import copied_modules, user_modules
from .signatures import is_named, made_by

# No name is public in two of them.
PACKAGES = (
    "unmelt.core",
    "unmelt.degradations",
    "unmelt.models",
    "unmelt.losses",
    # Before what it is in, as names are looked for in this order.
    "unmelt.samplers.guidance",
    "unmelt.samplers",
    "torch.optim",
    "unmelt.training.data",
)


class Names:
    """What can be named in a text.

    Args:
        trust_code: import the modules and files of the user's that are named. Without it nothing is imported for a
            name, nor looked for.
        known: names of the user's that need no trust, since what they stand for is imported already.
        copies: folder of copies of the user's modules, which count before the modules themselves.
    """

    def __init__(self, *, trust_code: bool = False, known: Iterable[str] = (), copies: Path | None = None) -> None:
        self._trust_code, self._known, self._copies = trust_code, tuple(known), copies

    def find(self, name: str) -> Any:
        """Return the class, function, classmethod or enum member called `name`, or None for an unknown simple name.

        Raises:
            ValueError: part of the name is found and the rest is not, it is the user's and their code is not trusted,
                or it cannot be imported.
        """
        package = next((package for package in PACKAGES if name.startswith(f"{package}.")), "")
        head, *rest = name.removeprefix(f"{package}.").split(".")
        found, within = _public().get(head), head
        if found is None and (user_modules.split(name)[0] or (rest and not package)):
            found, within, rest = self._locate(name)
        for part in rest if found is not None else ():
            found, within = user_modules.member(found, part, within), f"{within}.{part}"
        return found

    def all(self) -> dict[str, Any]:
        """Return all public names with what they stand for, classmethods as `Class.method` after their class."""
        found = _public()
        inner = {
            f"{name}.{part}": value
            for name, thing in found.items()
            for part, value in user_modules.members(thing).items()
            # Inherited ones too, if they make the class that they are called on.
            if inspect.ismethod(value) and (part in vars(thing) or made_by(value) is thing)
        }
        return dict(sorted((found | inner).items()))

    def _locate(self, name: str) -> tuple[object, str, list[str]]:
        """Return the user's module that a name begins with, what it is called, and the names that follow."""
        if not self._trust_code and not any(f"{name}.".startswith(f"{known}.") for known in self._known):
            msg = (
                f"{name!r:.200} is not one of unmelt's names, and code of the user's is not run unless it is trusted:"
                " read it, and give trust_code=True in Python or --trust-code in a command"
            )
            raise ValueError(msg)
        copied = self._copies and copied_modules.locate(name, self._copies)
        return copied or user_modules.locate(name)


def name_of(thing: Callable[..., object]) -> str:
    """Return the name by which `Names.find` finds a class, function or classmethod: the public one where it has one.

    Raises:
        TypeError: it cannot be found by any name.
    """
    owner = getattr(thing, "__self__", None)
    if inspect.ismethod(thing) and inspect.isclass(owner):
        return f"{name_of(owner)}.{thing.__name__}"
    return thing.__name__ if is_public(thing) else user_modules.name_of(thing)


def is_public(thing: Callable[..., object]) -> bool:
    """Tell whether a class or function has a public name."""
    # Packages that are not imported yet have made nothing that could be asked for.
    imported = [sys.modules[package] for package in PACKAGES if package in sys.modules]
    name = thing.__name__
    return any(name in getattr(m, "__all__", ()) and getattr(m, name, None) is thing for m in imported)


def _public() -> dict[str, Any]:
    """Return the classes and functions that packages list."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        try:
            module = importlib.import_module(package)
        except ImportError:
            # It, or an extra that it needs, is not installed: its names are not there.
            continue
        found |= {name: getattr(module, name, None) for name in module.__all__}
    return {name: thing for name, thing in found.items() if is_named(thing)}
