"""The comparison of three ways to restore, tiny: all of it runs, and is not trained again."""

import json
import subprocess
import sys

import pytest
from PIL import Image
from small_runs import ENVIRONMENT, ROOT

FOLDER = ROOT / "recipes" / "restoring"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deblur", "upscale"])
def test_figures_and_a_picture_of_every_way(tmp_path, name):
    sizes = {"steps": "2", "batch": "2", "images": "4", "rows": "2", "root": "runs", "out": "out"}
    flags = [part for name, value in sizes.items() for part in (f"--{name}", value)]
    command = [sys.executable, str(FOLDER / f"photos_{name}.py"), *flags, "--calls", "2", "3", "4"]
    said = [
        subprocess.run(
            command,
            cwd=tmp_path,
            env={**ENVIRONMENT, "HF_HUB_OFFLINE": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for _ in range(2 if name == "deblur" else 1)
    ]
    # The second time there is nothing left to train, and equal figures are measured.
    assert said[0].splitlines()[-20:] == said[-1].splitlines()[-20:]
    record = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    bridges = {"heat bridge", "Brownian bridge"}
    on_another_grid = {f"{bridge}, equal log-SNR" for bridge in bridges}
    assert set(record["figures"]) == bridges | on_another_grid | {"conditional diffusion", "guidance"}
    assert all(set(by) == {"2", "3", "4"} for by in record["figures"].values())
    # A blurred image misfits itself by its noise and by being blurred again, means of blocks by nothing.
    assert record["as observed"]["misfit"] == pytest.approx(1.0 if name == "deblur" else 0.0, abs=0.2)
    assert f"| as observed |  | {record['as observed']['psnr']:.2f} |" in said[0]
    with Image.open(tmp_path / "out" / f"{name}.png") as picture:
        # Original, observed, and a sample and a mean for each way; two crops below each other.
        assert picture.width > 4 * picture.height
