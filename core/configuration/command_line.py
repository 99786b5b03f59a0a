"""A command line for any frozen dataclass: its fields are flags, and what is given for them is a constructor's call.

    --process HeatDissipation --process.levels 50 --sampler.coupling "Eta(eta=0.5)" --training.batch-size=64

A recipe hands over its configuration and gets it back as changed by whoever runs it. Another class starts from its own
defaults and inherits no setting of the recipe's.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

from .changes import Place, change_at, change_of
from .expressions import names_in
from .help import help_at, overview
from .reading import Reader
from .recording import is_section
from .signatures import hints
from .user_modules import recorded
from .writing import shown

Config = TypeVar("Config")


class Flag(NamedTuple):
    """A flag and what follows it.

    Attributes:
        word: the flag as it was typed.
        path: names of the field and of settings inside it.
        text: what follows; None for a flag alone.
    """

    word: str
    path: tuple[str, ...]
    text: str | None


def cli(
    default: Config, description: str | None = None, *, arguments: Sequence[str] | None = None, prog: str | None = None
) -> Config:
    """Return `default` as changed by the program's command line; end the program after --help or an error.

    Args:
        default: a frozen dataclass, such as a recipe's configuration.
        description: what --help begins with, a recipe's docstring say.
        arguments: the arguments; those of the program if None.
        prog: the program's name for --help; that of the program if None.

    Raises:
        SystemExit: help was asked for (status 0), or an argument is wrong (status 2): one line on stderr says why.
    """
    try:
        given = sys.argv[1:] if arguments is None else arguments
        return parse(default, given, description=description, prog=prog or Path(sys.argv[0]).name)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def parse(
    default: Config, arguments: Sequence[str], *, description: str | None = None, prog: str | None = None
) -> Config:
    """Return `default` as changed by command-line arguments.

    `--field TEXT` or `--field=TEXT` gives a whole field, `--field.setting TEXT` a setting inside it; dashes stand for
    underscores. A flag alone is true, `--no-field` and `--field.no-setting` false. Whole values are taken before
    settings inside them, and the later of two flags counts. `--config FILE.json`, a record or a part of one, is read
    before all flags; with `--trust-code` it may name classes of the user's, whose code is then run. What is typed, and
    what the default is made of, needs no such flag.

    Args:
        default: a frozen dataclass; what is a frozen dataclass in it, and has no public name, is a group of flags.
        arguments: what stands after the program's name.
        description: what --help begins with.
        prog: the program's name for --help.

    Raises:
        ValueError: an argument is wrong; one line that says which, what is allowed, and what comes close.
        SystemExit: help was asked for, and has been printed; status 0.
    """
    flags, fields = [*_flags(arguments)], [field.name for field in dataclasses.fields(cast("Any", default))]
    aside = {name: [f for f in flags if f.path == (name,)] for name in ("config", "trust_code") if name not in fields}
    trust_code = _is_given(aside.get("trust_code", []))
    # What is typed is trusted where it is typed; a file may be somebody else's.
    reader, of_file = Reader(trust_code=True), Reader(trust_code=trust_code, known=_names_of(default))
    asked = next((flag for flag in flags if flag.path[-1] == "help"), None)
    config = default
    for flag in aside.get("config", []):
        file = _needed(flag)
        config = of_file.apply(config, type(config), change_of(_json(file), f"{flag.word} {file}: "))
    rest = [flag for flag in flags if flag is not asked and not any(flag in group for group in aside.values())]
    for flag in rest:
        _check_inside(flag, default, fields)
    config = reader.apply(config, type(config), change_at(_place(flag, fields) for flag in rest))
    if asked is not None:
        _print_help(config, asked, reader, description, prog)
    return config


def known_names(default: object, arguments: Sequence[str]) -> list[str]:
    """Return the names of the user's that a default uses, and those that are typed: what whoever runs it trusts."""
    typed = (name for flag in _flags(arguments) for name in names_in(flag.text or ""))
    return [*_names_of(default), *map(recorded, typed)]


def _names_of(default: object) -> list[str]:
    fields = dataclasses.fields(cast("Any", default))
    return [name for field in fields for name in names_in(shown(getattr(default, field.name)))]


def _flags(arguments: Sequence[str]) -> Iterator[Flag]:
    """Yield the flags among arguments, each with what follows it."""
    rest = ["--help" if word == "-h" else word for word in arguments]
    while rest:
        word, equals, text = rest.pop(0).partition("=")
        if not word.startswith("--") or len(word) == 2:
            msg = f"{word}{equals}{text}: write --FIELD VALUE, with quotes around a value that has spaces in it"
            raise ValueError(msg)
        follows = not equals and word != "--help" and bool(rest) and not rest[0].startswith("--")
        given = text if equals else rest.pop(0) if follows else None
        yield Flag(word, tuple(word[2:].replace("-", "_").split(".")), given)


def _place(flag: Flag, fields: Sequence[str]) -> Place:
    """Return the path, the text and the label of a flag for a field."""
    word, path, text = flag
    if text is not None:
        return path, text, f"{word} {text}"
    # `--no-field.setting` and `--field.no-setting`; a field of that very name comes first.
    for at in {0, len(path) - 1} if path[0] not in fields or len(path) > 1 else ():
        if path[at].startswith("no_"):
            return (*path[:at], path[at].removeprefix("no_"), *path[at + 1 :]), ast.Constant(value=False), word
    return path, ast.Constant(value=True), f"{word} without a value"


def _check_inside(flag: Flag, config: object, fields: Sequence[str]) -> None:
    """Tell where a flag lies that is one of a group's, such as --steps, which is --training.steps."""
    name, types_of = flag.path[0].removeprefix("no_"), hints(type(config))
    groups = [f for f in fields if name not in fields and is_section(getattr(config, f), types_of[f])]
    inside = [f"--{group}.{flag.path[0]}" for group in groups if hasattr(getattr(config, group), name)]
    if inside:
        msg = f"{flag.word}: did you mean {' or '.join(inside)}?"
        raise ValueError(msg)


def _needed(flag: Flag) -> str:
    if flag.text is None:
        msg = f"{flag.word} needs a value"
        raise ValueError(msg)
    return flag.text


def _is_given(flags: Sequence[Flag]) -> bool:
    if (valued := next((flag for flag in flags if flag.text is not None), None)) is not None:
        msg = f"{valued.word} takes no value, got {valued.text}"
        raise ValueError(msg)
    return bool(flags)


def _json(file: str) -> Mapping[str, object]:
    try:
        record: Any = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        msg = f"--config {file} cannot be read: {why}"
        raise ValueError(msg) from None
    if not isinstance(record, dict):
        msg = f"--config {file} holds no record, a dictionary of fields"
        raise ValueError(msg)  # noqa: TRY004
    return cast("dict[str, object]", record)


def _print_help(default: object, asked: Flag, reader: Reader, description: str | None, prog: str | None) -> NoReturn:
    path = asked.path[:-1]
    text = help_at(default, path, asked.text, reader) if path else overview(default, description=description, prog=prog)
    sys.stdout.write(text)
    sys.exit(0)
