"""Finds how long an axis must be for a fast Fourier transform to beat a matrix product.

    python benchmarks/transforms.py --threads 1                             # about two minutes
    python benchmarks/transforms.py --threads 1 --sizes 97 127 257 331 509  # primes, the FFT's worst sizes
    python benchmarks/transforms.py --threads 1 --out benchmarks/results/transforms-cpu.json

Times transform and inverse of the cosine, sine and Fourier bases along both paths, over two axes (colour images) and
over one, all float32. The two paths have to agree first, then take turns in this one process. A table shows the ratio
of medians, FFT / matrix product: above 1 the product is the faster one. The crossover is where the ratio last falls
through 1; `LONGEST_MATRIX_AXIS` in each basis's file is set from it.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from measuring import machine, print_machine, print_rows, take_turns, write_json
from torch import Tensor

from unmelt.core.configuration import cli
from unmelt.degradations.bases import (
    CosineBasis,
    FourierBasis,
    SeparableBasis,
    SineBasis,
)

_BASES: dict[str, type[SeparableBasis]] = {"cosine": CosineBasis, "sine": SineBasis, "Fourier": FourierBasis}
# Powers of two, the FFT's best sizes, and a few between them.
_SIZES = {2: (8, 16, 32, 64, 128, 256, 384, 512, 768, 1024), 1: (8, 16, 32, 64, 128, 256, 512, 768, 1024, 2048, 4096)}
# Numbers in one batch of images. 4 MiB, so that the transforms' own arrays stay below the size (32 MiB) at which the C
# allocator asks the system for fresh pages every time, which is slower than the transform.
_NUMBERS = 2**20


@dataclass(frozen=True)
class Settings:
    """The command line.

    Attributes:
        seconds: time spent on each ratio; more of it makes medians steadier.
        threads: threads that torch computes with; its own choice if not given.
        device: where to transform: cpu or cuda.
        sizes: sizes N to measure, rising; powers of two and a few between them if not given.
        out: write all numbers to this file.
    """

    seconds: float = 1.5
    threads: int | None = None
    device: str = "cpu"
    sizes: tuple[int, ...] = ()
    out: Path | None = None


def main(settings: Settings) -> None:
    """Measure all transforms and print what is faster where."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    device = torch.device(settings.device)
    facts = machine(device)
    print_machine(facts)
    numbers: dict[str, object] = {"machine": facts}
    for axes, usual in _SIZES.items():
        sizes = settings.sizes or usual
        cases = {size: _signals(size, axes, device) for size in sizes}
        results = {
            name: {size: measure(basis, x, axes, settings.seconds) for size, x in cases.items()}
            for name, basis in _BASES.items()
        }
        print(f"\n{axes} ax{'e' if axes > 1 else 'i'}s: FFT / matrix product, transform and inverse, float32")
        print_rows(
            [
                ["", *(f"N = {size}" for size in sizes), "crossover"],
                ["shape", *("x".join(map(str, x.shape)) for x in cases.values()), ""],
                *(
                    [name, *(f"{r['ratio']:.2f}" for r in rows.values()), crossover(rows)]
                    for name, rows in results.items()
                ),
            ]
        )
        numbers[f"axes_{axes}"] = {
            name: {
                "cases": [{"size": size, "shape": list(cases[size].shape), **rows[size]} for size in sizes],
                "crossover": crossover(rows),
            }
            for name, rows in results.items()
        }
    if settings.out is not None:
        write_json(settings.out, numbers)


def measure(basis: type[SeparableBasis], x: Tensor, axes: int, seconds: float) -> dict[str, float]:
    """Return the medians of both paths in seconds, their ratio and the number of rounds."""
    paths = {"fft": _forced(basis, longest=0), "matrix": _forced(basis, longest=max(x.shape))}
    calls = {name: partial(_there_and_back, path(x.shape[1:], axes).to(x.device), x) for name, path in paths.items()}
    # Rounding of products and FFTs of numbers in [0, 1), whose largest coefficient is about sqrt(N) an axis.
    tolerance = 64 * torch.finfo(x.dtype).eps * x.shape[-1] ** (axes / 2)
    for path in calls.values():
        u, back = path()
        expected = calls["fft"]()[0]
        assert (u - expected).abs().max().item() <= tolerance, f"paths of {basis.__name__} differ at {x.shape}"
        assert (back - x).abs().max().item() <= tolerance, f"{basis.__name__} is not an inverse at {x.shape}"
    times = take_turns(calls, seconds=seconds)
    fft, matrix = (statistics.median(times[name]) for name in ("fft", "matrix"))
    return {"fft_s": fft, "matrix_s": matrix, "ratio": fft / matrix, "rounds": len(times["fft"])}


def crossover(rows: dict[int, dict[str, float]]) -> str:
    """Return between which sizes the ratio last falls below 1."""
    slower = [size for size, row in rows.items() if row["ratio"] >= 1]
    if not slower:
        return f"below {min(rows)}"
    faster = [size for size in rows if size > max(slower)]
    return f"{max(slower)} to {min(faster)}" if faster else f"above {max(rows)}"


def _signals(size: int, axes: int, device: torch.device) -> Tensor:
    if axes == 1:
        return torch.rand(256, size, device=device)
    return torch.rand(max(1, min(16, _NUMBERS // (3 * size**2))), 3, size, size, device=device)


def _forced(basis: type[SeparableBasis], *, longest: int) -> type[SeparableBasis]:
    """Return `basis` with another longest axis for matrix products, so that one path is taken at every size."""

    class Forced(basis):
        longest_matrix_axis: ClassVar[int] = longest

    return Forced


def _there_and_back(basis: SeparableBasis, x: Tensor) -> tuple[Tensor, Tensor]:
    u = basis.forward(x)
    back = basis.inverse(u)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return u, back


if __name__ == "__main__":
    main(cli(Settings(), __doc__))
