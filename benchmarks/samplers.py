"""Measures the error of samplers against network calls, with exact denoisers and without training.

    python benchmarks/samplers.py                                   # unmelt's samplers on eight processes, minutes
    python benchmarks/samplers.py --azula FOLDER --diffusers FOLDER  # other libraries' beside them
    python benchmarks/samplers.py --quick                           # up to 20 calls, half a minute
    python benchmarks/samplers.py --save benchmarks/results          # samplers.md, samplers.png

Parts:

* Gaussian data of 8x8 coefficients, variances falling with frequency like those of photographs. The distribution of a
  sampler's samples is then found exactly, without drawing any (see `sampler_distributions.py`), and so is its
  2-Wasserstein distance to the distribution that the run is after.
* Digits: the exact denoiser of 300 handwritten digits. The energy distance of samples to those digits, and the
  share of samples that are one of them.

Every contender has the same number of network calls: two calls a step leave half of the steps. All start from the exact
distribution at t = 1 and use the same exact denoiser. A contender is tried with all of its options (time grids;
settings of other libraries' samplers) and shown with the one that is best on average over 10, 20 and 50 calls.
"""

from __future__ import annotations

import importlib
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import against_azula
import against_diffusers
import torch
from measuring import machine, print_machine, print_rows
from sampler_contenders import OURS, Builder, Contender
from sampler_distributions import (
    Attempt,
    Case,
    InCoefficients,
    Score,
    distance_to_nearest,
    energy_distance,
    error_of_distribution,
)
from torch import Tensor

from unmelt.core.configuration import cli
from unmelt.degradations import (
    BlurringDiffusion,
    EDMSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LinearSchedule,
    Pixelation,
    RectifiedFlowSchedule,
    VariancePreservingBlur,
)
from unmelt.models import EmpiricalOracle, GaussianOracle
from unmelt.samplers import GeneratorNoise, NonFiniteStateError

SHAPE = (1, 8, 8)
CALLS = (5, 10, 20, 50, 100, 200, 500, 1000)
QUICK_CALLS = (5, 10, 20)
DIGIT_CALLS = (5, 10, 20, 50)
# Where contenders are held against each other.
DECIDING = (10, 20)
# Where their options are chosen: more calls are spent on the chosen one alone.
CHOOSING = (10, 20, 50)
_DIGITS = 300
_SAMPLES = 512
# A sample is a digit if it lies within this share of the median distance between a digit and the one nearest to it.
_NEAR = 0.1
_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#6A3D9A",
    "#8C564B",
    "#7F7F7F",
    "#BCBD22",
)


@dataclass(frozen=True)
class Settings:
    """The command line.

    Attributes:
        azula: a folder that holds azula's package: measure its samplers, too.
        azula_version: version or commit of azula, for the record.
        diffusers: a folder that holds diffusers' package: measure its schedulers, too.
        installed_diffusers: measure the schedulers of the diffusers that is installed.
        quick: up to 20 calls, on three processes, without the digits.
        only: names of processes, with commas between; all if none.
        save: write samplers.md and samplers.png to this folder.
    """

    azula: Path | None = None
    azula_version: str = ""
    diffusers: Path | None = None
    installed_diffusers: bool = False
    quick: bool = False
    only: str = ""
    save: Path | None = None

    def __post_init__(self) -> None:
        """Refuse folders without the package, beside which an installed one would be measured."""
        for name in ("azula", "diffusers"):
            folder = getattr(self, name)
            if folder is not None and not (folder / name / "__init__.py").is_file():
                msg = f"{name} must be a folder that holds the package, got {folder}: there is no {name} in it"
                raise ValueError(msg)


@dataclass(frozen=True)
class Row:
    """A contender with one of its options: scores by network calls."""

    contender: Contender
    option: str
    scores: dict[int, Score]

    def error(self, calls: int) -> float:
        """Return the error at so many calls, infinite where there is none."""
        return self.scores[calls].error if calls in self.scores else math.inf


# The rows of all options, contender by contender, by process.
Results = dict[str, list[list[Row]]]


