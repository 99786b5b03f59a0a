"""The blurred pair (A_t x, A_s x) that a step of heat dissipation trains on, beside the same work by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from handwritten import HandWrittenBlurs, StackedBlurs
from measuring import print_table
from torch import Tensor

from unmelt.degradations import HeatDissipation

from .part import Bound, Found, Plan, agree, measured, seeded

# Batch and size of square colour images; levels do not matter (`process_calls` times that).
IMAGES = ((128, 8), (128, 16), (128, 32), (64, 64), (32, 128), (8, 256), (2, 512))
SIGNALS = ((128, (1, 256)), (32, (1, 4096)), (16, (1, 16, 16, 16)), (4, (1, 32, 64, 64)))
LEVELS, NARROW, WIDE = 200, 0.5, 24.0
# How many times as fast as released; or so near to the best that hands can write.
FASTER = {32: 20.0, 128: 10.0}
NEAR = 1.1


def pairs(plan: Plan) -> Found:
    """Time the pair for images, and for sound and volumes, every example at a level of its own."""
    seeded()
    found = Found()
    for batch, size in IMAGES[:2] if plan.smoke else IMAGES:
        name = f"({batch}, 3, {size}, {size})"
        found.cases[name] = numbers = measured(_images(batch, size, plan.released), seconds=plan.seconds)
        hand = {way: each["median_s"] for way, each in numbers.items() if way not in ("unmelt", "released code")}
        ratio = numbers["unmelt"]["median_s"] / min(hand.values())
        found.bounds.append(Bound(f"pair of {name}, to the best hand-written form", ratio, NEAR))
        if plan.released is not None and size in FASTER:
            faster = numbers["released code"]["median_s"] / numbers["unmelt"]["median_s"]
            found.bounds.append(
                Bound(f"pair of {name}, times as fast as released", faster, FASTER[size], at_least=True)
            )
    print_table("pair (A_t x, A_s x), a level per example: ms (ratio to best), MiB at most", found.cases, scale=1e3)
    others: dict[str, Any] = {}
    for batch, shape in SIGNALS[:1] if plan.smoke else SIGNALS:
        name = str((batch, *shape))
        others[name] = numbers = measured(_signals(batch, shape), seconds=plan.seconds)
        ratio = numbers["unmelt"]["median_s"] / numbers["by hand"]["median_s"]
        found.bounds.append(Bound(f"pair of {name}, to one transform, two fades and two back by hand", ratio, NEAR))
    print_table("the same of sound and volumes", others, scale=1e3)
    found.cases |= others
    return found


def _levels(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    level = torch.randint(1, LEVELS + 1, (batch,))
    return level, level.double() / LEVELS, (level - 1).double() / LEVELS


def _images(batch: int, size: int, released: Path | None) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    process = HeatDissipation((3, size, size), levels=LEVELS, blur_sigma_min=NARROW, blur_sigma_max=WIDE)
    by_hand = HandWrittenBlurs(size, levels=LEVELS, blur_sigma_min=NARROW, blur_sigma_max=WIDE)
    x, (level, t, s) = torch.rand(batch, 3, size, size), _levels(batch)
    contenders: dict[str, Callable[[], tuple[Tensor, ...]]] = {
        "unmelt": partial(process.degrade, x, t, s),
        "FFT, float64 (as released)": partial(by_hand.released, x, level),
        "FFT, float32": partial(by_hand.released_single, x, level),
        "products, stacked inverse, exp": partial(by_hand.stacked, x, level),
        "products, stacked inverse, table": partial(by_hand.stacked_table, x, level),
        "separable, table, broadcast": partial(by_hand.separable, x, level),
        "separable, table, batched": partial(by_hand.separable_batched, x, level),
    }
    if released is not None:
        blur = released_blur(released, by_hand.widths, size)
        contenders["released code"] = lambda: (blur(x, level).float(), blur(x, level - 1).float())
    results = [call() for call in contenders.values()]
    for i, name in enumerate(("A_t x", "A_s x")):
        agree(f"{name} of size {size}", [result[i] for result in results])
    return contenders


def _signals(batch: int, shape: tuple[int, ...]) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    process = HeatDissipation(shape, levels=LEVELS, blur_sigma_min=NARROW, blur_sigma_max=WIDE)
    by_hand = StackedBlurs(shape, levels=LEVELS, blur_sigma_min=NARROW, blur_sigma_max=WIDE)
    x, (level, t, s) = torch.rand(batch, *shape), _levels(batch)
    contenders: dict[str, Callable[[], tuple[Tensor, ...]]] = {
        "unmelt": partial(process.degrade, x, t, s),
        "by hand": partial(by_hand.pair, x, level),
    }
    for ours, theirs in zip(*(call() for call in contenders.values()), strict=True):
        agree(f"pair of {shape}", [ours, theirs])
    return contenders


def released_blur(folder: Path, widths: Tensor, size: int) -> Any:
    """Return the blur of the released code, a function of images and levels."""
    sys.path.insert(0, str(folder))
    from model_code.utils import DCTBlur  # pyright: ignore  # noqa: PLC0415, PGH003  # its folder is the user's

    return DCTBlur(widths.numpy(), size, "cpu")
