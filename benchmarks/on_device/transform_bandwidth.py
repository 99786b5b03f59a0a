"""Bandwidth of transforms: bytes that a cosine transform and its inverse cannot but move, beside a plain copy's.

A transform reads and writes each number once at the least; one product for each of two axes reads and writes twice.
"""

from __future__ import annotations

import math

import torch
from measuring import print_rows

from on_device.setting import Bench
from on_device.timing import timed
from unmelt.degradations import CosineBasis

_BYTES = 4


def measure(bench: Bench) -> dict[str, object]:
    """Time a transform and its inverse on batches of small and of large images."""
    found = dict[str, dict[str, float]]()
    for shape in bench.size.transforms:
        basis = CosineBasis(shape[1:]).to(bench.device)
        x = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(bench.device)
        other, moved = torch.empty_like(x), _BYTES * math.prod(shape)
        pair = timed(lambda b=basis, x=x: b.inverse(b.forward(x)), bench.device, bench.size.window).seconds
        copy = timed(lambda a=other, x=x: a.copy_(x), bench.device, bench.size.window).seconds
        found["x".join(map(str, shape))] = {
            "pair_gb_per_second": 4 * moved / pair / 1e9,
            "copy_gb_per_second": 2 * moved / copy / 1e9,
            "share": (4 * moved / pair) / (2 * moved / copy),
            "pair_us": pair * 1e6,
        }
    rows = [["cosine transform and inverse", "us", "GB/s", "of a copy's"]]
    rows += [
        [name, f"{one['pair_us']:.0f}", f"{one['pair_gb_per_second']:.1f}", f"{one['share']:.0%}"]
        for name, one in found.items()
    ]
    print_rows(rows)
    return dict(found)