def processes() -> dict[str, LinearGaussianProcess]:
    """Return the processes by name."""
    return {
        "heat": HeatDissipation(SHAPE, blur_sigma_max=4.0, sigma=0.02),
        "blurring": BlurringDiffusion(SHAPE, blur_sigma_max=4.0),
        "VP blur": VariancePreservingBlur(SHAPE),
        "pixelation": Pixelation(SHAPE),
        "cosine": IsotropicDiffusion(SHAPE),
        "linear": IsotropicDiffusion(SHAPE, LinearSchedule()),
        "EDM": IsotropicDiffusion(SHAPE, EDMSchedule()),
        "rectified flow": IsotropicDiffusion(SHAPE, RectifiedFlowSchedule()),
    }


def gaussian_case(name: str, process: LinearGaussianProcess) -> Case:
    """Return a process with Gaussian data whose variance falls like that of photographs, 1 / (1 + 4 f^2)."""
    f = torch.arange(8, dtype=torch.float64)
    variance = 1 / (1 + 4 * (f[:, None].square() + f.square()))
    mean = 0.3 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    oracle = GaussianOracle(InCoefficients(process), mean, variance)
    return Case(name, oracle, isinstance(process, IsotropicDiffusion))


def digits() -> Tensor:
    """Return 300 digits of scikit-learn's, in [-1, 1]."""
    datasets: Any = importlib.import_module("sklearn.datasets")
    images: Any = datasets.load_digits().images
    return (torch.as_tensor(images[:_DIGITS], dtype=torch.float64) / 8 - 1)[:, None]


Measure = Callable[[Case, Attempt], Score]


def measured(contender: Contender, case: Case, budgets: Sequence[int], measure: Measure) -> list[Row]:
    """Return what became of a contender with each of its options, and, beyond 50 calls, with the best one."""
    builders = contender.options(case)
    few, many = ([n for n in budgets if (n <= CHOOSING[-1]) is low] for low in (True, False))
    rows = [Row(contender, option, _scores(build, case, few, measure)) for option, build in builders.items()]
    if rows and many:
        chosen = best(rows, CHOOSING)
        chosen.scores.update(_scores(builders[chosen.option], case, many, measure))
    return rows


def _scores(build: Builder, case: Case, budgets: Sequence[int], measure: Measure) -> dict[int, Score]:
    scores: dict[int, Score] = {}
    for calls in budgets:
        try:
            score = measure(case, build(calls))
        except ValueError:
            # A grid, a step or a tolerance that cannot be had with so few calls, or not for this process.
            continue
        assert score.calls <= calls, f"{score.calls} calls where {calls} are allowed"
        scores[calls] = score
    return scores


def best(rows: Sequence[Row], budgets: Sequence[int]) -> Row:
    """Return the option whose error is least on (geometric) average over those of some numbers of calls that it has."""
    asked = [n for n in budgets if any(n in row.scores for row in rows)]
    # One that fails somewhere counts as an error of 10 there.
    return min(rows, key=lambda row: sum(math.log(max(min(row.error(n), 10.0), 1e-16)) for n in asked))


def gaussian(settings: Settings, contenders: Sequence[Contender]) -> Results:
    """Return for each process and contender the rows of all its options."""
    budgets = QUICK_CALLS if settings.quick else CALLS
    found: Results = {}
    for name, process in chosen_processes(settings).items():
        case = gaussian_case(name, process)
        measurements = [measured(contender, case, budgets, error_of_distribution) for contender in contenders]
        found[name] = [rows for rows in measurements if rows]
        print(f"\n{name}: relative 2-Wasserstein distance")
        print_rows(error_table([best(rows, CHOOSING) for rows in found[name]], budgets))
    return found


def chosen_processes(settings: Settings) -> dict[str, LinearGaussianProcess]:
    """Return the processes that are asked for.

    Raises:
        SystemExit: there is none of that name.
    """
    known = processes()
    names = (
        tuple(settings.only.split(","))
        if settings.only
        else (("heat", "cosine", "rectified flow") if settings.quick else tuple(known))
    )
    unknown = set(names) - set(known)
    if unknown:
        msg = f"no process is called {', '.join(sorted(unknown))}: choose from {', '.join(known)}"
        raise SystemExit(msg)
    return {name: known[name] for name in names}


def on_digits(settings: Settings, results: Results) -> Results:
    """Return for each process the energy distances to the digits, of the options that were best on Gaussian data."""
    found: Results = {}
    for name, process in chosen_processes(settings).items():
        # In coefficients, where distances are the same.
        spectra = process.basis.forward(digits())
        case = Case(name, EmpiricalOracle(InCoefficients(process), spectra), isinstance(process, IsotropicDiffusion))
        measure = partial(_energy, spectra)
        rows: list[Row] = []
        for options in results[name]:
            chosen = best(options, CHOOSING)
            build = chosen.contender.options(case)[chosen.option]
            rows.append(Row(chosen.contender, chosen.option, _scores(build, case, DIGIT_CALLS, measure)))
        found[name] = [[row] for row in rows]
        print(f"\n{name}: energy distance to the digits, and share of samples that are one of them")
        print_rows(digit_table(rows))
    return found


