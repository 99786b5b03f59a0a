"""Fixtures of the model tests."""

import jaxtyping
import pytest


@pytest.fixture
def unchecked():
    """Take the run-time checks of annotations away: to meet the library's own, and for torch.compile to look inside."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
