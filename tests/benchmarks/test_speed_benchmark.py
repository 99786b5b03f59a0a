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
sys.path.insert(0, str(ROOT / "benchmarks"))

from timed.part import Bound  # noqa: E402
from timed.sampling import bounds_of  # noqa: E402


@pytest.mark.full
def test_every_part_runs_at_its_smallest(tmp_path):
    out = tmp_path / "numbers.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "speed.py"), "--smoke", "--threads", "1", "--json", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    numbers = json.loads(out.read_text())
    assert {"pairs", "process", "step", "trainer", "sampling", "evaluation"} < set(numbers)
    assert all(bound["value"] >= 0 and f"{bound['value']:.3g}" in result.stdout for bound in numbers["bounds"])
    assert numbers["process"]["transforms"]["PredictX()"] == 2
    # Memory stands beside time: of a pair at least the two batches that it returns.
    pair = numbers["pairs"]["(128, 3, 16, 16)"]["unmelt"]
    assert pair["peak_bytes"] >= 2 * 128 * 3 * 16 * 16 * 4
    assert f"({pair['ratio_to_best']:.2f}), {pair['peak_bytes'] / 2**20:.0f} MiB" in result.stdout


def test_the_page_shows_what_was_measured_last():
    kept = sorted((ROOT / "benchmarks" / "results").glob("speed-*.json"))
    assert kept
    page = (ROOT / "docs" / "measured" / "speed.md").read_text()
    table = page[page.index("<!-- bounds -->") : page.index("<!-- end of bounds -->")]
    shown = {tuple(re.split(r" \| ", line.strip("| "))) for line in table.splitlines() if line.startswith("| ")}
    measured = [{tuple(Bound(**bound).row) for bound in json.loads(path.read_text())["bounds"]} for path in kept]
    assert any(each <= shown for each in measured)


def test_the_usual_samplers_are_those_by_name():
    """Not every one that has multistep in its name, and not the isotropic ones."""
    each = {
        "heat, x, Markov": 300.0,
        "blurring, epsilon, multistep 2": 400.0,
        "blurring, epsilon, either multistep 2": 500.0,
        "blurring, epsilon, multistep 2, uncorrected": 450.0,
        "isotropic, epsilon, multistep 2": 600.0,
        "azula's xEABSampler2": 800.0,
    }
    slowest, usual, beside = bounds_of(each, list(each)[:-1], {"azula's xEABSampler2": "multistep 2"})
    assert slowest == Bound("slowest per frequency (blurring, epsilon, either multistep 2), us per call", 500.0, 250.0)
    assert usual == Bound(
        "slowest of the usual per frequency (blurring, epsilon, multistep 2), us per call", 400.0, 250.0
    )
    assert beside == Bound("isotropic, multistep 2: time to azula's xEABSampler2", 0.75, 1.0)
