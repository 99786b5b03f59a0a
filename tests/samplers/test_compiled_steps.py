import subprocess
import sys
from pathlib import Path

import pytest

# Half a minute each, for the same code with other coefficients.
OTHERS = [pytest.param(case, marks=pytest.mark.slow) for case in ("blurring", "isotropic")]


@pytest.mark.parametrize("case", [pytest.param("heat", marks=pytest.mark.full), *OTHERS])
def test_training_and_sampling_steps_compile_without_graph_breaks(case):
    """In a process of its own: run-time checks of shapes would themselves break graphs."""
    script = Path(__file__).with_name("compiled_steps.py")
    result = subprocess.run(
        [sys.executable, str(script), case], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["compiled"]
