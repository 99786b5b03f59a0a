"""Type hints as data: what may stand where a hint is, in words, in checks, and as calls to be finished later.

A hint is a union of options. An option is a plain type, a list of elements, or a *deferred* one: `Callable[[Shape],
Process]` asks for something that makes a process of a shape.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from enum import Enum
from inspect import Parameter
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from .later import Later
from .signatures import hints, made_by, named, parameters, positional

PLAIN = (bool, float, int, str, type(None))

_CALLABLE = get_origin(Callable[..., Any])
_TENSOR = "a tensor (not from text)"
_WORDS: dict[object, str] = {Any: "a value", type(None): "None"}


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
    """Return the options of a hint: the members of a union, or the hint alone; `Any` for what is no type."""
    # `type Name = ...` of Python 3.12.
    hint = getattr(hint, "__value__", hint)
    if isinstance(hint, TypeVar):
        hint = hint.__bound__ or Any
    if get_origin(hint) in (Union, types.UnionType):
        return [option for member in get_args(hint) for option in options(member)]
    if hint is None:
        return [type(None)]
    return [hint if get_origin(hint) or (inspect.isclass(hint) and hint is not object) else Any]


def kind_of(option: Any) -> type | None:
    """Return the class behind an option: of a list, of a generic class, of jaxtyping's tensors."""
    kind = getattr(option, "array_type", get_origin(option) or option)
    return kind if inspect.isclass(kind) else None


def is_kind(option: Any, wanted: type | tuple[type, ...]) -> bool:
    """Tell whether an option is a class, or what is derived from it."""
    kind = kind_of(option)
    return kind is not None and issubclass(kind, wanted)


def deferred(option: Any) -> Deferred | None:
    """Return what an option says of a call to be finished later: a `Callable`, a `Later`, or a protocol of a call."""
    kind, inner = get_origin(option) or option, get_args(option)
    if kind in (_CALLABLE, Later):
        first, result = inner or (..., Any)
        return Deferred(tuple(first) if isinstance(first, list | tuple) else None, frozenset(), result)
    if is_protocol(kind) and "__call__" in vars(kind):
        call = kind.__call__
        keywords = [name for name, p in parameters(call).items() if p.kind is p.KEYWORD_ONLY]
        made = made_by(call)
        first = tuple(hints(call)[name] for name in positional(call)[1:])
        return Deferred(first, frozenset(keywords), Any if made is Parameter.empty else made)
    return None


def settings_of(make: Callable[..., object], option: Any) -> dict[str, Parameter]:
    """Return the parameters that are settings of a call for an option, and not arguments that come later."""
    expected = deferred(option) or Deferred((), frozenset(), option)
    there = named(make, first=len(expected.first or ()))
    return {name: parameter for name, parameter in there.items() if name not in expected.keywords}


def is_class(option: Any) -> bool:
    """Tell whether an option asks for a class and not for what it makes: `type[SeparableBasis]`."""
    return type in (option, get_origin(option))


def is_tensor(option: Any) -> bool:
    """Tell whether an option is a tensor, of jaxtyping's kind or plain."""
    return getattr(kind_of(option), "__name__", "") == "Tensor"


def is_protocol(kind: Any) -> bool:
    """Tell whether a type is a protocol, which classes fulfil by what they have."""
    return inspect.isclass(kind) and getattr(kind, "_is_protocol", False)


def element_hints(option: Any, count: int) -> list[Any] | None:
    """Return the types of `count` elements where an option is a list or tuple of so many; None where it is not."""
    if option is Any:
        return [Any] * count
    kind, inner = kind_of(option), get_args(option)
    if kind is None or not (kind is list or issubclass(tuple, kind)):
        return None
    if kind is not tuple or not inner or inner[1:] == (...,):
        return [inner[0] if inner else Any] * count
    return list(inner) if len(inner) == count else None


def takes_text(hint: Any) -> list[Any]:
    """Return the options that take a text as it stands: strings and paths."""
    return [option for option in options(hint) if option is str or is_kind(option, PurePath)]


def choice_called(name: str, hint: Any) -> object:
    """Return the member of an enum, or the word of a `Literal`, that a name is where a hint expects it."""
    owner, _, last = name.replace(":", ".").rpartition(".")
    for option in options(hint):
        if is_kind(option, Enum) and owner.rpartition(".")[2] in ("", option.__name__):
            for member in (last, last.upper()):
                if member in option.__members__:
                    return option[member]
        if get_origin(option) is Literal and name in get_args(option):
            return name
    return None


def convert(value: object, hint: Any) -> Any:
    """Return a number, string, truth value or None as the type that a hint expects.

    Raises:
        ValueError: the hint expects something else.
    """
    there = options(hint)
    # What has the very type comes first, for the sake of `float | int`.
    if Any in there or type(value) in there:
        return value
    if float in there and type(value) is int and abs(value) < 2**1023:
        return float(value)
    for option in there:
        if isinstance(value, str) and is_kind(option, PurePath):
            return option(value)
        if get_origin(option) is Literal and any(value == a and type(value) is type(a) for a in get_args(option)):
            return value
    remedy = f": write {int(value)}" if int in there and isinstance(value, float) and value.is_integer() else ""
    msg = f"expected {describe(hint)}, got {value!r:.80}{remedy}"
    raise ValueError(msg)


def accepts(wanted: Any, given: Any) -> bool:
    """Tell whether something of type `given` may be handed over where `wanted` is expected, as far as types tell."""
    return all(any(_is_a(g, w) for w in options(wanted)) for g in options(given))


def _is_a(given: Any, wanted: Any) -> bool:
    if Any in (given, wanted) or given == wanted:
        return True
    one, other = kind_of(given), kind_of(wanted)
    if one is None or other is None:
        return False
    if is_protocol(other):
        return all(hasattr(one, name) for name in dir(other) if not name.startswith("_"))
    return issubclass(one, other) or (one is int and other is float)


def describe(hint: Any) -> str:
    """Return what a hint expects, in words for messages."""
    words = list(dict.fromkeys(_describe(option) for option in options(hint)))
    # A tensor that can be read from a file can be given as text all the same.
    if _TENSOR in words and "FromData" in words:
        rest = [word for word in words if word not in (_TENSOR, "FromData")]
        return ", or ".join(["a tensor, FromFile('table.npy') say", *rest])
    return " or ".join(words)


def _describe(option: Any) -> str:
    kind, inner = get_origin(option) or option, get_args(option)
    call = deferred(option)
    if call is not None:
        return describe(call.result)
    if kind is Literal or is_kind(kind, Enum):
        return " or ".join(getattr(kind, "__members__", map(repr, inner)))
    if is_class(option):
        return f"a class of {describe(inner[0])}" if inner else "a class"
    if kind is tuple and inner and inner[-1] is not ...:
        return f"({', '.join(map(describe, inner))}{',' if len(inner) == 1 else ''})"
    if kind is not str and is_kind(kind, Sequence):
        return f"a sequence of {describe(inner[0])}" if inner else "a sequence"
    return _WORDS.get(kind) or (_TENSOR if is_tensor(option) else getattr(kind, "__name__", str(kind)))
