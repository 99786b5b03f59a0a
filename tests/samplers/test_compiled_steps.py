import subprocess
import sys
from pathlib import Path


def test_training_and_sampling_steps_compile_without_graph_breaks():
    """In a process of its own: the suite's run-time shape checks would themselves break graphs."""
    script = Path(__file__).with_name("compiled_steps.py")
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["HeatDissipation", "BlurringDiffusion", "IsotropicDiffusion"]
