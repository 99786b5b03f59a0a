"""Constructors as the configuration: calls as values, read from texts, written into records, changed by flags."""

from .command_line import cli, known_names, parse
from .expressions import expression
from .from_data import Batches, FromData, FromFile, first_examples, resolve
from .later import Later, later
from .public_names import PACKAGES
from .reading import Reader
from .recording import from_record, to_record
from .signatures import made_by
from .writing import write

__all__ = [
    "PACKAGES",
    "Batches",
    "FromData",
    "FromFile",
    "Later",
    "Reader",
    "cli",
    "expression",
    "first_examples",
    "from_record",
    "known_names",
    "later",
    "made_by",
    "parse",
    "resolve",
    "to_record",
    "write",
]
