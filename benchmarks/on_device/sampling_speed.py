"""Sampling speed of the recipe: images per second for all of its 200 calls, and what the process takes of a call."""

from __future__ import annotations

import torch
from measuring import print_rows
from timed.part import DoNothing

from on_device.setting import Bench
from on_device.step import SHAPE
from on_device.timing import release, timed
from unmelt.models import Denoiser
from unmelt.samplers import Sampler
from unmelt.training.building import build_denoiser, build_process, build_sampler

# Windows of timing that compiling the network is taken to need.
_COMPILING = 20.0


def measure(bench: Bench) -> dict[str, object]:
    """Time some calls in float32 and bf16, eager and compiled, and without a network."""
    config = bench.config(bench.size.samples)
    process = build_process(config, SHAPE).to(bench.device)
    images = torch.rand(64, *SHAPE, generator=torch.Generator().manual_seed(0)).to(bench.device)
    denoiser = build_denoiser(config, process, None).to(bench.device).eval()
    prior = config.prior(process, [images])
    empty = Denoiser(DoNothing(), process, prediction=denoiser.prediction)
    around = _seconds_a_call(bench, build_sampler(config, empty, prior), torch.float32)
    rows, left_out = dict[str, dict[str, float]](), list[str]()
    for precision, compiled in ((torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True)):
        name = f"{str(precision).removeprefix('torch.')}, {'compiled' if compiled else 'eager'}"
        if compiled and (not bench.compile or bench.left < _COMPILING * bench.size.window):
            left_out += [name] if bench.compile else []
            continue
        release(bench.device)
        if compiled:
            denoiser.network.compile()
        sampler = build_sampler(config, denoiser, prior)
        seconds = _seconds_a_call(bench, sampler, precision)
        calls = len(sampler.times) - 1
        rows[name] = {
            "images_per_second": bench.size.samples / (calls * seconds),
            "call_ms": seconds * 1e3,
            "around_the_network_share": around / seconds,
        }
    release(bench.device)
    print(f"  {bench.size.samples} images at a time; {bench.size.calls} of all calls are timed")
    table = [["", "images/s", "call, ms", "around the network"]]
    for name, row in rows.items():
        cells = (row["images_per_second"], row["call_ms"], row["around_the_network_share"])
        table.append([name, f"{cells[0]:.2f}", f"{cells[1]:.2f}", f"{cells[2]:.1%}"])
    print_rows(table)
    for name in left_out:
        print(f"  left out, for time: {name}")
    return {
        "samples": bench.size.samples,
        "around_the_network_ms": around * 1e3,
        "variants": rows,
        "left_out": left_out,
    }


def _seconds_a_call(bench: Bench, sampler: Sampler, precision: torch.dtype) -> float:
    stop, calls = float(sampler.times[bench.size.calls]), bench.size.calls

    def draw() -> None:
        with torch.autocast(bench.device.type, precision, enabled=precision != torch.float32):
            sampler.sample(bench.size.samples, stop=stop)

    return timed(draw, bench.device, bench.size.window).seconds / calls
