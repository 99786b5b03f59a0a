"""Here, not beside the bases, whose tests check shapes at run time, which breaks graphs."""

import pytest
import torch

from unmelt.degradations import CosineBasis


@pytest.mark.full
def test_compiled_code_follows_the_setting():
    basis = CosineBasis((3, 8, 8))
    compiled = torch.compile(basis.forward, fullgraph=True, backend="aot_eager")
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    try:
        for setting in ("highest", "high", "highest"):
            torch.set_float32_matmul_precision(setting)
            assert torch.equal(compiled(x), basis(x.double()).float()) == (setting == "high")
    finally:
        torch.set_float32_matmul_precision("highest")
