"""Times what unmelt adds around a network, beside the same work written out by hand and beside other projects.

    python benchmarks/speed.py                             # everything, up to twenty-five minutes
    python benchmarks/speed.py --only PAIRS --threads 1    # one part
    python benchmarks/speed.py --save --released FOLDER --azula FOLDER --k-diffusion FOLDER --diffusers
    python benchmarks/speed.py --smoke                     # as small as it gets: does it run?

Parts:

* pairs: the blurred pair (A_t x, A_s x) of a training step of heat dissipation, images, sound and volumes.
* process: marginal, transition, posterior, training pair in every basis; what batch and levels cost.
* step: training steps of networks of 4 M and 61 M parameters, beside the network alone.
* trainer: the trainer whole, on a folder of pictures: what is not the network's, and waiting for data.
* sampling: steps of every stepper around a network that does nothing.
* evaluation: bounds beside their network calls; memory of what is fitted.

All contenders of a part take turns in this one process, in a new order every round, and medians over many rounds are
compared, so that a slow spell of the machine hits all alike. Contenders that should return the same are compared first.

Other projects are taken along where they are named: the released code of inverse heat dissipation (--released, the
folder that holds model_code), azula (--azula, the folder that holds the package), k-diffusion (--k-diffusion, likewise;
its samplers import torchsde), diffusers, if it is installed.

--save writes benchmarks/results/speed-MACHINE.json, which keeps the bounds of earlier runs, and the table and the
picture that docs/measured/speed.md shows.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from measuring import machine, print_machine, print_rows, write_json
from timed.evaluation import evaluation
from timed.pairs import pairs
from timed.part import Bound, Found, Plan
from timed.process_calls import process_calls
from timed.sampling import sampling
from timed.training_step import training_step
from timed.whole_trainer import whole_trainer

from unmelt.core.configuration import cli

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "measured" / "speed.md"
_BEGIN, _END = "<!-- bounds -->", "<!-- end of bounds -->"


class Part(Enum):
    """Parts of the benchmark."""

    PAIRS = "pairs"
    PROCESS = "process"
    STEP = "step"
    TRAINER = "trainer"
    SAMPLING = "sampling"
    EVALUATION = "evaluation"


PARTS: dict[Part, Callable[[Plan], Found]] = {
    Part.PAIRS: pairs,
    Part.PROCESS: process_calls,
    Part.STEP: training_step,
    Part.TRAINER: whole_trainer,
    Part.SAMPLING: sampling,
    Part.EVALUATION: evaluation,
}


@dataclass(frozen=True)
class Settings:
    """The command line.

    Attributes:
        only: measure this part alone.
        seconds: time spent on each row of numbers; more of it makes medians steadier.
        threads: threads that torch computes with; its own choice if not given.
        smoke: take the smallest sizes, to see whether everything runs.
        released: folder of the released code of inverse heat dissipation.
        azula: folder that holds the package azula.
        k_diffusion: folder that holds the package k_diffusion.
        diffusers: take diffusers along.
        json: write all numbers to this file.
        save: keep the result: benchmarks/results/speed-MACHINE.json, and the table of docs/measured/speed.md.
    """

    only: Part | None = None
    seconds: float = 4.0
    threads: int | None = None
    smoke: bool = False
    released: Path | None = None
    azula: Path | None = None
    k_diffusion: Path | None = None
    diffusers: bool = False
    json: Path | None = None
    save: bool = False


def main(settings: Settings) -> None:
    """Measure, print and keep what is asked for."""
    if settings.save and (settings.only is not None or settings.smoke):
        sys.exit("error: --save keeps a whole measurement: leave --only and --smoke out, or write --json FILE")
    needed = {"--diffusers": ["diffusers"], "--k-diffusion": ["torchsde"]}
    for flag, asked in (("--diffusers", settings.diffusers), ("--k-diffusion", settings.k_diffusion)):
        missing = [name for name in needed[flag] if asked and importlib.util.find_spec(name) is None]
        if missing:
            sys.exit(f"error: {flag}: not installed: pip install {' '.join(missing)}, or leave the flag out")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    facts = machine(torch.device("cpu"))
    print_machine(facts)
    plan = Plan(
        0.05 if settings.smoke else settings.seconds,
        smoke=settings.smoke,
        released=settings.released,
        azula=settings.azula,
        k_diffusion=settings.k_diffusion,
        diffusers=settings.diffusers,
    )
    numbers: dict[str, Any] = {"machine": facts, "date": dt.datetime.now(tz=dt.UTC).date().isoformat()}
    bounds: list[Bound] = []
    for part in Part if settings.only is None else [settings.only]:
        found = PARTS[part](plan)
        numbers[part.value] = found.cases
        bounds += found.bounds
    numbers["bounds"] = [bound._asdict() for bound in bounds]
    print()
    print_rows([["bound", "measured", "aim", ""], *(bound.row for bound in bounds)])
    if settings.json is not None:
        write_json(settings.json, numbers)
    if settings.save:
        keep(numbers, bounds)


def keep(numbers: dict[str, Any], bounds: list[Bound]) -> None:
    """Write the measurement, with the bounds of those before it, and show it on the page."""
    slug = re.sub(
        r"[^a-z0-9]+", "-", f"{numbers['machine']['cpu']} {numbers['machine']['torch_threads']} threads".lower()
    )
    path = ROOT / "benchmarks" / "results" / f"speed-{slug.strip('-')}.json"
    before: list[Any] = []
    if path.exists():
        old = json.loads(path.read_text())
        before = [*old["history"], {key: old[key] for key in ("date", "bounds")}]
    numbers["history"] = before
    write_json(path, numbers)
    text = PAGE.read_text()
    begin, end = text.index(_BEGIN) + len(_BEGIN), text.index(_END)
    PAGE.write_text(f"{text[:begin]}\n\n{told(numbers['machine'], numbers['date'], bounds)}\n\n{text[end:]}")
    plot_history(numbers, ROOT / "docs" / "images" / "speed_history.png")


def told(facts: dict[str, Any], date: str, bounds: list[Bound]) -> str:
    """Return the bounds as a table, with what they were measured on."""
    rows = [["bound", "measured", "aim", ""], ["---"] * 4, *(bound.row for bound in bounds)]
    threads = "1 thread" if facts["torch_threads"] == 1 else f"{facts['torch_threads']} threads"
    where = f"{facts['cpu']}, {threads}, torch {facts['torch']}, Python {facts['python']}, {date}."
    return where + "\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def plot_history(numbers: dict[str, Any], path: Path) -> None:
    """Draw how far every bound was from its aim in each measurement."""
    import matplotlib.pyplot as plt  # noqa: PLC0415  # slow to import, and only wanted here

    runs = [*numbers["history"], numbers]
    bounds = [Bound(**each) for each in numbers["bounds"]]
    figure, axes = plt.subplots(figsize=(9, 0.26 * len(bounds) + 1.2), layout="constrained")
    for place, bound in enumerate(reversed(bounds)):
        told = [next((b for b in run["bounds"] if b["what"] == bound.what), None) for run in runs]
        shares = [_share(Bound(**each)) for each in told if each is not None]
        axes.plot(shares, [place] * len(shares), color="0.7", linewidth=1, zorder=1)
        axes.scatter(shares[:-1], [place] * (len(shares) - 1), s=14, color="0.7", zorder=2)
        axes.scatter(shares[-1:], [place], s=30, color="tab:green" if bound.met else "tab:red", zorder=3)
        if not bound.value:
            # None of something is no place on a logarithmic axis.
            axes.annotate("none", (0.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks([0.25, 0.5, 1, 2, 4], ["a quarter", "half", "its aim", "twice", "4 x"], fontsize=7)
    axes.minorticks_off()
    axes.margins(y=0.01)
    axes.set_yticks(range(len(bounds)), [bound.what for bound in reversed(bounds)], fontsize=7)
    axes.set_title("how far from its aim: left of the line is met; grey is earlier", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _share(bound: Bound) -> float:
    return bound.aim / bound.value if bound.at_least else bound.value / bound.aim


if __name__ == "__main__":
    main(cli(Settings(), __doc__))
