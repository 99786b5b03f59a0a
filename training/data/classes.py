"""Classes of files, by the folders that they lie in or by a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

_SUBFOLDERS = "subfolders"
_TABLES = (".csv", ".tsv", ".txt")
_NAMED, _COLUMNS = 5, 2


def classes_of(how: str | None, parts: Sequence[Sequence[str]], *, beside: Path) -> tuple[str, list[Tensor | None]]:
    """Return what classes there are, in words to add, and their numbers, for each part of a set's files.

    Args:
        how: None for no classes, "subfolders", or the path of a table of file names and classes.
        parts: names of files, relative to their folder.
        beside: the folder, where a table may lie, too.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a file lies in no subfolder or is not in the table, or the table is none.
    """
    if how is None:
        return "", [None for _ in parts]
    files = [name for part in parts for name in part]
    table = {name: name.rpartition("/")[0] for name in files} if how == _SUBFOLDERS else _table(Path(how), beside)
    without = [name for name in files if not table.get(name)]
    if without:
        where = "lie in no subfolder" if how == _SUBFOLDERS else f"have no class in {how}"
        said = "" if how == _SUBFOLDERS else f" (it has {next(iter(table), 'none')}, for example)"
        msg = f"{len(without)} files {where}, such as {without[0]}{said}: move them, or give a table that has them"
        raise ValueError(msg)
    names = sorted({table[name] for name in files}, key=_in_order)
    numbers = {name: number for number, name in enumerate(names)}
    some = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"; {len(names)} classes: {some}", [torch.tensor([numbers[table[name]] for name in part]) for part in parts]


def _table(path: Path, beside: Path) -> dict[str, str]:
    """Return classes by file name; a row of titles does no harm."""
    if not path.exists() and (beside / path).exists():
        path = beside / path
    if path.suffix.lower() not in _TABLES:
        msg = (
            f'labels must be "{_SUBFOLDERS}", or a table of file names and classes, such as labels.csv, got'
            f" {str(path)!r}"
        )
        raise ValueError(msg)
    if not path.is_file():
        msg = f"no table {path}, nor in {beside}: pass a table of file names and classes, with --data.labels PATH"
        raise FileNotFoundError(msg)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path} is not in UTF-8 ({error}): save it so"
        raise ValueError(msg) from error
    separator = "\t" if "\t" in text[:4096] else ","
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    if wrong := next((row for row in rows if len(row) != _COLUMNS), None):
        msg = f"{path} must hold a file name and a class in each row, separated by commas or tabs, got {wrong}"
        raise ValueError(msg)
    table = dict[str, str]()
    for name, label in rows:
        file = str(PurePosixPath(name.strip().replace("\\", "/")))
        if table.setdefault(file, label.strip()) != label.strip():
            msg = f"{path} gives {file} two classes, {table[file]} and {label.strip()}: keep one"
            raise ValueError(msg)
    return table


def _in_order(name: str) -> tuple[int, str]:
    """Numbers by their size, names by the alphabet."""
    return (int(name), "") if name.isdecimal() else (-1, name)