def _energy(data: Tensor, _: Case, attempt: Attempt) -> Score:
    """Return the energy distance of samples to the data, and the share of them that are one of its rows."""
    generator = torch.Generator().manual_seed(1)
    # The same data and noise in the first latents of all contenders.
    x = data[torch.randint(len(data), (_SAMPLES,), generator=generator)]
    alpha, sigma = attempt.start.alpha, attempt.start.sigma
    initial = alpha * x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    try:
        samples = attempt.run(initial, GeneratorNoise(generator))
    except NonFiniteStateError:
        return Score(math.inf, attempt.calls)
    between = torch.cdist(data.flatten(1), data.flatten(1)).fill_diagonal_(math.inf).min(1).values.median()
    near = distance_to_nearest(samples, data) <= _NEAR * between
    error = energy_distance(samples, data)
    return Score(error if math.isfinite(error) else math.inf, attempt.calls, near.double().mean().item())


def noise_floor() -> float:
    """Return the energy distance of as many fresh draws of the digits, root mean square over twenty times."""
    data, generator = digits(), torch.Generator().manual_seed(3)
    draws = [data[torch.randint(len(data), (_SAMPLES,), generator=generator)] for _ in range(20)]
    return math.sqrt(sum(energy_distance(draw, data) ** 2 for draw in draws) / len(draws))


# ---- tables and plots -------------------------------------------------------------------------------------


def error_table(rows: Sequence[Row], budgets: Sequence[int]) -> list[list[str]]:
    """Return a table of errors, contenders down and calls across."""
    table = [["sampler", "with", *(str(n) for n in budgets)]]
    for row in rows:
        cells = [f"{row.scores[n].error:.1e}" if row.error(n) < math.inf else "-" for n in budgets]
        table.append([_full_name(row), row.option, *cells])
    return table


