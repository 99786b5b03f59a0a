"""The whole demo, as a user runs it: its time, its memory, its files, and what its samples are worth."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import unmelt
from unmelt import load_run
from unmelt.evaluation import Recogniser
from unmelt.samplers import Multistep

ROOT = Path(unmelt.__file__).parent
# Two cores; imports, training, sampling and the classifier.
MOST_SECONDS = 240
MOST_BYTES = 3e9
# Share of samples that is recognised, beside that of held-out digits.
LEAST_OF_REAL = 0.85


@pytest.mark.slow
def test_the_demo(tmp_path):
    output = tmp_path / "output.txt"
    started = time.perf_counter()
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "recipes" / "demo.py")],
            # The last as `make demo` has it.
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT.parent),
                "PYTHONDONTWRITEBYTECODE": "1",
                "OMP_WAIT_POLICY": "PASSIVE",
            },
            cwd=tmp_path,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        # The resources of this very child, which subprocess does not hand on.
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    # Waited for already.
    process.returncode = os.waitstatus_to_exitcode(status)
    printed = output.read_text()
    assert process.returncode == 0, printed[-2000:]
    assert seconds <= MOST_SECONDS
    # Kibibytes on Linux, bytes on macOS.
    assert usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) <= MOST_BYTES

    run = tmp_path / "runs" / "demo"
    for name in ("samples.png", "forward.png", "trajectory.gif", "loss.png"):
        with Image.open(run / name) as image:
            image.load()
    for name in ("config.json", "manifest.json"):
        assert json.loads((run / name).read_text())
    assert (run / "metrics.jsonl").read_text()
    for name in ("checkpoints", "tensorboard", "samples"):
        assert list((run / name).iterdir())
    assert str(run.relative_to(tmp_path)) in printed

    rows = {
        kind: (float(share), float(right), int(classes), float(distance))
        for kind, share, right, classes, distance in re.findall(
            r"^\d+ (samples|held-out digits)\s+([\d.]+)%\s+([\d.]+)%\s+(\d+)\s+([\d.]+)\s*$", printed, re.M
        )
    }
    assert rows.keys() == {"samples", "held-out digits"}, printed[-2000:]
    recognised, right, classes, nearest = rows["samples"]
    assert recognised >= LEAST_OF_REAL * rows["held-out digits"][0]
    assert right >= LEAST_OF_REAL * rows["held-out digits"][1]
    assert classes == 10
    # The classifier knows digits: 90 % here.
    assert rows["held-out digits"][0] >= 85
    # Neither copies of training digits nor far from all of them.
    assert 0.5 * rows["held-out digits"][3] <= nearest <= 1.5 * rows["held-out digits"][3]

    # README's samplers of few steps hold on this very run.
    loaded = load_run(run)
    data, asked = loaded.data(), torch.arange(256) % 10
    recogniser = Recogniser(data.train.read(), data.train.labels)
    for stepper, steps in ((Multistep(order=2), 20), (Multistep(order=3), 10)):
        drawn = loaded.sampler(stepper, steps=steps).sample(256, condition=asked, generator=range(256))
        found = recogniser.assess(drawn.clamp(*data.train.range), asked)
        assert 100 * found.recognised >= LEAST_OF_REAL * rows["held-out digits"][0]
