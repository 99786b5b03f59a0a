"""Steps in which nothing may wait for the device: of training, with every loss, and of every sampler of fixed steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from on_device.setting import Bench
from on_device.step import TrainingStep, Variant
from on_device.timing import release

# The tests' own lists.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "device"))
from every_part import LOSSES, STEPPERS

from unmelt.degradations import BlurringDiffusion, PredictX
from unmelt.losses import DenoisingLoss
from unmelt.models import DegradedDataPrior, Denoiser
from unmelt.samplers import Sampler, Stepper, UniformGrid

_STEPS = 3
_PROCESS_SHAPE = (3, 16, 16)
_NEVER_WAITED = "never waited"


class Sentry(nn.Module):
    """A network that forbids waiting from its first call on: a sampler's tables, made before it, may wait."""

    def __init__(self, forbid: Callable[[], None]) -> None:
        super().__init__()
        self.forbid = forbid
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, z: Tensor, t: Tensor, condition: object = None) -> Tensor:
        """Return half the signals (batch, *shape)."""
        self.forbid()
        return self.gain * z


def measure(bench: Bench) -> dict[str, object]:
    """Take all steps, and report those that waited. On a CPU they are taken, too, but nothing waits there."""
    device = bench.device
    outcomes = dict[str, str]()
    for precision in (torch.float32, torch.bfloat16):
        step = TrainingStep(bench.config(bench.size.batches[0]), device, Variant(precision=precision))
        step()
        outcomes[f"training steps, {precision}"] = _outcome(bench, partial(_repeat, bench, step))
    release(device)
    process = BlurringDiffusion(_PROCESS_SHAPE).to(device)
    # Random numbers come from the device's own generator here: one on the CPU has to be waited for.
    x = torch.rand(8, *_PROCESS_SHAPE, device=device)
    losses: dict[str, Callable[[], dict[str, Any]]] = dict(LOSSES)
    for name, settings in losses.items():
        denoiser = Denoiser(Sentry(_nothing), process, prediction=PredictX()).to(device)
        loss = DenoisingLoss(denoiser, **settings()).to(device)
        take = partial(_gradient, loss, x)
        take()
        outcomes[f"{name} loss"] = _outcome(bench, partial(_repeat, bench, take))
    prior = DegradedDataPrior.fit(process, x)
    for stepper in STEPPERS:
        outcomes[f"sampler steps, {stepper}"] = _outcome(bench, partial(_sample, bench, stepper, process, prior))
    waited = {name: outcome for name, outcome in outcomes.items() if outcome != _NEVER_WAITED}
    print(f"  {len(outcomes) - len(waited)} of {len(outcomes)} kinds of steps never waited", end="")
    print("" if device.type == "cuda" else "; there is nothing to wait for on a CPU")
    for name, outcome in waited.items():
        print(f"  {name}: {outcome}")
    bench.fail_if([f"{name}: {outcome}" for name, outcome in waited.items()], "steps waited for the device")
    return dict(outcomes)


def _gradient(loss: DenoisingLoss, x: Tensor) -> None:
    loss(x).mean().backward()


def _sample(bench: Bench, stepper: Stepper, process: BlurringDiffusion, prior: DegradedDataPrior) -> None:
    network = Sentry(partial(_forbid_waiting, bench.device))
    denoiser = Denoiser(network, process, prediction=PredictX()).to(bench.device)
    Sampler(denoiser, stepper, grid=UniformGrid(8), prior=prior).sample(4)


def _repeat(bench: Bench, step: Callable[[], None]) -> None:
    _forbid_waiting(bench.device)
    for _ in range(_STEPS):
        step()


def _nothing() -> None:
    pass


def _forbid_waiting(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")


def _outcome(bench: Bench, call: Callable[[], object]) -> str:
    """Return how a call ended that forbids waiting somewhere on its way."""
    try:
        call()
    except RuntimeError as error:
        return f"WAITED: {error}"
    else:
        return _NEVER_WAITED
    finally:
        if bench.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
