"""What docstrings say of a constructor: its first sentence, and a line or two for every setting.

Settings are described in the `Args:` or `Attributes:` section of Google's style, or, in dataclasses, by a string under
the field. What a class does not say itself, its base classes may.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from itertools import pairwise

_SECTION = re.compile(r"(Args|Arguments|Attributes|Parameters):\s*$")
_ENTRY = re.compile(r"\*{0,2}(?P<name>\w+)(?:\s*\([^)]*\))?:\s*(?P<text>.*)$")


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
        found |= _section_entries(inspect.cleandoc(own)) | _section_entries(initialiser) | _under_fields(base)
    return found


def _section_entries(text: str) -> dict[str, str]:
    """Return the entries of the sections of arguments and attributes."""
    found: dict[str, list[str]] = {}
    inside, entry = False, ""
    for line in text.splitlines():
        if line and not line[0].isspace():
            inside, entry = bool(_SECTION.match(line)), ""
        elif inside and line.strip():
            start = _ENTRY.match(line.strip()) if _depth(line) <= 4 else None
            if start:
                entry = start["name"]
                found[entry] = [start["text"]]
            elif entry:
                found[entry].append(line.strip())
    return {name: " ".join(lines).strip() for name, lines in found.items()}


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _under_fields(cls: type) -> dict[str, str]:
    """Return the strings under the annotated fields of a class, where its source is at hand."""
    if not vars(cls).get("__annotations__"):
        return {}
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (IndexError, OSError, SyntaxError, TypeError):
        return {}
    found: dict[str, str] = {}
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for field, after in pairwise(statements):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            text = after.value.value if isinstance(after.value, ast.Constant) else None
            if isinstance(text, str):
                found[field.target.id] = " ".join(text.split())
    return found
