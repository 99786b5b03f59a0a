"""One program, `unmelt`: a command, in a file of its name, for each thing done with a run, a process or data."""

from .main import main

__all__ = ["main"]
