"""What the tests of wheel and source distribution build them with."""

import importlib.util
import subprocess

import pytest

needs_build = pytest.mark.skipif(
    importlib.util.find_spec("setuptools") is None or importlib.util.find_spec("build") is None,
    reason="building without a network needs `build` and `setuptools` here",
)


def run(*command, **options):
    """Run a program, and return what it printed."""
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    return finished.stdout
