"""What docstrings say of a constructor: its first sentence, and a line or two for every setting.

Settings are described in the `Args:` or `Attributes:` section of Google's style. What a class does not say itself, its
base classes may.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

_SECTION = re.compile(r"(Args|Arguments|Attributes|Parameters):\s*$")
# What is indented further goes on with an entry.
_ENTRY = re.compile(r" {1,4}\*{0,2}(?P<name>\w+)(?:\s*\([^)]*\))?:\s*(?P<text>.*)$")


def summary(thing: object) -> str:
    """Return the first paragraph of a class's or function's docstring as one line, "" where there is none."""
    # A dataclass without a docstring has its signature there.
    text = inspect.getdoc(thing) or ""
    first = " ".join(text.split("\n\n")[0].split())
    return "" if first.startswith(f"{getattr(thing, '__name__', '')}(") else first


def settings_text(make: Callable[..., object]) -> dict[str, str]:
    """Return what is said of each setting of a class, a function or a classmethod, each as one line."""
    if not inspect.isclass(make):
        return _section_entries(inspect.getdoc(make) or "")
    found: dict[str, str] = {}
    for base in reversed(make.__mro__[:-1]):
        own = vars(base).get("__doc__") or ""
        initialiser = inspect.getdoc(vars(base).get("__init__")) or ""
        found |= _section_entries(inspect.cleandoc(own)) | _section_entries(initialiser)
    return found


def _section_entries(text: str) -> dict[str, str]:
    """Return the entries of the sections of arguments and attributes."""
    found: dict[str, list[str]] = {}
    inside, entry = False, ""
    for line in text.splitlines():
        if line and not line[0].isspace():
            inside, entry = bool(_SECTION.match(line)), ""
        elif inside and line.strip():
            start = _ENTRY.match(line)
            if start:
                entry = start["name"]
                found[entry] = [start["text"]]
            elif entry:
                found[entry].append(line.strip())
    return {name: " ".join(lines).strip() for name, lines in found.items()}
