"""Bounds beside the calls of the network that they are made of, and the memory of what is fitted to data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from measuring import memory_can_be_measured, peak_memory, print_rows, print_table

from unmelt.degradations import BlurringDiffusion, HeatDissipation, PredictX
from unmelt.losses import ELBO
from unmelt.models import DegradedDataPrior, Denoiser, UNet

from .part import Bound, DoNothing, Found, Plan, measured, seeded

SHAPE, COUNT, STEPS = (3, 32, 32), 16, 50
LARGEST_SHARE = 1.05
# Of images that the prior is fitted to, and of a whole data set such as CIFAR-10's.
IMAGES, SMOKE_IMAGES = 50_000, 500
# What is left of images at t = 1, in single precision, and blocks of 32 MB.
LARGEST_PRIOR_MIB = 512.0
TABLES = ((3, 256, 256), 20)


def evaluation(plan: Plan) -> Found:
    """Time the bound of a 4 M network, and measure what fitting takes."""
    seeded()
    found = Found()
    network = plan.small_network().eval()
    x = torch.rand(COUNT, *SHAPE)
    for name, process in {"heat": HeatDissipation(SHAPE), "blurring": BlurringDiffusion(SHAPE)}.items():
        denoiser = Denoiser(network, process, prediction=PredictX()).eval()
        prior = DegradedDataPrior.fit(process, torch.rand(64, *SHAPE)) if name == "heat" else None
        bound = ELBO(denoiser, prior=prior, steps=4 if plan.smoke else STEPS, first=0.02)
        numbers = measured(_contenders(bound, network, x), seconds=plan.seconds, least=2 if plan.smoke else 7)
        found.cases[name] = numbers
        ratio = numbers["bound"]["median_s"] / numbers["network calls alone"]["median_s"]
        found.bounds.append(Bound(f"bound under {name}, time to its network calls", ratio, LARGEST_SHARE))
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    print_table(f"bound of {COUNT} images, U-Net of {millions:.2f} M parameters: ms", found.cases, scale=1e3)
    if not memory_can_be_measured():
        return found
    memory = _memory(plan)
    found.cases["memory, MiB"] = memory
    print_rows([["memory beyond the data, MiB", ""], *([name, f"{value:.0f}"] for name, value in memory.items())])
    fitted = memory["kernel density, fitting"] + memory["kernel density, 64 densities"]
    what = f"kernel density of {_images(plan):,} images of 3 x 32 x 32, MiB"
    found.bounds.append(Bound(what, fitted, LARGEST_PRIOR_MIB))
    return found


def _contenders(bound: ELBO, network: UNet, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return the bound, and the network called with the batches that the bound calls it with."""
    batches: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = network.register_forward_pre_hook(lambda _, inputs: batches.append((inputs[0].clone(), inputs[1].clone())))

    @torch.no_grad()
    def whole() -> object:
        return bound(x)

    whole()
    hook.remove()

    @torch.no_grad()
    def alone() -> None:
        for z, t in batches:
            network(z, t, None)

    return {"bound": whole, "network calls alone": alone}


def _images(plan: Plan) -> int:
    return SMOKE_IMAGES if plan.smoke else IMAGES


def _memory(plan: Plan) -> dict[str, float]:
    process = HeatDissipation(SHAPE)
    images = torch.rand(_images(plan), *SHAPE)
    found: dict[str, float] = {}
    found["kernel density, fitting"] = peak_memory(lambda: DegradedDataPrior.fit(process, images)) / 2**20
    prior = DegradedDataPrior.fit(process, images)
    found["kernel density, kept"] = sum(b.numel() * b.element_size() for b in prior.buffers()) / 2**20
    found["kernel density, 64 densities"] = peak_memory(partial(prior.log_prob, prior.sample(64))) / 2**20
    shape, steps = ((3, 32, 32), 4) if plan.smoke else TABLES
    heat = HeatDissipation(shape)
    few = torch.rand(4, *shape)
    bound = ELBO(
        Denoiser(DoNothing(), heat, prediction=PredictX()).eval(),
        prior=DegradedDataPrior.fit(heat, few),
        steps=steps,
        first=0.02,
    )
    found[f"fitted deviations, {shape[1]} x {shape[2]}"] = peak_memory(lambda: bound.fitted(few)) / 2**20
    found["fitted deviations, the tables themselves"] = sum(
        table.numel() * table.element_size() for table in bound.fitted(few).fitted_state().values()
    ) / 2**20  # fmt: skip
    return found
