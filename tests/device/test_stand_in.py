"""What an accelerator forbids, and what it waits for, tried without one."""

import subprocess
import sys
from pathlib import Path

import pytest

CASES = [
    ("processes", "double"),
    ("bounds", "double"),
    pytest.param("training", "double", marks=pytest.mark.full),
    pytest.param("samplers", "double", marks=pytest.mark.full),
    pytest.param("processes", "single", marks=pytest.mark.full),
    # Up to half a minute each.
    pytest.param("bounds", "single", marks=pytest.mark.slow),
    pytest.param("training", "single", marks=pytest.mark.slow),
    pytest.param("samplers", "single", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("part", "precision"), CASES)
def test_a_device_gives_the_cpu_s_numbers_and_is_never_waited_for(part, precision):
    """In a process of its own: a device is registered for all of one."""
    script = Path(__file__).with_name("on_stand_in.py")
    flags = ["--single"] if precision == "single" else []
    result = subprocess.run(
        [sys.executable, str(script), part, *flags], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith(" 0 failed\n")
