"""The names that calls in texts may use: what unmelt's packages and `torch.optim` make public, and what is trusted.

A text that comes with a run may be somebody else's. It names what is public here, and nothing else is imported for it.
Modules of the user's are looked into where they are trusted: by whoever types their name, or by a list.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import user_modules
from .signatures import is_named, made_by

# No name is public in two of them.
PACKAGES = (
    "unmelt.core",
    "unmelt.degradations",
    "unmelt.models",
    "unmelt.losses",
    "unmelt.samplers",
    "torch.optim",
    "unmelt.training.data",
)


class Names:
    """What can be named in a text.

    Args:
        trusted: modules and files of the user's that may be imported: `own`, `package.module`, `path/to/file.py`. What
            lies in a trusted package is trusted.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = [user_modules.split(name)[0] or name for name in trusted]

    def find(self, name: str) -> Any:
        """Return the class, function, classmethod or enum member called `name`, or None for an unknown simple name.

        Raises:
            ValueError: part of the name is found and the rest is not, or its module is not trusted or not importable.
        """
        package = next((package for package in PACKAGES if name.startswith(f"{package}.")), "")
        head, *rest = name.removeprefix(f"{package}.").split(".")
        found, within = _public().get(head), head
        if found is None:
            place = user_modules.split(name)[0] or (head if rest and not package else "")
            if self._is_trusted(name):
                found, within, rest = user_modules.locate(name)
            elif place:
                msg = (
                    f"{name!r} is not one of unmelt's names, and nothing else is imported unless it is trusted: "
                    f"trusted=({place!r},) in Python, --trust {place} in a command"
                )
                raise ValueError(msg)
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

    def _is_trusted(self, name: str) -> bool:
        file = user_modules.split(name)[0]
        if file:
            return Path(file).expanduser().resolve() in [Path(place).expanduser().resolve() for place in self._trusted]
        return any(f"{name}.".startswith(f"{place}.") for place in self._trusted)


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
