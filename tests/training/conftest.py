"""A training run of a second, accelerate anew for each test, and a folder to work in."""

import sys

import pytest
from accelerate.state import AcceleratorState
from small_runs import images, small_run
from user_files import forget


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


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Work in a folder whose modules are found, and forgotten after the test."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    # It would hide an edit of the same second and size.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    forget(tmp_path)


@pytest.fixture
def no_images(monkeypatch):
    """Fail whatever asks for images."""

    def asked(*arguments):
        msg = "asked for images"
        raise AssertionError(msg)

    def forbid():
        monkeypatch.setattr("unmelt.training.data.digits.Digits.load", asked)
        monkeypatch.setattr("unmelt.training.data.examples.Examples.blocks", asked)

    return forbid
