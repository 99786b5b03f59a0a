"""Writes the pictures and tables of docs/concepts/sampling.md: python recipes/studies/sampling.py (or `make sampling`).

With `pictures` or `figures` behind it, one of the two alone. Two models of scikit-learn's digits, heat dissipation with
200 levels, are trained first (a few minutes each on one core; runs/sampling_NAME, kept and found again): one predicts
the image, the other the step to the previous level, as inverse heat dissipation does. Figures take a quarter of an hour
more; each is kept in the model's folder as soon as it is there, so that a script that was stopped goes on.
"""

import json
import math
from typing import Any, NamedTuple

import torch
from pages import DOCS, asked, write_table
from sampling_models import (
    GROUPS,
    LARGE,
    MARKOV,
    MODELS,
    NUMBERS_OF_STEPS,
    SAMPLES,
    Model,
    X,
    degraded,
    large,
    sampler,
    seeded,
    trained,
)
from sampling_pictures import DRAWINGS, OF_LARGE
from torch import Tensor

from unmelt.evaluation import Recogniser, energy_distance
from unmelt.samplers import (
    Stepper,
    restart,
)

PAGE = DOCS / "concepts" / "sampling.md"


class Cell(NamedTuple):
    """What is measured of the samples of one sampler, over all of them and, for standard errors, in groups."""

    recognised: list[float]
    classes: int
    nearest: list[float]
    energy: list[float]

    def show(self, name: str, digits: int, scale: float = 1.0) -> str:
        """Return the mean of a figure over the groups, with its standard error."""
        values = scale * torch.tensor(getattr(self, name), dtype=torch.float64)
        return f"{values.mean().item():.{digits}f} +- {values.std().item() / math.sqrt(len(values)):.{digits}f}"


def measured(images: Tensor, model: Model, recogniser: Recogniser) -> Cell:
    """Return the figures of images, cut off at the data's range as they are shown."""
    images = images.clamp(*model.data.train.range)
    held_out = model.data.test.read()
    groups = images.chunk(GROUPS)
    found = [recogniser.assess(group) for group in groups]
    return Cell(
        [f.recognised for f in found],
        recogniser.assess(images).classes,
        [f.nearest for f in found],
        [energy_distance(group, held_out) for group in groups],
    )


def cells(model: Model, methods: dict[str, Stepper]) -> dict[tuple[str, int], Cell]:
    """Return the figures of all samplers and numbers of steps, few steps first, from the same initial states."""
    kept = model.folder / "sampling.json"
    known: dict[str, list[Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    recogniser = Recogniser(model.data.train.read(), _labels(model))
    initial = model.prior.sample(SAMPLES, generator=seeded(0))
    table: dict[tuple[str, int], Cell] = {}
    for steps in sorted(NUMBERS_OF_STEPS):
        for name, stepper in methods.items():
            key = f"{name}, {steps} steps"
            if key not in known:
                try:
                    drawn = sampler(model, stepper, steps)
                    samples = drawn.sample(SAMPLES, initial=initial, generator=seeded(1), batch_size=128)
                    known[key] = list(measured(samples, model, recogniser))
                except FloatingPointError:
                    known[key] = []
                kept.write_text(json.dumps(known, indent=1))
                print(key, known[key][:1], flush=True)
            if known[key]:
                table[name, steps] = Cell(*known[key])
    return table


def _labels(model: Model) -> Tensor:
    labels = model.data.train.labels
    assert labels is not None
    return labels


def real(model: Model) -> list[str]:
    """Return the table's rows of real digits."""
    recogniser = Recogniser(model.data.train.read(), _labels(model))
    held_out = recogniser.assess(model.data.test.read())
    some = model.data.train.read()[torch.randperm(len(model.data.train), generator=seeded(0))[:SAMPLES]]
    training = [energy_distance(group, model.data.test.read()) for group in some.chunk(GROUPS)]
    energy = Cell([], 0, [], training).show("energy", 1, 1000)
    return [
        f"| | held-out digits | | {held_out.recognised:.1%} | {held_out.classes} | {held_out.nearest:.2f} | |",
        f"| | training digits | | | | | {energy} |",
    ]


def distances() -> str:
    """Return the table of energy distances: samplers by numbers of steps, for both models."""
    lines = [
        "| network predicts | stepper | " + " | ".join(f"{steps}" for steps in NUMBERS_OF_STEPS) + " |",
        "|---|---|" + "---|" * len(NUMBERS_OF_STEPS),
    ]
    for title, config, methods in MODELS:
        found = cells(trained(config), methods)
        for name in methods:
            row = [
                found[name, steps].show("energy", 1, 1000) if (name, steps) in found else "diverges"
                for steps in NUMBERS_OF_STEPS
            ]
            lines.append(f"| {title} | {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def qualities() -> str:
    """Return the table of the other figures, at 200 and at 20 steps."""
    lines = [
        "| network predicts | stepper | steps | recognised | classes | nearest training digit | energy x 1000 |",
        "|---|---|---|---|---|---|---|",
        *real(trained(X)),
    ]
    for title, config, methods in MODELS:
        found = cells(trained(config), methods)
        lines += [
            f"| {title} | {name} | {steps} | {cell.show('recognised', 1, 100)} % | {cell.classes} |"
            f" {cell.show('nearest', 2)} | {cell.show('energy', 1, 1000)} |"
            for name in methods
            for steps in (200, 20)
            if (cell := found.get((name, steps)))
        ]
    return "\n".join(lines)


def restarts() -> str:
    """Return the table of reconstructions: their errors, and how recognisable they are, beside what was given."""
    model, count = trained(X), 8
    x = model.data.test.read()[:128]
    recogniser = Recogniser(model.data.train.read(), _labels(model))
    lines = [
        "| given | its error | a reconstruction's | their mean's | recognised: given | reconstruction | real |",
        "|---|---|---|---|---|---|---|",
    ]
    for what, shown, start in degraded(model, x):
        found = restart(sampler(model, MARKOV), start, count=count, generator=seeded(2), batch_size=128).clamp(0, 1)
        errors = [(shown - x).square(), (found - x[:, None]).square(), (found.mean(1) - x).square()]
        shares = [recogniser.assess(images).recognised for images in (shown, found.flatten(0, 1), x)]
        cells = [f"{error.mean().sqrt().item():.3f}" for error in errors] + [f"{share:.0%}" for share in shares]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    wanted = asked(["pictures", "larger", "figures"])
    if "pictures" in wanted:
        digits = trained(X)
        for drawing in DRAWINGS:
            drawing(digits)
    if "larger" in wanted:
        for name in LARGE:
            for drawing in OF_LARGE:
                drawing(large(name))
    if "figures" in wanted:
        write_table(PAGE, "restarts", restarts())
        write_table(PAGE, "distances", distances())
        write_table(PAGE, "qualities", qualities())
