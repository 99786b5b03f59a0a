"""Runs unmelt on whatever device is there: how fast is it, does it keep the device waiting?

    python benchmarks/device.py                  # the first CUDA device, else the CPU with small defaults (2 minutes)
    python benchmarks/device.py --cpu            # the CPU
    python benchmarks/device.py --no-compile     # leave torch.compile out
    python benchmarks/device.py --save           # also write benchmarks/results/device-NAME.json

1. Training speed: images per second and peak memory of the CIFAR-10 heat recipe's step (a smaller network on a CPU),
   in float32 and bf16 autocast, eager and compiled; and how much of a step the process takes.
2. Waiting: on CUDA, training and sampler steps run while every synchronisation with the host is an error.

That numbers are the same there as on the CPU is a test: pytest -m full tests/device.
"""

from __future__ import annotations

import dataclasses
import re
import resource
import runpy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
from measuring import machine, print_machine, print_rows, write_json
from torch import Tensor, nn

from unmelt.core import later
from unmelt.core.configuration import cli
from unmelt.degradations import (
    CosineBasis,
    Deterministic,
    Eta,
    Independent,
    Markov,
)
from unmelt.models import EMA, DegradedDataPrior, Denoiser, UNet
from unmelt.samplers import Posterior, Sampler, UniformGrid
from unmelt.training import RunConfig
from unmelt.training.building import build_denoiser, build_loss, build_process

_RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "cifar10_heat.py"
_RESULTS = Path(__file__).resolve().parent / "results"
_SHAPE = (3, 32, 32)
_WARM_UP = 3
_NEVER_WAITED = "never waited"


@dataclass(frozen=True)
class Settings:
    """The command line.

    Attributes:
        cpu: use the CPU even where there is CUDA.
        batch_size: training images per step; the recipe's 128 on CUDA and 8 on a CPU if not given.
        whole_network: train the recipe's whole network (61 M parameters) on a CPU, too.
        steps: training steps in one timed window; 20 on CUDA and 2 on a CPU if not given.
        windows: timed windows; their median is reported.
        compile: measure compiled training steps, too.
        threads: CPU threads that torch computes with; its own choice if not given.
        json: write all numbers to this file.
        save: write all numbers to benchmarks/results/device-NAME.json.
    """

    cpu: bool = False
    batch_size: int | None = None
    whole_network: bool = False
    steps: int | None = None
    windows: int = 5
    compile: bool = True
    threads: int | None = None
    json: Path | None = None
    save: bool = False


def main(settings: Settings) -> int:
    """Run all parts; return the exit status."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() and not settings.cpu else "cpu")
    facts = machine(device)
    print_machine(facts)
    reduced = reduced_precision(device)
    config = _configuration(device, settings)
    speed = training_speed(device, config, settings)
    waits = check_waiting(device, config)
    numbers = {
        "machine": facts,
        "transform_errors": reduced,
        "training": speed,
        "waiting": waits,
    }
    if settings.json is not None:
        write_json(settings.json, numbers)
    if settings.save:
        slug = re.sub(r"[^a-z0-9]+", "-", str(facts["device"]).lower()).strip("-")
        write_json(_RESULTS / f"device-{slug}.json", numbers)
    return 0 if set(waits.values()) <= {_NEVER_WAITED} else 1


# ---- precision ----------------------------------------------------------------------------------------------------


def reduced_precision(device: torch.device) -> dict[str, float]:
    """Report a transform's error where the user lets matrix products be less than float32, as for speed many do."""
    x = torch.rand(8, *_SHAPE, generator=torch.Generator().manual_seed(0)).to(device)
    basis = CosineBasis(_SHAPE).to(device)
    exact = basis.forward(x.double())
    errors: dict[str, float] = {}
    chosen = torch.get_float32_matmul_precision()
    for precision in ("highest", "high", "medium"):
        torch.set_float32_matmul_precision(precision)
        errors[precision] = (basis.forward(x) - exact).abs().max().item()
    torch.set_float32_matmul_precision(chosen)
    found = ", ".join(f"{precision} {error:.1e}" for precision, error in errors.items())
    print(f"  error of a cosine transform at torch.set_float32_matmul_precision(...): {found}")
    return errors


