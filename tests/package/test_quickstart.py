"""README's quickstart, as a newcomer meets it: the wheel in an empty environment, and none of this repository near."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from built import needs_build
from PIL import Image

import unmelt

ROOT = Path(unmelt.__file__).parent
README = (ROOT / "README.md").read_text()
CONSTRAINTS = ROOT / "constraints.txt"
FOLDER = "unmelt train folder"

# The same way through, in seconds.
SHORT = {
    "train": shlex.split(
        "--training.steps 2 --training.batch-size 4 --training.warmup 1 --network.channels 8 --network.blocks 1"
        " --pictures.count 2 --grid 'UniformGrid(steps=2)'"
    ),
    "sample": ["--steps", "2"],
    "restore": ["--count", "1", "--steps", "2"],
}

# Two minutes, most of them for the installation.
pytestmark = [pytest.mark.slow, needs_build]


def block_that_trains():
    """Return the commands of the block of README that trains on a folder, a list of words each."""
    shells = re.findall(r"```(?:\w*)\n(.*?)```", README, re.DOTALL)
    (block,) = (block for block in shells if FOLDER in block)
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("unmelt ")]


def extras():
    """Return the extras that README says training needs."""
    return re.search(r"pip install '?[\w./]*\[([\w,]+)\]", README)[1]


@pytest.fixture(scope="module")
def environment(wheel):
    """Make an empty virtual environment, and install the wheel and what it needs, in the versions that are tried."""
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "venv", folder, cwd=folder)
        pip = [f"{folder}/bin/pip", "--disable-pip-version-check", "install", "--quiet", "--constraint", CONSTRAINTS]
        # torch first: left to itself another package would pull a build with gigabytes of CUDA.
        found = subprocess.run([*pip, "torch"], capture_output=True, text=True, check=False, env=outside(), cwd=folder)
        if found.returncode:
            reason = f"pip finds no torch to install: {found.stderr.strip().splitlines()[-1]}"
            if os.environ.get("CI"):
                pytest.fail(f"{reason}, and CI is set", pytrace=False)
            pytest.skip(reason)
        run(*pip, f"{wheel}[{extras()}]", cwd=folder)
        yield Path(folder, "bin")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with the pictures that README speaks of."""
    folder = tmp_path_factory.mktemp("work")
    noise = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for index in range(24):
        # Smooth, and of several sizes.
        small = Image.fromarray(noise.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        small.resize((96 + 8 * (index % 3), 80), Image.Resampling.BICUBIC).save(folder / "photos" / f"{index}.png")
    Image.open(folder / "photos" / "0.png").resize((64, 64)).save(folder / "torn.png")
    holes = np.zeros((64, 64), np.uint8)
    holes[20:40, 20:40] = 255
    Image.fromarray(holes).save(folder / "holes.png")
    return folder


def outside():
    """Return the environment of a shell in which nothing of this repository is found."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def run(*command, cwd):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=cwd, env=outside())
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


def test_it_runs_from_the_wheel_alone(environment, work):
    where = "import unmelt; print(unmelt.__file__)"
    assert Path(run(environment / "python", "-c", where, cwd=work).strip()).is_relative_to(environment.parent)
    assert run(environment / "unmelt", "--version", cwd=work).startswith(f"unmelt {unmelt.__version__} (torch ")
    run(environment / "pip", "check", cwd=work)

    commands = block_that_trains()
    assert "train" in [command for _, command, *_ in commands]
    for program, command, *words in commands:
        run(environment / program, command, *words, *SHORT.get(command, []), cwd=work)
    (trained,) = (work / "runs").iterdir()
    assert (trained / "checkpoints" / "step_00000002").is_dir()

    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    (work / "quickstart.py").write_text("\n".join(blocks))
    run(environment / "python", "quickstart.py", cwd=work)
