"""What fitting a kernel density takes of memory: its table, and some blocks of the data."""

from pathlib import Path

import pytest
from small_runs import ROOT, run_python

PROGRAM = f"""
import sys
import torch
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
from measuring import peak_memory
from unmelt.degradations import HeatDissipation
from unmelt.models import DegradedDataPrior
from unmelt.models.priors import blocks

blocks.LARGEST = 2**18
process = HeatDissipation((1, 32, 32), blur_sigma_min=0.1, blur_sigma_max=float(sys.argv[1]))
images = torch.rand(20_000, 1, 32, 32)
DegradedDataPrior.fit(process, images[:1000])
fitted = []
peak = peak_memory(lambda: fitted.append(DegradedDataPrior.fit(process, images)))
table = fitted[0].deviations
print(table.shape[1], table.numel() * table.element_size(), int(peak))
"""


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize(("blur", "least", "most"), [(8.0, 8, 200), (0.2, 1024, 1024)])
def test_a_fit_takes_one_table_and_some_blocks(tmp_path, blur, least, most):
    """Of 80 MB of images a few coefficients are kept, or all."""
    (tmp_path / "program.py").write_text(PROGRAM)
    kept, table, peak = map(int, run_python("program.py", str(blur), cwd=tmp_path).stdout.split())
    assert least <= kept <= most
    assert table == 20_000 * kept * 4
    # A dozen tensors of a block's 2^18 numbers in float64: its transform, in both precisions, and differences.
    assert peak <= table + 12 * 8 * 2**18
