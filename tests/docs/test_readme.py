"""README: its degradation is a process of ten lines, and what it names exists."""

import re
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_example_of_a_degradation_is_a_valid_process():
    (code,) = re.findall(r"```python\n(import math, torch\n.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102
    process = names["Fog"]((1, 6, 5))
    grid = torch.linspace(0, 1, 33, dtype=torch.float64)
    assert (process.log_snr(grid).diff(dim=0) <= 0).all()
    # Ten lines, not counting the sentence that says what it is.
    body = [line for line in code[code.index("class") :].splitlines() if line.strip() and '"""' not in line]
    assert len(body) <= 10


def test_files_that_are_named_exist():
    named = re.findall(r"`((?:[\w]+/)+[\w.]+|[A-Z]+\.md|[\w]+\.txt)`", README)
    named += re.findall(r"(docs/images/[\w.]+)", README)
    assert len(named) > 10
    missing = [path for path in named if not path.startswith("runs/") and not (ROOT / path).exists()]
    assert not missing


def test_the_two_commands_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target} " in README
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
