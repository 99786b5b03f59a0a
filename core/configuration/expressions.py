"""Texts as expressions: calls, names, numbers, strings and tuples of them. They are looked at, never run.

Two notations are not Python's: `path/to/file.py:Haze`, a class in a file; and `inf`, `nan`.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from functools import partial

_WORDS: dict[str, float | bool] = {"inf": math.inf, "nan": math.nan, "true": True, "false": False}

# Strings, which may hold anything, and runs of what a file's path is made of; with spaces in it at the beginning only.
# Neither can be matched in two ways, so that a long text takes no longer than its length.
_STRING_OR_RUN = re.compile(
    r"""(?P<string>'(?:[^'\\]|\\.)*+(?:'|\\?\Z)|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))"""
    r"""|(?P<run>^[^()='",\[\]]++|[^\s()='",\[\]]++)""",
    re.DOTALL,
)
_NAME_IN_FILE = re.compile(r"(?P<name>.*?\.py:[^\W\d]\w*)(?P<rest>.*)", re.DOTALL)
_STAND_IN = "file_number_{}_of_this_text"


def expression(text: str) -> ast.expr:
    """Return what a text says, as Python's syntax tree; names in files are names in it.

    Raises:
        ValueError: it is not an expression.
    """
    places: dict[str, str] = {}

    try:
        tree = ast.parse(_STRING_OR_RUN.sub(partial(_stand_in, places), text.strip()), mode="eval").body
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                node.id = places.get(node.id, node.id)
    except (MemoryError, RecursionError, SyntaxError, ValueError):
        msg = f"{text!r:.80} is neither a number, a string in quotes, a tuple nor a call such as Name(setting=1)"
        raise ValueError(msg) from None
    return tree


def _stand_in(places: dict[str, str], found: re.Match[str]) -> str:
    """Return what is found, with a name in place of a name in a file, which goes into `places`."""
    parts = _NAME_IN_FILE.fullmatch(found["run"]) if found["run"] and ".py:" in found["run"] else None
    if parts is None:
        return found[0]
    name = _STAND_IN.format(len(places))
    places[name] = parts["name"].strip()
    return name + parts["rest"]


def dotted(node: ast.expr) -> str | None:
    """Return the name that a node is, such as `Haze` or `own.Haze.fitted`, or None."""
    if isinstance(node, ast.Name):
        return node.id
    owner = dotted(node.value) if isinstance(node, ast.Attribute) else None
    return f"{owner}.{node.attr}" if owner and isinstance(node, ast.Attribute) else None


def names_in(text: str) -> Iterator[str]:
    """Yield the dotted names and the names in files that a text uses."""
    try:
        nodes = list(ast.walk(expression(text)))
    except ValueError:
        return
    # Of a.b.C the whole, and not a.b.
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        name = dotted(node) if isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner else None
        if name and ("." in name or ":" in name):
            yield name


def display(node: ast.expr) -> str:
    """Return a node as text for messages, shortened."""
    text = ast.unparse(node)
    return text if len(text) <= 80 else f"{text[:77]}..."


def constant(node: ast.expr) -> ast.Constant | None:
    """Return the number, string, truth value or None that a node is, with its sign; None where it is none of these."""
    if isinstance(node, ast.Constant):
        return node if node.value is None or isinstance(node.value, bool | int | float | str) else None
    name = (dotted(node) or "").removeprefix("math.")
    if name in _WORDS:
        return ast.Constant(_WORDS[name])
    if not isinstance(node, ast.UnaryOp) or not isinstance(node.op, ast.UAdd | ast.USub):
        return None
    inner = constant(node.operand)
    if inner is None or isinstance(inner.value, bool) or not isinstance(inner.value, int | float):
        return None
    return ast.Constant(-inner.value if isinstance(node.op, ast.USub) else inner.value)
