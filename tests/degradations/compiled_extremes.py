"""Run by test_extremes.py: extreme processes, by number, compiled as one graph each, against their eager selves."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from test_extremes import EXTREME, SHAPE

from unmelt.degradations import Eta, Markov, PredictEpsilon, PredictPreviousLevel, PredictV, PredictX, Step
from unmelt.testing.strategies import random_images


def predicted(process, x, z, s, t):
    """What losses and samplers make of levels: steps, latents, targets, conversions."""
    at_s, at_t = process.ordered_levels(s, t)
    results = list(Step.between(at_s, at_t, Eta(0.5)).posterior)
    for prediction in (PredictX(), PredictEpsilon(), PredictV(), PredictPreviousLevel(levels=4)):
        results += [*prediction.training_pair(at_t, x, z), *prediction.conversion(at_t, at_s.log_alpha)]
    return results


def check(process):
    """fullgraph=True raises at the first break; the eager backend then runs the captured graph."""

    def distributions(x, z, s, t):
        q = process.posterior(z, x, s, t, Markov())
        return process.marginal(x, t).mean, process.transition(z, s, t).mean, q.mean, *process.degrade(x, t, s)

    x, z = random_images(SHAPE), random_images(SHAPE, seed=1)
    s, t = torch.tensor([0.1, 0.2], dtype=torch.float64), torch.tensor([0.3, 0.9], dtype=torch.float64)
    torch._dynamo.reset()
    compiled = torch.compile(distributions, fullgraph=True, backend="eager")
    for ours, theirs in zip(compiled(x, z, s, t), distributions(x, z, s, t), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    levels = torch.compile(predicted, fullgraph=True, backend="eager")
    for ours, theirs in zip(levels(process, x, z, s, t), predicted(process, x, z, s, t), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13, equal_nan=True)
    # In a graph values are not read, so a time outside [0, 1] cannot raise; it must not give a picture either.
    for result in compiled(x, z, s, torch.tensor([0.3, 1.5], dtype=torch.float64)):
        assert result[0].isfinite().all()
    for result in compiled(x, z, s, torch.tensor([0.3, 1.5], dtype=torch.float64))[:4]:
        assert result[1].isnan().all()


for number in sys.argv[1:]:
    check(EXTREME[int(number)])
    print(type(EXTREME[int(number)]).__name__)
