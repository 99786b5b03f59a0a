"""Batches that were looked at, each in a file: an evaluation goes on where it was stopped, or is shared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ..core.files import write_atomically
from ..core.tensor_files import decode, encode
from .image_set import Look

_NOTES = "notes.json"


class LookStore:
    """Looks at batches of one kind, by the images in them.

    Args:
        folder: where all kinds are kept.
        facts: what makes looks what they are; those of other facts are other files.
    """

    def __init__(self, folder: Path, facts: Mapping[str, object]) -> None:
        text = json.dumps(facts, sort_keys=True, default=str, indent=2)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:12]
        self._text = text

    def has(self, rows: range) -> bool:
        """Tell whether a batch was looked at."""
        return self._path(rows).is_file()

    def put(self, rows: range, look: Look) -> None:
        """Keep a look.

        Raises:
            OSError: it cannot be written; nothing is left of it.
        """
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / "facts.json", self._text + "\n")
        write_atomically(self._path(rows), encode(look.tensors()))

    def get(self, rows: range) -> Look:
        """Return a look.

        Raises:
            OSError: it cannot be read.
            ValueError: its file is damaged.
        """
        path = self._path(rows)
        try:
            return Look.of(decode(path.read_bytes()))
        except ValueError as error:
            msg = f"{path}: {error}; delete it, and evaluate again"
            raise ValueError(msg) from error

    def note(self, notes: Mapping[str, object]) -> None:
        """Keep what was found out beside the looks, such as what they cost."""
        write_atomically(self.folder / _NOTES, json.dumps(notes) + "\n")

    def notes(self) -> dict[str, object]:
        """Return what was noted; nothing where nothing was."""
        path = self.folder / _NOTES
        return json.loads(path.read_text()) if path.is_file() else {}

    def _path(self, rows: range) -> Path:
        return self.folder / f"{rows.start:07d}_{rows.stop:07d}.safetensors"