# ---- training speed -----------------------------------------------------------------------------------------------


class TrainingStep:
    """One step as unmelt's trainer takes it, on images that are on the device already.

    Args:
        config: the recipe.
        device: where to train.
        precision: autocast's dtype; float32 for none.
        compiled: compile the loss, as the trainer does.
    """

    def __init__(self, config: RunConfig, device: torch.device, *, precision: torch.dtype, compiled: bool) -> None:
        torch.manual_seed(0)
        self.device, self.precision, self.clip = device, precision, config.training.clip
        self.x = torch.rand(config.training.batch_size, *_SHAPE).to(device)
        process = build_process(config, _SHAPE).to(device)
        self.denoiser = build_denoiser(config, process, None).to(device).train()
        self.loss = build_loss(config, self.denoiser).to(device)
        if compiled:
            self.loss.compile()
        self.optimizer = config.optimizer(self.loss.parameters())
        self.ema = EMA(self.denoiser, config.training.ema_decays[0])

    def __call__(self) -> None:
        """Take the step without waiting for its result."""
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            loss = self.loss(self.x).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.denoiser)

    def process_alone(self) -> None:
        """Draw times and noise, and make latent and target of them: what the forward process does in a step."""
        loss, process = self.loss, self.denoiser.process
        at = process.at(loss.times.sample(len(self.x), device=self.device))
        self.denoiser.prediction.training_pair(at, self.x, torch.randn_like(self.x))


def training_speed(device: torch.device, config: RunConfig, settings: Settings) -> list[dict[str, object]]:
    """Time training steps in each precision, eager and compiled."""
    steps = settings.steps or (2 if device.type == "cpu" else 20)
    millions = sum(p.numel() for p in config.network(_SHAPE).parameters()) / 1e6
    print(f"\ntraining step: {config.name}, network of {millions:.2f} M parameters, batch {config.training.batch_size}")
    print(f"median of {settings.windows} windows of {steps} steps, each ended by waiting for the device")
    variants: list[dict[str, object]] = []
    for compiled, precision in product(
        (False, True) if settings.compile else (False,), (torch.float32, torch.bfloat16)
    ):
        name = f"{str(precision).removeprefix('torch.')}, {'compiled' if compiled else 'eager'}"
        try:
            numbers = _speed(config, device, precision, steps, settings.windows, compiled=compiled)
            variants.append({"variant": name, **numbers})
        except RuntimeError as error:
            if not compiled:
                raise
            # A machine without a C++ compiler, say: report it, and go on with the rest.
            reason = str(error).strip().splitlines()[0]
            print(f"  {name}: failed: {reason}")
            variants.append({"variant": name, "error": reason})
    done = [variant for variant in variants if "error" not in variant]
    columns = {
        "images/s": ("images_per_second", ".0f"),
        "step, ms": ("step_ms", ".1f"),
        "process, ms": ("process_ms", ".3f"),
        "share": ("process_share", ".2%"),
        "peak memory, GiB": ("peak_memory_gib", ".2f"),
        "first step, s": ("first_step_s", ".1f"),
    }
    rows = [["", *columns]]
    rows += [[str(v["variant"]), *(format(v[key], form) for key, form in columns.values())] for v in done]
    print_rows(rows)
    print("  process: times, noise, latent and target, timed alone and eagerly: an upper bound of its share, since in")
    print("  a step its launches hide behind the network's work, and a compiled step fuses it")
    if device.type == "cpu":
        print("  peak memory: the largest resident set of this program so far, which never falls")
    print(f"  TensorFloat-32 in convolutions: {torch.backends.cudnn.allow_tf32}")
    return variants