def digit_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return a table of energy distances and shares."""
    table = [["sampler", "with", *(str(n) for n in DIGIT_CALLS)]]
    for row in rows:
        cells = [
            f"{row.scores[n].error:.4f} ({row.scores[n].near:.0%})" if row.error(n) < math.inf else "-"
            for n in DIGIT_CALLS
        ]
        table.append([_full_name(row), row.option, *cells])
    return table


def comparison(results: Results) -> list[list[str]]:
    """Return a table of the least error of each library at the deciding numbers of calls, with how it came about."""
    libraries = ("unmelt", "azula", "diffusers")
    table = [["process", "calls", *libraries]]
    for name, contenders in results.items():
        rows = [row for options in contenders for row in options]
        if {row.contender.library for row in rows} == {"unmelt"}:
            continue
        for calls in DECIDING:
            winners = [
                min(
                    (row for row in rows if row.contender.library == library),
                    key=lambda r: r.error(calls),
                    default=None,
                )
                for library in libraries
            ]
            table.append([name, str(calls), *(_winner(row, calls) for row in winners)])
    return table


def _winner(row: Row | None, calls: int) -> str:
    return "-" if row is None else f"{row.error(calls):.1e} ({row.contender.name}; {row.option})"


def _full_name(row: Row) -> str:
    return row.contender.name if row.contender.library == "unmelt" else f"{row.contender.library} {row.contender.name}"


def plot(results: Results, path: Path) -> None:
    """Draw errors against calls, one panel per process: unmelt's samplers, and the best of other libraries.

    Args:
        results: what `gaussian` returned.
        path: the picture to write.
    """
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    columns = min(4, len(results))
    lines = -(-len(results) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(3.6 * columns, 3.2 * lines + 0.9), squeeze=False, sharex=True, sharey=True
    )
    names = list(
        dict.fromkeys(o[0].contender.name for r in results.values() for o in r if o[0].contender.library == "unmelt")
    )
    for axis, (process, contenders) in zip(axes.flat, results.items(), strict=False):
        for options in contenders:
            if options[0].contender.library == "unmelt":
                row, i = best(options, CHOOSING), names.index(options[0].contender.name)
                axis.plot(
                    *_points(row),
                    label=row.contender.name,
                    color=_COLOURS[i % len(_COLOURS)],
                    linestyle="-" if i < len(_COLOURS) else "--",
                    marker="o",
                    markersize=2.5,
                    linewidth=1.2,
                )
        for library, style in (("azula", ":"), ("diffusers", "--")):
            rows = [row for options in contenders for row in options if row.contender.library == library]
            if rows:
                calls = sorted({n for row in rows for n in row.scores if n <= CHOOSING[-1]})
                axis.plot(
                    calls,
                    [min(row.error(n) for row in rows) for n in calls],
                    style,
                    color="black",
                    linewidth=2,
                    label=f"best of {library}",
                )
        ticks = sorted({n for options in contenders for row in options for n in row.scores})
        axis.set(xscale="log", yscale="log", title=process, ylim=(1e-7, 3), xticks=ticks, xticklabels=ticks)
        axis.tick_params(axis="x", which="both", labelsize=7)
        axis.xaxis.set_minor_locator(pyplot.NullLocator())
        axis.grid(visible=True, alpha=0.3)
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("network calls")
    for axis in axes[:, 0]:
        axis.set_ylabel("relative W2 distance")
    handles = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="lower center", ncols=min(6, 2 * columns), fontsize=8, frameon=False
    )
    figure.tight_layout(rect=(0, 0.9 / (3.2 * lines + 0.9), 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, pil_kwargs={"optimize": True})
    pyplot.close(figure)
    # Few colours: a palette takes a third of the space.
    image: Any = importlib.import_module("PIL.Image")
    image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def _points(row: Row) -> tuple[list[int], list[float]]:
    calls = [n for n in row.scores if row.error(n) < math.inf]
    return calls, [row.error(n) for n in calls]


def report(facts: dict[str, object], results: Results, digit_results: Results) -> str:
    """Return all tables in Markdown, with what they were measured on."""
    budgets = sorted({n for contenders in results.values() for rows in contenders for row in rows for n in row.scores})
    versions = ", ".join(f"{name} {value}" for name, value in facts.items())
    parts = [
        "# Samplers: error against network calls",
        "Written by `benchmarks/samplers.py`; [README](../README.md#samplers) says what is measured, and how.",
        f"Measured on: {versions}.",
        "![errors against calls](samplers.png)",
    ]
    if any(rows[0].contender.library != "unmelt" for contenders in results.values() for rows in contenders):
        parts += ["## The best of each library", _markdown(comparison(results))]
    parts.append("## Gaussian data: relative 2-Wasserstein distance")
    for name, rows in results.items():
        chosen = [best(options, CHOOSING) for options in rows]
        parts += [f"### {name}", _markdown(error_table(chosen, budgets))]
    if digit_results:
        floor = f"{noise_floor():.4f}"
        parts += [
            "## Digits: energy distance, and share of samples that are one of them",
            f"As many fresh draws of the digits are {floor} away from them (root mean square); less is no difference.",
        ]
        for name, rows in digit_results.items():
            parts += [f"### {name}, digits", _markdown(digit_table([options[0] for options in rows]))]
    return "\n\n".join(parts) + "\n"


def _markdown(table: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def main(settings: Settings) -> None:
    """Measure, print and write what is asked for."""
    # Exact runs hold batches too small for several threads.
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=FutureWarning)
    facts = machine(torch.device("cpu"))
    contenders = list(OURS)
    if settings.azula is not None:
        contenders += against_azula.contenders(settings.azula)
        facts["azula"] = "at " + settings.azula_version if settings.azula_version else "from a folder"
    if settings.diffusers is not None or settings.installed_diffusers:
        contenders += against_diffusers.contenders(settings.diffusers)
        facts["diffusers"] = importlib.import_module("diffusers").__version__
    print_machine(facts)
    started = time.perf_counter()
    results = gaussian(settings, contenders)
    digit_results = {} if settings.quick else on_digits(settings, results)
    if len(contenders) > len(OURS):
        print("\nleast error of each library")
        print_rows(comparison(results))
    print(f"\n{time.perf_counter() - started:.0f} s")
    if settings.save is not None:
        plot(results, settings.save / "samplers.png")
        text = report(facts, results, digit_results)
        (settings.save / "samplers.md").write_text(text)
        print(f"written to {settings.save / 'samplers.md'}")


if __name__ == "__main__":
    main(cli(Settings(), __doc__))
