"""Run by test_compiled_steps.py: a training step's loss and every stepper's step, each compiled as one graph."""

import sys

import torch

from unmelt.degradations import (
    BlurringDiffusion,
    Deterministic,
    HeatDissipation,
    IsotropicDiffusion,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictV,
)
from unmelt.losses import DenoisingLoss
from unmelt.models import DegradedDataPrior, Denoiser, UNet
from unmelt.samplers import Follow, Heun, Multistep, Posterior, PredictorCorrector, Sampler

SHAPE = (1, 8, 8)
# Every stepper on one process or another: each takes seconds to trace.
CASES = {
    "heat": (HeatDissipation(SHAPE, levels=10), PredictPreviousLevel(), [Posterior(), Heun(), Multistep()]),
    "blurring": (
        BlurringDiffusion(SHAPE),
        PredictEpsilon(),
        [Posterior(Deterministic()), Multistep(follow=Follow.EITHER)],
    ),
    "isotropic": (IsotropicDiffusion(SHAPE), PredictV(), [Multistep(eta=1.0), Heun(eta=1.0), PredictorCorrector()]),
}


def check(function, *arguments):
    """Check that one graph gives the same for batches of all sizes; fullgraph=True raises at the first graph break."""
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    for batch in (4, 3):
        rows = [argument[:batch].clone() for argument in arguments]
        # As a second size would of itself, after tracing everything twice.
        for argument in rows:
            torch._dynamo.maybe_mark_dynamic(argument, 0)
        torch.manual_seed(0)
        ours = compiled(*rows)
        torch.manual_seed(0)
        torch.testing.assert_close(ours, function(*rows))


process, prediction, steppers = CASES[sys.argv[1]]
network = UNet(SHAPE, channels=8, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.0)
denoiser = Denoiser(network, process, prediction=prediction)
x = torch.rand(4, *SHAPE)
check(DenoisingLoss(denoiser), x)
times = torch.tensor([0.4, 0.5, 0.6, 0.7], dtype=torch.float64)
prior = DegradedDataPrior.fit(process, x)
for stepper in steppers:
    sampler = Sampler(denoiser, stepper, prior=prior)
    check(lambda z, t, s, sampler=sampler: sampler.step(z, t, s), x, times, times / 2)
print("compiled")
