"""Help on a command line: the fields with their values, what can be given for one, and the settings of that.

All of it comes from the constructors: signatures, defaults and docstrings.
"""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from inspect import Parameter
from typing import Any, cast

from .calls import Call
from .docstrings import settings_text, summary
from .hints import describe
from .reading import Reader, call_that_made
from .recording import is_section
from .signatures import defaults, hints
from .writing import shown

_MORE = """\
--FIELD.help        lists what can be given there; --FIELD.help NAME shows the settings of one
--FIELD NAME        another class, with its own defaults; --FIELD.SETTING VALUE changes a setting
--config FILE.json  a stored configuration, or a part of one, to begin with
--trust-code        let such a configuration name classes of yours, and run their code
Flags come in any order: a whole value is taken before its settings, and the later of two counts.
Your own classes: module.Class from the current directory, or path/to/file.py:Class."""


def width() -> int:
    """Return how wide help is: as the terminal, within reason."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, 60), 140)


def overview(config: object, *, description: str | None = None, prog: str | None = None) -> str:
    """Return the help on a whole configuration, a line for each field."""
    head = [f"usage: {prog or 'PROGRAM'} [--FIELD VALUE] [--FIELD.SETTING VALUE] ..."]
    if description:
        head.append("\n".join(textwrap.wrap(" ".join(description.split("\n\n")[0].split()), width())))
    return "\n\n".join([*head, "\n".join(_columns([*_field_rows(config, ())])), _MORE]) + "\n"


def help_at(config: object, path: Sequence[str], name: str | None, reader: Reader) -> str:
    """Return the help on one place of a configuration, or on what is called `name` as a value of it.

    Args:
        config: the configuration.
        path: names of fields and settings, from the outside in.
        name: a class or function that could be given there; None for a list of those.
        reader: looks names up.

    Raises:
        ValueError: there is no such place, or no such name.
    """
    value, hint, about = config, type(config), ""
    for part in path:
        call = call_that_made(value, hint)
        call.check_name(part)
        hint, about = hints(call.make).get(part, Any), settings_text(call.make).get(part, "")
        value = call.settings[part](hint) if part in call.settings else defaults(call.make).get(part)
    flag = f"--{'.'.join(path)}"
    if name is not None:
        return _help_on_call(flag, reader.call_of(name, hint))
    if is_section(value, hint):
        return "\n".join(_columns([*_field_rows(value, tuple(path))])) + "\n"
    return _help_on_choices(flag, value, hint, about, reader)


def _help_on_call(flag: str, call: Call) -> str:
    """Return what a constructor is, and its settings with defaults, types and texts."""
    types_of, texts = hints(call.make), settings_text(call.make)
    lines = [*_wrapped(f"{call.make.__qualname__}: {summary(call.make)}".rstrip(": "), ""), ""]
    for name, parameter in call.allowed().items():
        default = "" if parameter.default is Parameter.empty else f" = {shown(parameter.default, types_of[name])}"
        lines.append(f"{flag}.{name}{default}  ({describe(types_of[name])})")
        lines += _wrapped(texts.get(name, ""), "    ")
    if len(lines) == 2:
        lines.append("It has no settings.")
    return "\n".join(lines) + "\n"


def _help_on_choices(flag: str, value: object, hint: Any, about: str, reader: Reader) -> str:
    """Return what a field is for, what it is, and what can be given for it."""
    lines = [f"{flag} = {shown(value, hint)}  ({describe(hint)})", *_wrapped(about, "    ")]
    choices = reader.choices(hint)
    if choices:
        lines += ["", *_columns([(f"  {name}", "", summary(thing)) for name, thing in choices.items()])]
        lines += ["", f"{flag}.help NAME shows the settings of one; your own: module.Class or path/to/file.py:Class."]
    return "\n".join(lines) + "\n"


def _field_rows(config: object, path: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield flag, value and text of each field, and under the heading of a section those of its fields."""
    types_of, texts = hints(type(config)), settings_text(type(config))
    for field in dataclasses.fields(cast("Any", config)):
        value, hint, indent = getattr(config, field.name), types_of.get(field.name, Any), "  " * (len(path) + 1)
        if not field.init:
            continue
        if is_section(value, hint):
            yield f"{indent}{field.name}", "", texts.get(field.name, "") or summary(type(value))
            yield from _field_rows(value, (*path, field.name))
        else:
            yield f"{indent}--{'.'.join((*path, field.name))}", shown(value, hint), texts.get(field.name, "")


def _columns(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return rows as lines of three columns: the second is cut short, the third goes on in further lines."""
    left = min(max((len(flag) for flag, _, _ in rows), default=0), width() // 3) + 2
    middle = min(max((len(value) for _, value, _ in rows), default=0), width() // 4) + 2
    lines: list[str] = []
    for flag, value, text in rows:
        first = f"{flag:{left}}{_cut(value, middle - 2):{middle}}"
        wrapped = textwrap.wrap(text, max(width() - left - middle, 20)) or [""]
        lines += [f"{first}{wrapped[0]}".rstrip(), *(" " * (left + middle) + more for more in wrapped[1:])]
    return lines


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, width(), initial_indent=indent, subsequent_indent=indent)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
