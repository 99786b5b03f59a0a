"""Tests for your processes: every law in one call, and hypothesis strategies (`unmelt.testing.strategies`)."""

from .broken import BrokenLaw
from .check import check_process

__all__ = ["BrokenLaw", "check_process"]