def _speed(
    config: RunConfig, device: torch.device, precision: torch.dtype, steps: int, windows: int, *, compiled: bool
) -> dict[str, object]:
    torch.compiler.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    step = TrainingStep(config, device, precision=precision, compiled=compiled)
    first = _window(step, 1, device)
    _window(step, _WARM_UP, device)
    seconds = statistics.median(_window(step, steps, device) for _ in range(windows)) / steps
    memory = _peak_memory(device)
    repeats = 10 * steps
    _window(step.process_alone, _WARM_UP, device)
    process = statistics.median(_window(step.process_alone, repeats, device) for _ in range(windows)) / repeats
    return {
        "images_per_second": len(step.x) / seconds,
        "step_ms": seconds * 1e3,
        "process_ms": process * 1e3,
        "process_share": process / seconds,
        "peak_memory_gib": memory,
        "first_step_s": first,
    }


def _window(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the seconds that `repeats` calls take, from an idle device to an idle device."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory(device: torch.device) -> float:
    """Return the most memory in use so far, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def _configuration(device: torch.device, settings: Settings) -> RunConfig:
    """Return the recipe, with a batch and a network that the device can train."""
    config: RunConfig = runpy.run_path(str(_RECIPE))["RECIPE"]
    on_cpu = device.type == "cpu"
    batch = settings.batch_size or (8 if on_cpu else config.training.batch_size)
    network = config.network
    if on_cpu and not settings.whole_network:
        # As small as it gets: what takes long on a CPU is compiling, kernel by kernel.
        network = later(UNet, channels=32, multipliers=(1,), blocks=1, attention_levels=())
    training = dataclasses.replace(config.training, batch_size=batch)
    return dataclasses.replace(config, network=network, training=training)


# ---- waiting ------------------------------------------------------------------------------------------------------


class _Sentry(nn.Module):
    """A network that forbids waiting from its first call on: a sampler's tables, made before it, may wait."""

    def forward(self, z: Tensor, t: Tensor, condition: object = None) -> Tensor:
        _forbid_waiting()
        return 0.5 * z


def check_waiting(device: torch.device, config: RunConfig) -> dict[str, str]:
    """Take training and sampler steps in which no operation may wait for the device; return an outcome each."""
    print("\nsteps in which nothing may wait for the device")
    if device.type != "cuda":
        print("  skipped: on a CPU there is nothing to wait for")
        return {}
    outcomes: dict[str, str] = {}
    for precision in (torch.float32, torch.bfloat16):
        step = TrainingStep(config, device, precision=precision, compiled=False)
        _window(step, _WARM_UP, device)
        outcomes[f"training steps, {precision}"] = _outcome(partial(_three_steps, step))
    # Random numbers come from the device's own generator here: one on the CPU has to be waited for.
    step = TrainingStep(config, device, precision=torch.float32, compiled=False)
    process = step.denoiser.process
    denoiser = Denoiser(_Sentry(), process, prediction=step.denoiser.prediction)
    prior = DegradedDataPrior.fit(process, step.x)
    for coupling in (Markov(), Deterministic(), Independent(), Eta(0.5)):
        sampler = Sampler(denoiser, Posterior(coupling), grid=UniformGrid(20), prior=prior)
        outcomes[f"sampler steps, {coupling}"] = _outcome(partial(sampler.sample, 4))
    for name, outcome in outcomes.items():
        print(f"  {name}: {outcome}")
    return outcomes


def _three_steps(step: TrainingStep) -> None:
    _forbid_waiting()
    for _ in range(3):
        step()


def _forbid_waiting() -> None:
    torch.cuda.set_sync_debug_mode("error")


def _outcome(call: Callable[[], object]) -> str:
    """Return how a call ended that forbids waiting somewhere on its way."""
    try:
        call()
    except RuntimeError as error:
        return f"WAITED: {error}"
    else:
        return _NEVER_WAITED
    finally:
        torch.cuda.set_sync_debug_mode("default")


if __name__ == "__main__":
    sys.exit(main(cli(Settings(), __doc__)))
