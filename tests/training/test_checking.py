"""The look at all of a data set: what is unreadable, repeated, in both parts, and in which range."""

from pathlib import Path

import pytest
import torch
from small_runs import run_python

from unmelt.training import ArrayExamples, Splits
from unmelt.training.data import check_data


def test_figures_are_those_of_the_arrays():
    x = torch.randn(50, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    x[7] = x[3]
    report = check_data(Splits(ArrayExamples(x[:40]), ArrayExamples(torch.cat([x[40:], x[:2], x[:1]]))))
    found = report.train
    assert (found.count, found.repeated, found.unreadable) == (40, 1, {})
    assert (found.low, found.high) == (x[:40].min().item(), x[:40].max().item())
    assert found.mean == pytest.approx(x[:40].double().mean().item(), abs=1e-12)
    assert found.stddev == pytest.approx(x[:40].double().std(correction=0).item(), rel=1e-12)
    assert (report.test.count, report.test.repeated) == (13, 1)
    assert report.shared == 2


MEMORY = """
import os, sys
import torch
from unmelt.training import ArrayExamples, Splits
from unmelt.training.data import check_data
from unmelt.training.data.examples import Examples

class Large(Examples):
    workers = int(sys.argv[1])
    def __len__(self):
        return int(sys.argv[2])
    def read(self, indices):
        numbers = torch.tensor(range(len(self))[indices] if isinstance(indices, slice) else list(indices))
        return numbers.float()[:, None].expand(-1, 2**18)[:, None].contiguous()
    def fingerprint(self):
        return ""

if __name__ == "__main__":
    examples = Large((1, 2**18), None, None)
    most = 0
    for batch in examples.blocks().fetched():
        del batch
        children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
        pages = [int(open(f"/proc/{pid}/statm").read().split()[1]) for pid in ("self", *children)]
        most = max(most, max(pages))
    print(most * os.sysconf("SC_PAGE_SIZE") // 2**20)
"""


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_data(tmp_path, workers):
    """Megabytes that a process holds at most, of 100 and of 1600 MB that it reads."""
    (tmp_path / "program.py").write_text(MEMORY)
    few, many = (int(run_python("program.py", str(workers), str(count), cwd=tmp_path).stdout) for count in (100, 1600))
    # Blocks of 16 MB, of which some are on their way.
    assert many - few < 100
