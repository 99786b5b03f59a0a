import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.full
def test_what_draws_compiles_for_batches_of_every_size():
    """In a process of its own: run-time checks of shapes would themselves break graphs."""
    script = Path(__file__).with_name("compiled_draws.py")
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["compiled"]
