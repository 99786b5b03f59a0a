"""A run's folder: everything that is later needed of a run, written whole or not at all, and never executed."""

from .run_folder import RunFolder

__all__ = ["RunFolder"]
