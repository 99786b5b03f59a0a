"""diffusers' schedulers on unmelt's isotropic processes: the same log-SNRs, denoiser and first latents.

Its schedulers know a process by 1000 values of alpha^2 / (alpha^2 + sigma^2). They are given ours, in double precision
at 1000 times; where signal or noise vanish, at an end, these stop a thousandth away from there. Each scheduler steps in
a form of its own, which our denoiser is asked in at the very noise level that the scheduler is at (a pipeline would
round it to one of the 1000): variance preserving, exploding, or on rectified flow's straight lines. What a form makes
of one latent it makes of every other at that log-SNR, so errors are comparable across forms.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import product
from pathlib import Path
from typing import Any

import torch
from sampler_contenders import Builder, Contender
from sampler_distributions import Attempt, Case, Injected
from torch import Tensor

from unmelt.degradations import Level
from unmelt.samplers import Noise

_AWAY = 1e-3
_LEVELS = 1000

_STEPS: dict[str, dict[str, Any]] = {
    "linspace": {"timestep_spacing": "linspace"},
    "trailing": {"timestep_spacing": "trailing"},
    "Karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}
_FLOW: dict[str, dict[str, Any]] = {
    "flow sigmas": {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
}


class Form(Enum):
    """What a scheduler's latents are, and what a network of its puts out."""

    PRESERVING = auto()
    """alpha^2 + sigma^2 = 1; epsilon."""

    EXPLODING = auto()
    """alpha = 1; epsilon."""

    PRECONDITIONED = auto()
    """alpha = 1; EDM's network, between its preconditioners."""

    FLOW = auto()
    """alpha + sigma = 1; epsilon - x."""


@dataclass(frozen=True)
class Diffusers:
    """A scheduler with all the settings that it is tried with.

    Attributes:
        name: in tables and plots.
        scheduler: its class.
        variants: settings by name.
        form: what its latents are.
        steps: the most steps that so many calls allow.
        only: the processes, by name, that it is meant for; all isotropic ones if None.
        stepping: what its `step` is told besides.
    """

    name: str
    scheduler: Any
    variants: dict[str, dict[str, Any]]
    form: Form = Form.PRESERVING
    steps: Callable[[int], int] = lambda calls: calls
    only: tuple[str, ...] | None = None
    stepping: dict[str, Any] = field(default_factory=dict[str, Any])
    library: str = "diffusers"

    def options(self, case: Case) -> dict[str, Builder]:
        """See `Contender.options`."""
        if not case.isotropic or (self.only is not None and case.name not in self.only):
            return {}

        def builder(settings: dict[str, Any]) -> Builder:
            def build(calls: int) -> Attempt:
                form = Form.FLOW if settings.get("use_flow_sigmas") else self.form
                scheduler = self._scheduler(case, settings)
                return _DiffusersAttempt(case, scheduler, form, self.steps(calls), self.stepping)

            return build

        return {
            name: builder(settings)
            for name, settings in self.variants.items()
            if "use_flow_sigmas" not in settings or case.name == "rectified flow"
        }

    def _scheduler(self, case: Case, settings: dict[str, Any]) -> Any:
        scheduler = self.scheduler(**settings)
        if self.form not in (Form.PRECONDITIONED, Form.FLOW) and not settings.get("use_flow_sigmas"):
            half = case.process.at(_times(case)).log_snr.flatten() / 2
            kept = torch.sigmoid(2 * half)
            scheduler.alphas_cumprod = kept
            if hasattr(scheduler, "lambda_t"):
                scheduler.lambda_t = half
        return scheduler


def _times(case: Case) -> Tensor:
    """Return the times of the 1000 levels, rising."""
    silent, dead = case.at(0.0).log_sigma, case.at(1.0).log_alpha
    first = _AWAY if bool(silent.isinf().any()) else 0.0
    last = 1 - _AWAY if bool(dead.isinf().any()) else 1.0
    return torch.linspace(first, last, _LEVELS, dtype=torch.float64)


