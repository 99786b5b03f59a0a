"""Every process, prediction, loss and coupling gives the same numbers on a device as on the CPU."""

import pytest
import torch
from parity import compare

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_numbers_differ_by_rounding_alone(device):
    # TensorFloat-32 rounds to 11 bits; parity is about float32.
    torch.set_float32_matmul_precision("highest")
    checks = compare(torch.device(device), size=16, batch=2, steps=10)
    assert len(checks) > 100
    assert not [check for check in checks if not check.passed]
