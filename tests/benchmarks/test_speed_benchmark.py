"""The benchmark of speed: that it runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import unmelt

ROOT = Path(unmelt.__file__).parent


@pytest.mark.full
def test_every_part_runs_at_its_smallest(tmp_path):
    out = tmp_path / "numbers.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "speed.py"), "--smoke", "--threads", "1", "--json", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    numbers = json.loads(out.read_text())
    assert {"pairs", "process", "step", "sampling", "evaluation"} < set(numbers)
    assert all(bound["value"] >= 0 and f"{bound['value']:.3g}" in result.stdout for bound in numbers["bounds"])
    assert numbers["process"]["transforms"]["PredictX()"] == 2
