"""Type hints as data: what may stand where a hint is, in words, in checks, and as calls to be finished later.

A hint is a union of options. An option is a plain type, a list of elements, or a *deferred* one: `Callable[[Shape],
Process]` asks for something that makes a process of a shape.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypeVar, Union, get_args, get_origin

from .later import Later
from .signatures import hints, made_by, parameters

_CALLABLE = get_origin(Callable[..., Any])
_TENSOR = "a tensor (not from text)"
_WORDS: dict[object, str] = {Any: "a value", type(None): "None"}
_HIDDEN = {"__annotations__", "__dict__", "__doc__", "__module__", "__parameters__", "__slots__", "__weakref__"}


class Deferred(NamedTuple):
    """A hint for what is called later.

    Attributes:
        first: types of the arguments that come later by position; None where any may come.
        keywords: names of the arguments that come later by name.
        result: type of what is made.
    """

    first: tuple[Any, ...] | None
    keywords: frozenset[str]
    result: Any


def options(hint: Any) -> list[Any]:
    """Return the options of a hint: the members of a union, or the hint alone."""
    inner = _members(hint)
    if inner is None:
        return [Any if hint is object else type(None) if hint is None else hint]
    return [option for member in inner for option in options(member)]


def _members(hint: Any) -> Sequence[Any] | None:
    """Return the hints that a hint stands for; None where it stands for itself."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return get_args(hint)
    if origin is Annotated:
        return get_args(hint)[:1]
    if isinstance(hint, TypeVar):
        return hint.__constraints__ or (hint.__bound__ or Any,)
    for kind, name in ((NewType, "__supertype__"), (InitVar, "type")):
        if isinstance(hint, kind):
            return (getattr(hint, name),)
    # `type Name = ...` of Python 3.12.
    return (hint.__value__,) if type(hint).__name__ == "TypeAliasType" else None


