"""Bits per dimension of a trained run on its held-out images: python -m unmelt.evaluation runs/NAME."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .bound_report import LikelihoodReport
from .run_bounds import evaluate_run

_WIDTH = 24


def main(arguments: list[str] | None = None) -> None:
    """Evaluate a run and print a line for each of its bounds."""
    options = _parser().parse_args(arguments)
    table = _Table()
    try:
        evaluate_run(
            options.run,
            images=options.images,
            fit_images=options.fit_images,
            steps=options.steps,
            batch_size=options.batch_size,
            seed=options.seed,
            progress=sys.stderr.isatty(),
            report=table.add,
            place=options.data,
            trust_code=options.trust_code,
        )
    except (OSError, FloatingPointError, ValueError) as error:
        sys.exit(f"error: {error}")
    end = "" if options.images is None else f"_{options.images}"
    print(f"\nwritten: {options.run / f'likelihood{end}.json'}, {options.run / f'fitted_bounds{end}.safetensors'}")  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unmelt.evaluation",
        description="Report the bound on a trained run's held-out images in bits per dimension, with its parts.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--images", type=int, help="held-out images to evaluate; all of them if not given")
    parser.add_argument("--fit-images", type=int, default=1000, help="training images to fit standard deviations on")
    parser.add_argument("--steps", type=int, help="steps, where the process has no levels; the sampler's (or 200)")
    parser.add_argument("--batch-size", type=int, default=256, help="images at a time")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    parser.add_argument("--data", type=Path, help="folder or file where the data lie now; where they were if not given")
    parser.add_argument("--trust-code", action="store_true", help="run code of yours that the run names classes of")
    return parser


class _Table:
    """The bounds of a run, a line each, under a heading that comes with the first."""

    def __init__(self) -> None:
        self._begun = False

    def add(self, name: str, report: LikelihoodReport) -> None:
        """Print one bound."""
        bits = report.bits_per_dim()
        if not self._begun:
            print("bits per dimension")  # noqa: T201
            self._print("reverse standard deviation", ("total", "prior", "levels", "reconstruction"))
        self._begun = True
        self._print(name, (bits.total, bits.prior, bits.diffusion, bits.reconstruction))

    def _print(self, name: str, columns: Sequence[object]) -> None:
        print(f"{name:28}" + "".join(f"{column!s:>{_WIDTH}}" for column in columns), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
