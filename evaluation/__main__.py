"""Bits per dimension of a trained run on its held-out images: python -m unmelt.evaluation runs/NAME."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .bound_report import LikelihoodReport
from .run_bounds import evaluate_run

_WIDTH = 24


@dataclass(frozen=True)
class Options:
    """Report the bound on a trained run's held-out images in bits per dimension, with its parts."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    images: int | None = None
    """Held-out images to evaluate; all of them if not given."""
    fit_images: int = 1000
    """Training images that standard deviations are fitted on."""
    steps: int | None = None
    """Steps of the reverse process, where it has no levels; the sampler's (or 200) if not given."""
    batch_size: int = 256
    """Images at a time."""
    seed: int = 0
    """Seed of all random numbers."""


def main() -> None:
    """Evaluate a run and print a line for each of its bounds."""
    options = tyro.cli(Options, prog="python -m unmelt.evaluation")
    titles = ("total", "prior", "levels", "reconstruction")
    print(f"bits per dimension\n{'reverse standard deviation':28}" + "".join(f"{t:>{_WIDTH}}" for t in titles))  # noqa: T201
    try:
        evaluate_run(
            options.run,
            images=options.images,
            fit_images=options.fit_images,
            steps=options.steps,
            batch_size=options.batch_size,
            seed=options.seed,
            progress=sys.stderr.isatty(),
            report=_print,
        )
    except (ConnectionError, FileNotFoundError, FloatingPointError, ValueError) as error:
        sys.exit(f"error: {error}")
    end = "" if options.images is None else f"_{options.images}"
    print(f"\nwritten: {options.run / f'likelihood{end}.json'}, {options.run / f'fitted_bounds{end}.pt'}")  # noqa: T201


def _print(name: str, report: LikelihoodReport) -> None:
    bits = report.bits_per_dim()
    parts = (bits.total, bits.prior, bits.diffusion, bits.reconstruction)
    print(f"{name:28}" + "".join(f"{part!s:>{_WIDTH}}" for part in parts), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
