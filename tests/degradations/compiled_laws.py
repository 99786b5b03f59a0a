"""Run by test_extremes.py: every law of extreme processes, by number, compiled as one graph, against its eager self."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from test_extremes import EXTREME, SHAPE

from unmelt.degradations import Markov
from unmelt.testing.strategies import random_images


def check(process):
    """fullgraph=True raises at the first break; the eager backend then runs the captured graph."""

    def laws(x, z, s, t):
        q = process.posterior(z, x, s, t, Markov())
        return process.marginal(x, t).mean, process.transition(z, s, t).mean, q.mean, *process.degrade(x, t, s)

    x, z = random_images(SHAPE), random_images(SHAPE, seed=1)
    s, t = torch.tensor([0.1, 0.2], dtype=torch.float64), torch.tensor([0.3, 0.9], dtype=torch.float64)
    torch._dynamo.reset()
    compiled = torch.compile(laws, fullgraph=True, backend="eager")
    for ours, theirs in zip(compiled(x, z, s, t), laws(x, z, s, t), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    # In a graph values are not read, so a time outside [0, 1] cannot raise; it must not give a picture either.
    for law in compiled(x, z, s, torch.tensor([0.3, 1.5], dtype=torch.float64)):
        assert law[0].isfinite().all()
    for law in compiled(x, z, s, torch.tensor([0.3, 1.5], dtype=torch.float64))[:4]:
        assert law[1].isnan().all()


for number in sys.argv[1:]:
    check(EXTREME[int(number)])
    print(type(EXTREME[int(number)]).__name__)
