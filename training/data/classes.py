"""Classes of files, by the folders that they lie in or by a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

_SUBFOLDERS = "subfolders"
_TABLES = (".csv", ".tsv", ".txt")
_NAMED = 5


def classes_of(how: str | None, parts: Sequence[Sequence[str]]) -> tuple[str, list[Tensor | None]]:
    """Return what classes there are, in words to add, and their numbers, for each part of a set's files.

    Args:
        how: None for no classes, "subfolders", or the path of a table of file names and classes.
        parts: names of files, relative to their folder.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a file lies in no subfolder or is not in the table, or the table is none.
    """
    if how is None:
        return "", [None for _ in parts]
    files = [name for part in parts for name in part]
    table = {name: name.rpartition("/")[0] for name in files} if how == _SUBFOLDERS else _table(Path(how))
    without = [name for name in files if not table.get(name)]
    if without:
        where = "lie in no subfolder" if how == _SUBFOLDERS else f"have no class in {how}"
        msg = f"{len(without)} files {where}, such as {without[0]}: move them, or give a table that has them"
        raise ValueError(msg)
    names = sorted({table[name] for name in files})
    numbers = {name: number for number, name in enumerate(names)}
    some = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"; {len(names)} classes: {some}", [torch.tensor([numbers[table[name]] for name in part]) for part in parts]


def _table(path: Path) -> dict[str, str]:
    """Return classes by file name; a row of titles does no harm."""
    if path.suffix.lower() not in _TABLES:
        msg = (
            f'labels must be "{_SUBFOLDERS}", or a table of file names and classes, such as labels.csv, got'
            f" {str(path)!r}"
        )
        raise ValueError(msg)
    with path.open(newline="", encoding="utf-8-sig") as file:
        start = file.read(4096)
        file.seek(0)
        rows = [row for row in csv.reader(file, delimiter="\t" if "\t" in start else ",") if row]
    if short := next((row for row in rows if len(row) < 2), None):
        msg = f"{path} must hold a file name and a class in each row, got {short}"
        raise ValueError(msg)
    return {row[0].strip().replace("\\", "/"): row[1].strip() for row in rows}
