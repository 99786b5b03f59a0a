"""The first page that a newcomer follows: its code runs on a short demo, and it is true of what a run leaves."""

import contextlib
import io
import re
import sys
from pathlib import Path

import pytest
import torch

from unmelt.testing import check_process
from unmelt.training import launch

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "start_here.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHORT = [
    *("--training.steps", "2", "--network.channels", "8", "--pictures.count", "10"),
    *("--grid", "UniformGrid(steps=3)"),
]


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The folder of a run like that of `make demo`, but for its length, in the folder that one works in."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "demo"}
    exec((ROOT / "recipes" / "demo.py").read_text(), names)  # noqa: S102
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        launch(names["RECIPE"], arguments=SHORT)
    return tmp_path / "runs" / "demo"


@pytest.mark.full
def test_its_code_runs_on_a_short_demo_and_the_files_it_names_are_there(demo):
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "start_here.md", "exec"), names)  # noqa: S102
    assert names["digits"].shape == names["result"].samples.shape == (10, 1, 28, 28)
    # A sample is that of its seed.
    third = names["run"].sample(1, condition=torch.tensor([3]), generator=[3])
    torch.testing.assert_close(third[0], names["digits"][3], rtol=0, atol=1e-4)
    assert Path("few.png").is_file()
    (rows,) = re.findall(r"\| file \|.*?\n\|---.*?\n(.*?)\n\n", PAGE, re.DOTALL)
    named = [name for row in rows.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    # All that is there, but for a hidden lock.
    assert {name.strip("/") for name in named} == {path.name for path in demo.iterdir() if path.name[0] != "."}


def test_its_degradation_is_a_process_of_ten_lines(monkeypatch):
    (code,) = (block for block in BLOCKS if block.startswith("# dusk.py\n"))
    module = type(sys)("dusk")
    # Classes are pickled by check_process, which looks for them in their module.
    monkeypatch.setitem(sys.modules, "dusk", module)
    exec(compile(code, "dusk.py", "exec"), module.__dict__)  # noqa: S102
    with contextlib.redirect_stdout(io.StringIO()):
        check_process(module.Dusk((1, 5, 4)), max_examples=2)
    body = [line for line in code[code.index("class") :].splitlines() if line.strip()]
    assert len(body) <= 10


def test_it_tells_what_the_demo_prints():
    """The names and what they are, word for word; figures are those of one run."""
    (shown,) = re.findall(r"```\n(training on the digits.*?)```", PAGE, re.DOTALL)
    source = (ROOT / "training" / "run_pictures.py").read_text()
    files = re.findall(r"^  runs/demo/(\S+)  (.+)$", shown, re.MULTILINE)
    assert len(files) == 5
    for name, what in files:
        assert name in source
        assert f'"{what}"' in source or what == "60 samples"
    # The same figures in words.
    for share in re.findall(r"([\d.]+)%", shown):
        assert re.search(rf"\b{float(share):.0f}\b", PAGE.replace(shown, ""))
