"""Run by test_compiled_steps.py: a training step's loss and a sampler's step, each compiled as one graph."""

import torch

from unmelt.degradations import (
    BlurringDiffusion,
    HeatDissipation,
    IsotropicDiffusion,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
)
from unmelt.losses import DenoisingLoss
from unmelt.models import DegradedDataPrior, Denoiser, UNet
from unmelt.samplers import PosteriorSampler

SHAPE = (1, 8, 8)
CASES = [
    (HeatDissipation(SHAPE, levels=10), PredictPreviousLevel()),
    (BlurringDiffusion(SHAPE), PredictEpsilon()),
    (IsotropicDiffusion(SHAPE), PredictV()),
]

for process, prediction in CASES:
    network = UNet(SHAPE, channels=8, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.0)
    denoiser, loss = Denoiser(network, process, prediction=prediction), DenoisingLoss(process)
    x = torch.rand(4, *SHAPE)

    # fullgraph=True raises at the first graph break.
    torch._dynamo.reset()
    torch.manual_seed(0)
    compiled = torch.compile(lambda x, d=denoiser, f=loss: f(d, x), fullgraph=True, backend="eager")(x)
    torch.manual_seed(0)
    torch.testing.assert_close(compiled, loss(denoiser, x))

    sampler = Sampler(denoiser, prior=DegradedDataPrior(process, x))
    times = torch.tensor([0.4, 0.5, 0.6, 0.7], dtype=torch.float64)
    step = torch.compile(lambda z, t, s, f=sampler: f.step(z, t, s), fullgraph=True, backend="eager")
    torch.manual_seed(0)
    compiled = step(x, times, times / 2)
    torch.manual_seed(0)
    torch.testing.assert_close(compiled, sampler.step(x, times, times / 2))
    print(type(process).__name__)
