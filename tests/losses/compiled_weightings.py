"""Run by test_weightings.py: the loss of every weighting, compiled as one graph, against its eager self."""

import torch
from torch import nn

from unmelt.degradations import BlurringDiffusion, PredictEpsilon, PredictX
from unmelt.losses import (
    BoundWeighting,
    DenoisingLoss,
    EDMWeighting,
    FrequencyWeighting,
    LearnedLogVariance,
    MinSNRWeighting,
    P2Weighting,
    SigmoidWeighting,
    SimpleWeighting,
)
from unmelt.models import Denoiser

SHAPE = (1, 4, 4)
WEIGHTINGS = [
    SimpleWeighting(),
    SimpleWeighting(PredictX()),
    MinSNRWeighting(),
    P2Weighting(),
    EDMWeighting(),
    BoundWeighting(),
    SigmoidWeighting(-1.0),
    FrequencyWeighting(SimpleWeighting(), torch.rand(SHAPE)),
    FrequencyWeighting(BoundWeighting(), torch.rand(4, 1)),
]


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, z, t, condition=None):
        return self.scale * z * t[:, None, None, None]


def check(process, prediction, weighting, log_variance):
    """fullgraph=True raises at the first break; the eager backend then runs the captured graph."""
    denoiser = Denoiser(Scaled(), process, prediction=prediction)
    loss = DenoisingLoss(denoiser, weighting=weighting, log_variance=log_variance)
    x = torch.rand(4, *SHAPE)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    values, gradients = [], []
    for run in (compiled, loss):
        torch.manual_seed(0)
        denoiser.zero_grad()
        values.append(run(x))
        values[-1].mean().backward()
        gradients.append(denoiser.network.scale.grad.clone())
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)
    print(type(process).__name__, type(weighting).__name__)


process = BlurringDiffusion(SHAPE)
for weighting in WEIGHTINGS:
    check(process, PredictEpsilon(), weighting, None)
check(process, PredictEpsilon(), SimpleWeighting(), LearnedLogVariance())
