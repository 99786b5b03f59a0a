"""azula's samplers on unmelt's isotropic processes: the same schedule, denoiser and first latents.

azula counts time from 0 to 1 like unmelt, its samplers take uniform steps in time, and to space them otherwise its
users take another schedule. So do we: the schedule that its samplers see is ours along one of our grids. They divide by
alpha and by sigma: where one of these vanishes, at an end, they start or stop a thousandth away from there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from sampler_contenders import Builder, Contender
from sampler_distributions import Attempt, Case, Injected
from torch import Tensor

from unmelt.degradations import Level
from unmelt.samplers import KarrasGrid, LogSNRGrid, Noise, UniformGrid

_AWAY = 1e-3
_BAND = (-10.0, 10.0)


def contenders(folder: Path) -> list[Contender]:
    """Return azula's samplers from a folder that holds the package."""
    sys.path.insert(0, str(folder))
    module: Any = importlib.import_module("azula.sample")
    return [
        Azula("DDPM", module.DDPMSampler),
        Azula("Ito SDE", module.ItoSampler),
        Azula("PC", module.PCSampler, steps=lambda calls: calls // 2),
        Azula("DDIM", module.DDIMSampler),
        Azula("Euler", module.EulerSampler),
        Azula("Heun", module.HeunSampler, steps=lambda calls: calls // 2),
        *(
            Azula(f"{name} {order}", getattr(module, f"{name}Sampler"), settings={"order": order})
            for name in ("zAB", "vAB", "zEAB", "xEAB", "REAB")
            for order in (2, 3, 4)
        ),
    ]


@dataclass(frozen=True)
class Azula:
    """A sampler of azula's, on uniform, log-SNR and Karras' grids."""

    name: str
    sampler: Any
    settings: dict[str, Any] | None = None
    steps: Callable[[int], int] = lambda calls: calls
    library: str = "azula"

    def options(self, case: Case) -> dict[str, Builder]:
        """See `Contender.options`."""
        if not case.isotropic:
            return {}
        # Where the signal or the noise vanishes azula cannot be.
        silent, dead = case.at(0.0).log_sigma, case.at(1.0).log_alpha
        stop = _AWAY if bool(silent.isinf().any()) else 0.0
        start = 1 - _AWAY if bool(dead.isinf().any()) else 1.0
        p = case.process
        grids: dict[str, Callable[[int], Tensor]] = {
            "uniform": lambda n: UniformGrid(n).times(p, start=start, stop=stop),
            "log-SNR": lambda n: LogSNRGrid(n).times(p, start=start, stop=stop),
            "log-SNR within 10": lambda n: LogSNRGrid(n, band=_BAND).times(p, start=start, stop=stop),
            "Karras": lambda n: KarrasGrid(n).times(p, start=start, stop=stop),
            "Karras within 10": lambda n: KarrasGrid(n, band=_BAND).times(p, start=start, stop=stop),
        }

        def builder(grid: Callable[[int], Tensor]) -> Builder:
            def build(calls: int) -> Attempt:
                steps = self.steps(calls)
                return _AzulaAttempt(case, self.sampler, self.settings or {}, grid(steps))

            return build

        return {name: builder(grid) for name, grid in grids.items()}


class _AzulaAttempt:
    def __init__(self, case: Case, sampler: Any, settings: dict[str, Any], grid: Tensor) -> None:
        self.case, self.grid, self.calls, self.estimates = case, grid, 0, False
        self.start, self.end = (self._at(times) for times in (grid[:1], grid[-1:]))
        self.sampler = sampler(self, steps=len(grid) - 1, silent=True, dtype=torch.float64, **settings)

    def _at(self, times: Tensor) -> Level:
        return self.case.process.at(times)

    def _times(self, t: Tensor) -> Tensor:
        """Return our times for azula's, which run uniformly from 1 to 0."""
        return self.grid[((1 - t) * (len(self.grid) - 1)).round().long()]

    def schedule(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma as azula asks for them."""
        at = self._at(self._times(t).reshape(-1))
        return at.alpha.reshape(t.shape), at.sigma.reshape(t.shape)

    def __call__(self, x_t: Tensor, t: Tensor) -> Any:
        self.calls += 1
        return SimpleNamespace(mean=self.case.oracle.spectral_mean(x_t, self._at(self._times(t).reshape(1))))

    def run(self, initial: Tensor, noise: Noise) -> Tensor:
        """See `Attempt.run`."""
        self.calls = 0
        with Injected(noise, initial):
            return self.sampler(initial)
