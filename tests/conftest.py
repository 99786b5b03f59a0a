"""What holds for every test: offline hubs, reproducible examples, and shapes checked at run time where asked for."""

import os
import signal

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
EXAMPLES = int(os.environ.get("UNMELT_EXAMPLES", "15"))

# With UNMELT_CHECK_SHAPES=1 every annotation of the library is checked on every call, which takes longer.
if os.environ.get("UNMELT_CHECK_SHAPES") == "1":
    jaxtyping.install_import_hook("unmelt", "beartype.beartype")

# Examples are drawn from a fixed seed, so that a failure here is a failure everywhere. UNMELT_EXAMPLES asks for more.
settings.register_profile(
    "unmelt", deadline=None, max_examples=EXAMPLES, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unmelt")

# Under nohup it is ignored, and runs heed that: tests that send it would wait for nothing.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Two cores, and as many test processes.
torch.set_num_threads(1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def as_in_production():
    """Run the test without run-time checks of annotations, to meet the library's own errors about dtypes."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def pytest_make_parametrize_id(val):
    """Name functions by their names: their addresses differ from one test process to the next."""
    return getattr(val, "__name__", None) if callable(val) else None
