"""What holds for every test: shapes checked at run time, offline hubs, reproducible examples."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from jaxtyping import install_import_hook

# Every annotation of the library is checked on every call, from here on.
install_import_hook("unmelt", "beartype.beartype")

import pytest
import torch
from hypothesis import HealthCheck, settings

# Examples are drawn from a fixed seed, so that a failure here is a failure everywhere; `--hypothesis-seed` varies them.
settings.register_profile(
    "unmelt", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unmelt")

# Two cores, and as many test processes.
torch.set_num_threads(1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