class _DiffusersAttempt:
    def __init__(self, case: Case, scheduler: Any, form: Form, steps: int, stepping: dict[str, Any]) -> None:
        self.case, self.scheduler, self.form, self.stepping = case, scheduler, form, stepping
        self.steps, self.calls = steps, 0
        if steps < 1:
            msg = "no steps"
            raise ValueError(msg)
        try:
            scheduler.set_timesteps(steps)
        except (IndexError, AssertionError, RuntimeError) as error:
            raise ValueError(str(error)) from error
        self.levels = self._noise_levels()
        self.start = self._at(self.levels[0])
        # Down to zero noise the estimate is returned, at best that of the latent at the least level there is.
        last = self._last()
        self.estimates = last == 0
        self.end = self._at(last) if last > 0 else self._least()

    def _noise_levels(self) -> list[float]:
        """Return sigma / alpha, or sigma on flow's lines, at each call of the network."""
        scheduler = self.scheduler
        if hasattr(scheduler, "sigmas"):
            return [float(s) for s in scheduler.sigmas[: len(scheduler.timesteps)]]
        kept = scheduler.alphas_cumprod[scheduler.timesteps.long()]
        return [float(s) for s in ((1 - kept) / kept).sqrt()]

    def _least(self) -> Level:
        """Return the coefficients at the least noise there is; on flow's lines there is none in the end."""
        if self.form in (Form.FLOW, Form.PRECONDITIONED):
            return self.case.at(0.0)
        kept = self.scheduler.alphas_cumprod[0]
        return self._at(float(((1 - kept) / kept).sqrt()))

    def _last(self) -> float:
        return float(self.scheduler.sigmas[-1]) if hasattr(self.scheduler, "sigmas") else 0.0

    def _at(self, level: float) -> Level:
        """Return log alpha and log sigma of the scheduler's latents at a noise level."""
        if self.form is Form.FLOW:
            pair = math.log1p(-level) if level < 1 else -math.inf, math.log(level)
        elif self.form is Form.PRESERVING:
            pair = -math.log1p(level**2) / 2, math.log(level) - math.log1p(level**2) / 2
        else:
            pair = 0.0, math.log(level)
        shape = (1,) * (1 + len(self.case.process.shape))
        return Level(
            self.case.process,
            # A level between those of the process: the oracle looks at its coefficients alone.
            torch.tensor(math.nan, dtype=torch.float64),
            *(torch.tensor(value, dtype=torch.float64).reshape(shape) for value in pair),
        )

    def _output(self, z: Tensor, level: float) -> Tensor:
        """Return what a perfect network of this form would put out."""
        self.calls += 1
        at = self._at(level)
        x = self.case.oracle.spectral_mean(z, at)
        alpha, sigma = at.alpha, at.sigma
        if self.form is Form.FLOW:
            return (z - x) / sigma
        if self.form is Form.PRECONDITIONED:
            data = self.scheduler.config.sigma_data
            skip = data**2 / (level**2 + data**2)
            return (x - skip * z) / (level * data / math.hypot(level, data))
        return (z - alpha * x) / sigma

    def run(self, initial: Tensor, noise: Noise) -> Tensor:
        """See `Attempt.run`."""
        self.calls = 0
        # Afresh: schedulers remember their steps.
        self.scheduler.set_timesteps(self.steps)
        if hasattr(self.scheduler, "set_begin_index"):
            # Else a first time that rounds like the second one is taken for it.
            self.scheduler.set_begin_index(0)
        z = initial
        with Injected(noise, initial):
            for i, t in enumerate(self.scheduler.timesteps):
                level = self.levels[i]
                if self.form in (Form.EXPLODING, Form.PRECONDITIONED):
                    # Some schedulers keep count of their calls here.
                    self.scheduler.scale_model_input(z, t)
                try:
                    z = self.scheduler.step(self._output(z, level), t, z, **self.stepping).prev_sample
                except RuntimeError:
                    # A singular system, where a setting and the last step, to zero noise, do not go together.
                    return torch.full_like(z, math.nan)
        return z


