"""A training run of a second, and accelerate anew for each test."""

import pytest
from accelerate.state import AcceleratorState
from small_runs import images, small_run


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Let each test set up accelerate anew, as each program does."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def splits():
    return images()


@pytest.fixture
def config(tmp_path):
    return small_run(tmp_path / "runs")


@pytest.fixture
def training(tmp_path):
    """Return the run under another name, or with some settings changed."""

    def change(name="small", **changes):
        return small_run(tmp_path / "runs", name, **changes)

    return change
