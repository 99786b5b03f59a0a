"""The benchmark of speed: that it runs, and what its page shows."""

import json
import os
import re
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


def test_the_page_shows_what_was_measured_last():
    kept = sorted((ROOT / "benchmarks" / "results").glob("speed-*.json"))
    assert kept
    page = (ROOT / "docs" / "measured" / "speed.md").read_text()
    table = page[page.index("<!-- bounds -->") : page.index("<!-- end of bounds -->")]
    shown = {tuple(re.split(r" \| ", line.strip("| ")))[:2] for line in table.splitlines() if line.startswith("| ")}
    measured = [
        {(bound["what"], f"{bound['value']:.3g}") for bound in json.loads(path.read_text())["bounds"]} for path in kept
    ]
    assert any(each <= shown for each in measured)