def contenders(folder: Path | None) -> list[Contender]:
    """Return diffusers' schedulers, from a folder that holds the package, or as installed."""
    if folder is not None:
        sys.path.insert(0, str(folder))
    s: Any = importlib.import_module("diffusers.schedulers")

    def variants(*choices: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {", ".join(filter(None, names)): _merged(settings) for names, settings in _products(choices)}

    lu = {**_STEPS, "Lu": {"use_lu_lambdas": True}, **_FLOW}
    solver = {
        "midpoint": {"solver_type": "midpoint"},
        "heun": {"solver_type": "heun"},
        "midpoint, Euler at end": {"solver_type": "midpoint", "euler_at_final": True},
    }
    third = {
        "": {},
        "Euler at end": {"euler_at_final": True},
        "no lower order at end": {"lower_order_final": False},
        "to the least sigma": {"final_sigmas_type": "sigma_min"},
    }
    solver["midpoint, to the least sigma"] = {"solver_type": "midpoint", "final_sigmas_type": "sigma_min"}
    orders = {"2": {"solver_order": 2}, "3": {"solver_order": 3}}
    edm = {"Karras": {}, "exponential": {"sigma_schedule": "exponential"}}
    plain = {"clip_sample": False}
    spacing = {k: _STEPS[k] for k in ("linspace", "trailing")}
    multi, flow = s.DPMSolverMultistepScheduler, ("rectified flow",)
    return [
        Diffusers("DDIM", s.DDIMScheduler, variants({"": plain}, spacing)),
        Diffusers("DDPM", s.DDIMScheduler, variants({"": plain}, spacing), stepping={"eta": 1.0}),
        Diffusers("Euler", s.EulerDiscreteScheduler, variants(_STEPS), Form.EXPLODING),
        Diffusers(
            "Heun",
            s.HeunDiscreteScheduler,
            variants(_STEPS),
            Form.EXPLODING,
            steps=lambda calls: (calls + 1) // 2,
        ),
        Diffusers("LMS 4", s.LMSDiscreteScheduler, variants(_STEPS), Form.EXPLODING),
        Diffusers("DPM-Solver++ 2M", multi, variants({"": {"solver_order": 2}}, solver, lu)),
        Diffusers("DPM-Solver++ 3M", multi, variants({"": {"solver_order": 3}}, third, lu)),
        Diffusers(
            "DPM-Solver 2M",
            multi,
            variants({"": {"solver_order": 2, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}}, lu),
        ),
        Diffusers(
            "SDE-DPM-Solver++ 2M",
            multi,
            variants({"": {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}}, solver, lu),
        ),
        Diffusers(
            "DPM-Solver++ S",
            s.DPMSolverSinglestepScheduler,
            variants(
                orders,
                {"": {"lower_order_final": True}},
                {"linspace": {}, **{k: lu[k] for k in ("Karras", "exponential")}},
            ),
        ),
        Diffusers(
            "UniPC",
            s.UniPCMultistepScheduler,
            variants(
                orders,
                {"bh1": {"solver_type": "bh1"}, "bh2": {"solver_type": "bh2"}},
                {"": {}, "no lower order at end": {"lower_order_final": False}},
                {**_STEPS, **_FLOW},
            ),
        ),
        Diffusers("DEIS", s.DEISMultistepScheduler, variants(orders, {**_STEPS, **_FLOW})),
        Diffusers(
            "EDM DPM-Solver++",
            s.EDMDPMSolverMultistepScheduler,
            variants(orders, edm, {"": {}, "Euler at end": {"euler_at_final": True}}),
            Form.PRECONDITIONED,
            only=("EDM",),
        ),
        Diffusers("EDM Euler", s.EDMEulerScheduler, variants(edm), Form.PRECONDITIONED, only=("EDM",)),
        Diffusers("flow Euler", s.FlowMatchEulerDiscreteScheduler, {"": {}}, Form.FLOW, only=flow),
        Diffusers(
            "flow Heun",
            s.FlowMatchHeunDiscreteScheduler,
            {"": {}},
            Form.FLOW,
            steps=lambda calls: (calls + 1) // 2,
            only=flow,
        ),
    ]


def _products(choices: Iterable[dict[str, dict[str, Any]]]) -> list[tuple[tuple[str, ...], tuple[dict[str, Any], ...]]]:
    return [
        (tuple(n for n, _ in picks), tuple(v for _, v in picks)) for picks in product(*(c.items() for c in choices))
    ]


def _merged(settings: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {key: value for one in settings for key, value in one.items()}
