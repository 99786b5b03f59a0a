"""Run by test_decoders.py: quantised data and decoders as one compiled graph, which reads no value."""

import numpy as np
import torch

from unmelt.degradations import BlurringDiffusion, CosineSchedule, IsotropicDiffusion
from unmelt.models import DiscretisedGaussianDecoder, GaussianDecoder, GreyLevels

SHAPE = (1, 4, 6)
LEVELS = GreyLevels(17, -1.0, 1.0)


def compiled(function):
    return torch.compile(function, fullgraph=True, backend="eager")


def check_levels() -> None:
    """What is allowed keeps its value, everything else becomes NaN."""
    on_levels = compiled(LEVELS.on_levels)
    values = on_levels(torch.tensor([-1.0, 0.125, 1.0, 0.13, 1.2, torch.nan]))
    assert values[:3].tolist() == [-1.0, 0.125, 1.0]
    assert values[3:].isnan().all()
    values = on_levels(torch.tensor([0, 16, -1, 17]))
    assert values[:2].tolist() == [-1.0, 1.0]
    assert values[2:].isnan().all()
    print(type(LEVELS).__name__)


def check_decoder(build) -> None:
    """One graph, the same result; no distribution at the second example's time, or data off the levels, gives NaN."""
    levels = torch.randint(17, (2, *SHAPE), generator=torch.Generator().manual_seed(0))
    x_hat = torch.rand((2, *SHAPE), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    decoder = build(BlurringDiffusion(SHAPE, blur_sigma_max=2.0))
    x, t = decoder.prepare(levels), torch.tensor([0.1, 0.3], dtype=torch.float64)
    ours, theirs = compiled(decoder.negative_log_likelihood)(x, x_hat, t), decoder.negative_log_likelihood(x, x_hat, t)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    unbounded = build(IsotropicDiffusion(SHAPE, CosineSchedule(-np.inf, np.inf)))
    for end in (0.0, 1.0):
        t = torch.tensor([0.5, end], dtype=torch.float64)
        assert compiled(unbounded.negative_log_likelihood)(x, x_hat, t).isnan().tolist() == [False, True]
    levels[1, 0, 0, 0] = 17
    assert compiled(decoder.prepare)(levels).isnan().sum() == 1
    print(type(decoder).__name__)


check_levels()
check_decoder(lambda process: GaussianDecoder(process, grey_levels=LEVELS))
check_decoder(lambda process: DiscretisedGaussianDecoder(process, LEVELS))
