"""Samplers of other libraries around a network that does nothing, each from a folder or package that the user names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Other(NamedTuple):
    """A run of samples by another library.

    Attributes:
        run: draws them all.
        calls: of the network, for a step.
        ours: the stepper that does the same, or nearly the same.
    """

    run: Callable[[], object]
    calls: int
    ours: str


class Draws(NamedTuple):
    """What all draw.

    Attributes:
        shape: of a batch.
        batches: of a run.
        steps: of each batch.
    """

    shape: tuple[int, ...]
    batches: int
    steps: int

    def noise(self) -> Tensor:
        """Return what a batch starts from."""
        return torch.randn(self.shape)


def azula(folder: Path, draws: Draws) -> dict[str, Other]:
    """Return azula's samplers, on its own cosine schedule."""
    sys.path.insert(0, str(folder))
    sample: Any = importlib.import_module("azula.sample")
    noise: Any = importlib.import_module("azula.noise")

    class Nothing:
        schedule = noise.CosineSchedule()

        def __call__(self, x_t: Tensor, t: Tensor) -> Any:
            return SimpleNamespace(mean=x_t.clamp(-1.0, 1.0))

    def run(sampler: Any) -> None:
        for _ in range(draws.batches):
            sampler(draws.noise())

    kinds: dict[str, tuple[str, dict[str, int], int]] = {
        "Markov": ("DDPMSampler", {}, 1),
        "Deterministic": ("DDIMSampler", {}, 1),
        "Heun": ("HeunSampler", {}, 2),
        "multistep 2": ("xEABSampler", {"order": 2}, 1),
        "multistep 3": ("xEABSampler", {"order": 3}, 1),
        "multistep 4": ("xEABSampler", {"order": 4}, 1),
    }
    return {
        f"azula's {kind}{settings.get('order', '')}": Other(
            partial(run, getattr(sample, kind)(Nothing(), steps=draws.steps, silent=True, **settings)), calls, ours
        )
        for ours, (kind, settings, calls) in kinds.items()
    }


def k_diffusion(folder: Path, draws: Draws) -> dict[str, Other]:
    """Return k-diffusion's samplers, on the noise levels of Karras et al. (2022).

    Raises:
        ImportError: torchsde, which they import, is not installed.
    """
    # They import it to convert pictures, which nothing here does.
    vision: Any = ModuleType("torchvision.transforms")
    vision.functional = None
    sys.modules.setdefault("torchvision.transforms", vision)
    # Without running the package's own __init__, which imports networks and metrics with what these need.
    package = ModuleType("k_diffusion")
    package.__path__ = [str(folder / "k_diffusion")]
    sys.modules["k_diffusion"] = package
    sampling: Any = importlib.import_module("k_diffusion.sampling")
    sigmas = sampling.get_sigmas_karras(draws.steps, 0.01, 80.0)

    def network(z: Tensor, _sigma: Tensor) -> Tensor:
        return z.clamp(-1.0, 1.0)

    def run(kind: str) -> None:
        for _ in range(draws.batches):
            getattr(sampling, kind)(network, sigmas[0] * draws.noise(), sigmas, disable=True)

    kinds = {
        "Markov": ("sample_euler_ancestral", 1),
        "Deterministic": ("sample_euler", 1),
        "Heun": ("sample_heun", 2),
        "multistep 2, uncorrected": ("sample_dpmpp_2m", 1),
    }
    return {f"k-diffusion's {kind}": Other(partial(run, kind), calls, ours) for ours, (kind, calls) in kinds.items()}


def diffusers(draws: Draws) -> dict[str, Other]:
    """Return the schedulers of the diffusers that is installed."""
    library: Any = importlib.import_module("diffusers")

    def run(scheduler: Any) -> None:
        for _ in range(draws.batches):
            scheduler.set_timesteps(draws.steps)
            z = draws.noise()
            for t in scheduler.timesteps:
                z = scheduler.step(z.clamp(-1.0, 1.0), t, z).prev_sample

    kinds = {
        "Markov": "DDPMScheduler",
        "Deterministic": "DDIMScheduler",
        "Heun": "HeunDiscreteScheduler",
        "multistep 2, uncorrected": "DPMSolverMultistepScheduler",
    }
    # Its scheduler of Heun's method counts each call as a step of its own.
    return {
        f"diffusers' {kind}": Other(partial(run, getattr(library, kind)()), 2 if ours == "Heun" else 1, ours)
        for ours, kind in kinds.items()
    }
