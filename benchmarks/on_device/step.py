"""A training step as unmelt's trainer takes it, on images that are on the device already."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unmelt.core import Later
from unmelt.models import EMA
from unmelt.training import RunConfig
from unmelt.training.building import build_denoiser, build_loss, build_process
from unmelt.training.loop.engine import channels_last

SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Variant:
    """How a step is taken.

    Attributes:
        large: of the larger batch.
        precision: autocast's dtype; float32 for none.
        compiled: compile the loss, as the trainer does.
        channels_last: lay images and weights out with their channels together.
        fused: let the optimizer take one kernel for all parameters, as the recipe's does.
        graph: capture loss, gradient and optimizer's step in a CUDA graph, and replay it.
        tf32: let convolutions of float32 take TensorFloat-32, as torch does by itself.
    """

    large: bool = False
    precision: torch.dtype = torch.float32
    compiled: bool = False
    channels_last: bool = False
    fused: bool = True
    graph: bool = False
    tf32: bool = True

    def __str__(self) -> str:
        words = [str(self.precision).removeprefix("torch."), "compiled" if self.compiled else "eager"]
        words += ["channels last"] if self.channels_last else []
        words += [] if self.fused else ["optimizer not fused"]
        words += ["CUDA graph"] if self.graph else []
        words += [] if self.tf32 else ["no TF32"]
        return ", ".join(words)


class TrainingStep:
    """One step, without the trainer's look at whether the gradient is finite, for which it waits.

    Args:
        config: the recipe.
        device: where to train.
        variant: how.
    """

    def __init__(self, config: RunConfig, device: torch.device, variant: Variant) -> None:
        torch.manual_seed(0)
        self.device, self.variant, self.clip = device, variant, config.training.clip
        self.x = torch.rand(config.training.batch_size, *SHAPE).to(device)
        process = build_process(config, SHAPE).to(device)
        self.denoiser = build_denoiser(config, process, None).to(device).train()
        self.loss = build_loss(config, self.denoiser).to(device)
        if variant.channels_last:
            channels_last(self.denoiser)
            self.x = self.x.to(memory_format=torch.channels_last)
        if variant.compiled:
            self.loss.compile()
        self.optimizer = optimizer_of(config, variant)(self.loss.parameters())
        self.ema = EMA(self.denoiser, config.training.ema_decays[0])
        self._captured: torch.cuda.CUDAGraph | None = None
        if variant.graph:
            self._capture()

    def __call__(self) -> None:
        """Take the step without waiting for its result."""
        if self._captured is None:
            self._take()
        else:
            self._captured.replay()
        # Its decay is a number of the host's, another one in each step.
        self.ema.update(self.denoiser)

    def _take(self) -> None:
        with torch.autocast(self.device.type, self.variant.precision, enabled=self.variant.precision != torch.float32):
            loss = self.loss(self.x).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.loss.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _capture(self) -> None:
        """Capture the step, after some on a stream of their own in which everything that is made once is made."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._take()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._take()
        self._captured = graph

    @torch.no_grad()
    def process_alone(self) -> None:
        """Draw times and noise, and make latent and target of them: what the forward process does in a step."""
        loss, process = self.loss, self.denoiser.process
        at = process.at(loss.times.sample(len(self.x), device=self.device))
        self.denoiser.prediction.training_pair(at, self.x, torch.randn_like(self.x))


def optimizer_of(config: RunConfig, variant: Variant) -> Later[..., torch.optim.Optimizer]:
    """Return the recipe's optimizer as a variant takes it."""
    made = config.optimizer
    assert isinstance(made, Later)
    # A captured step keeps count of itself on the device.
    return Later(made.make, {**made.settings, "fused": variant.fused, "capturable": variant.graph})