def deferred(option: Any) -> Deferred | None:
    """Return what an option says of a call to be finished later: a `Callable`, a `Later`, or a protocol of a call."""
    kind, inner = get_origin(option) or option, get_args(option)
    if kind in (_CALLABLE, Later):
        first, result = inner or (..., Any)
        return Deferred(tuple(first) if isinstance(first, list | tuple) else None, frozenset(), result)
    if is_protocol(kind) and "__call__" in vars(kind):
        types_of, said = hints(kind.__call__), list(parameters(kind.__call__).values())[1:]
        first = [types_of[p.name] for p in said if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        keywords = frozenset(p.name for p in said if p.kind is p.KEYWORD_ONLY)
        made = made_by(kind.__call__)
        return Deferred(tuple(first), keywords, Any if made is inspect.Parameter.empty else made)
    return None


def element_hints(option: Any, count: int) -> list[Any] | None:
    """Return the types of `count` elements where an option is a list or tuple of some kind; None where it is not.

    Raises:
        ValueError: another number of elements is expected.
    """
    kind, inner = get_origin(option) or option, get_args(option)
    if not inspect.isclass(kind) or not (kind is list or issubclass(tuple, kind)):
        return None
    if kind is not tuple or not inner:
        return [inner[0] if inner else Any] * count
    if len(inner) == 2 and inner[1] is ...:
        return [inner[0]] * count
    if len(inner) != count:
        msg = f"expected {len(inner)} values, {describe(option)}, got {count}"
        raise ValueError(msg)
    return list(inner)


def convert(value: object, hint: Any) -> Any:
    """Return a number, string, truth value or None as the type that a hint expects.

    Raises:
        ValueError: the hint expects something else.
    """
    there = options(hint)
    # What has the very type comes first, for the sake of `float | int`.
    for option in [o for o in there if o is type(value)] + there:
        if option in (Any, type(value)):
            return value
        if option is float and type(value) is int:
            return _as_float(value)
        if inspect.isclass(option) and isinstance(value, str) and issubclass(option, PurePath):
            return option(value)
        if get_origin(option) is Literal and any(value == a and type(value) is type(a) for a in get_args(option)):
            return value
    remedy = f": write {int(value)}" if int in there and isinstance(value, float) and value.is_integer() else ""
    msg = f"expected {describe(hint)}, got {value!r}{remedy}"
    raise ValueError(msg)


def choice_called(name: str, hint: Any) -> object:
    """Return the member of an enum, or the word of a `Literal`, that a name is where a hint expects it."""
    owner, _, last = name.rpartition(".")
    for option in options(hint):
        if inspect.isclass(option) and issubclass(option, Enum):
            members: Mapping[str, Enum] = option.__members__
            if re.split(r"[.:]", owner)[-1] in ("", option.__name__) and {last, last.upper()} & set(members):
                return members.get(last) or members[last.upper()]
        if get_origin(option) is Literal and name in get_args(option):
            return name
    return None


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        msg = "expected float, got an integer too large for one"
        raise ValueError(msg) from None


def takes_text(hint: Any) -> list[Any]:
    """Return the options that take a text as it stands: strings and paths."""
    return [o for o in options(hint) if inspect.isclass(o) and (o is str or issubclass(o, PurePath))]


def describe(hint: Any) -> str:
    """Return what a hint expects, in words for messages."""
    words = dict.fromkeys(_describe(option) for option in options(hint))
    # A tensor that can be read from a file can be given as text all the same.
    if _TENSOR in words and "FromData" in words:
        return ", or ".join(
            ["a tensor, FromFile('table.npy') say", *(w for w in words if w not in (_TENSOR, "FromData"))]
        )
    return " or ".join(words)


def _describe(option: Any) -> str:
    kind, inner = get_origin(option) or option, get_args(option)
    call = deferred(option)
    if call is not None:
        return describe(call.result)
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind is type:
        return f"a class of {describe(inner[0])}" if inner else "a class"
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return " or ".join(kind.__members__)
    if inspect.isclass(kind) and issubclass(kind, Sequence) and kind is not str:
        return _describe_sequence(kind, inner)
    return _WORDS.get(kind) or (_TENSOR if is_tensor(option) else _name(kind))


def _describe_sequence(kind: Any, inner: Sequence[Any]) -> str:
    if kind is tuple and inner and inner[-1] is not ...:
        return f"({', '.join(map(describe, inner))}{',' if len(inner) == 1 else ''})"
    return f"a sequence of {describe(inner[0])}" if inner else "a sequence"


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def is_tensor(option: Any) -> bool:
    """Tell whether an option is a tensor, of jaxtyping's kind or plain."""
    return hasattr(option, "array_type") or getattr(option, "__name__", "") == "Tensor"


def is_protocol(kind: Any) -> bool:
    """Tell whether a type is a protocol, which classes fulfil by what they have."""
    return inspect.isclass(kind) and getattr(kind, "_is_protocol", False)


def accepts(wanted: Any, given: Any) -> bool:
    """Tell whether something of type `given` may be handed over where `wanted` is expected, as far as types tell."""
    return all(any(_is_a(g, w) for w in options(wanted)) for g in options(given))


def _is_a(given: Any, wanted: Any) -> bool:
    if given is Any or wanted is Any or given == wanted:
        return True
    one, other = _kind(given), _kind(wanted)
    if one is None or other is None:
        return False
    if is_protocol(other):
        return all(hasattr(one, name) for name in _demands(other))
    return issubclass(one, other) or (one is int and other is float)


def _kind(option: Any) -> type | None:
    """Return the class behind an option; jaxtyping's tensors are tensors."""
    kind = getattr(option, "array_type", get_origin(option) or option)
    return kind if inspect.isclass(kind) else None


def _demands(protocol: type) -> list[str]:
    """Return the methods that a protocol asks for."""
    bases = [base for base in protocol.__mro__ if is_protocol(base) and base.__module__ != "typing"]
    names = {name for base in bases for name, value in vars(base).items() if callable(value) and name not in _HIDDEN}
    return [name for name in names if not name.startswith("_") or name == "__call__"]
