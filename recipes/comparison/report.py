"""The report of the comparison, of what is there."""

from pathlib import Path


def write_report(root: Path, results: Path) -> None:
    """Write docs/comparison.md."""
