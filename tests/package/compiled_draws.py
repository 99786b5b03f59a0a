"""Run by test_compiled_draws.py: everything small that draws or degrades, compiled once for batches of every size."""

import torch
import torch._dynamo.testing

from unmelt.core import white_noise
from unmelt.degradations import BlurringDiffusion, HeatDissipation, PredictX
from unmelt.losses import Antithetic, LevelTimes, LowDiscrepancy, Stratified, UniformTimes
from unmelt.models import DegradedDataPrior, Denoiser, GreyLevels, UNet, drop_labels
from unmelt.samplers import Multistep, Posterior, Sampler, UniformGrid

SHAPE = (1, 4, 4)
PROCESS = BlurringDiffusion(SHAPE)
PRIOR = DegradedDataPrior.fit(PROCESS, torch.rand(3, *SHAPE))
TIMES = [UniformTimes(), LevelTimes(7), Stratified(), LowDiscrepancy(), Antithetic()]


def images(batch):
    return torch.rand(batch, *SHAPE)


def pixels(batch):
    return torch.randint(0, 256, (batch, *SHAPE))


CASES = [
    (images, lambda x: white_noise(x.shape, like=x)),
    (images, lambda x: PROCESS.marginal(x, 0.3).rsample()),
    *[(images, lambda x, p=p: torch.stack(p.degrade(x, 0.3, 0.5))) for p in (PROCESS, HeatDissipation(SHAPE))],
    (images, lambda x: PROCESS.sample_path(x, [0.3, 0.5])),
    (images, lambda x: PRIOR.sample(len(x))),
    (pixels, lambda x: GreyLevels(256, 0.0, 1.0).dequantise(x)),
    (lambda batch: torch.arange(batch), lambda labels: drop_labels(labels, 9, 0.3)),
    *[(images, lambda x, t=t: t.bind(PROCESS).sample(len(x), device=x.device)) for t in TIMES],
]

for made, function in CASES:
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    # The second size makes the batch a symbol, the third is met by the same graph.
    for batch in (4, 3, 5):
        x, drawn = made(batch), []
        for call in (compiled, function):
            torch.manual_seed(0)
            drawn.append(call(x))
        assert torch.equal(*drawn)

# A network that was compiled in place is what samplers call.
torch._dynamo.reset()
network = UNet(SHAPE, channels=4, multipliers=(1,), blocks=1, attention_levels=()).eval()
denoiser = Denoiser(network, PROCESS, prediction=PredictX())
for stepper in (Posterior(), Multistep()):
    sampler, drawn = Sampler(denoiser, stepper, UniformGrid(5)), []
    for compile_it in (False, True):
        if compile_it:
            graphs = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
            network.compile(backend=graphs)
        drawn.append(sampler.sample(3, generator=torch.Generator().manual_seed(0)))
    assert graphs.frame_count > 0
    assert torch.equal(*drawn)
    network._compiled_call_impl = None
print("compiled")
