"""An empty folder to work in, with modules of the user's that are forgotten after the test."""

import sys

import pytest


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Work in an empty folder; what is imported from there, and the path that it is found by, go with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # It would hide an edit of the same second and size.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
