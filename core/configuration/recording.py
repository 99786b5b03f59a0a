"""The record of a configuration: a dictionary of texts, one call for each field, that JSON can hold.

    {"process": "HeatDissipation(blur_sigma_max=24.0, ..., levels=50)", "training": {"steps": "1400", "cpu": "True"}}

All settings are written, those left at their defaults too: a record means the same when a default has changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from .changes import change_of
from .hints import options
from .public_names import is_public
from .reading import Reader
from .signatures import hints
from .writing import write

Config = TypeVar("Config")


def to_record(config: object) -> dict[str, Any]:
    """Return the record of a frozen dataclass: a text for every field, a dictionary for a dataclass inside it.

    Raises:
        TypeError: a field holds something that does not know its settings; the message names it.
    """
    record: dict[str, Any] = {}
    types_of = hints(type(config))
    for field in dataclasses.fields(cast("Any", config)):
        value, hint = getattr(config, field.name), types_of.get(field.name, Any)
        if not field.init:
            continue
        try:
            record[field.name] = to_record(value) if is_section(value, hint) else write(value, hint, complete=True)
        except TypeError as error:
            msg = f"{field.name}: {error}"
            raise TypeError(msg) from None
    return record


def from_record(
    kind: type[Config],
    record: Mapping[str, object],
    *,
    trust_code: bool = False,
    known: Iterable[str] = (),
    copies: Path | None = None,
) -> Config:
    """Return the configuration that `to_record` wrote down.

    Args:
        kind: the dataclass.
        record: the dictionary; numbers, truth values, null and lists may stand in it as they are, and a dictionary for
            settings to be changed in the default of a field.
        trust_code: let it name classes of the user's, whose code is then run.
        known: names of the user's that it may use all the same.
        copies: folder of copies of the user's modules, which count before the modules themselves where code is trusted.

    Raises:
        ValueError: a key is unknown, or missing without a default, or its text is not a value of the field.
    """
    # A copy is the record's own code, whatever name it has.
    return Reader(trust_code=trust_code, known=known, copies=copies if trust_code else None).apply(
        kind, kind, change_of(record)
    )


def is_section(value: object, hint: Any) -> bool:
    """Tell whether a field is a group of fields: a dataclass that is expected as such and has no public name."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return False
    return type(value) in options(hint) and not is_public(type(value))
