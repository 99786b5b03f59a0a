"""Writes the pictures and tables of docs/sampling.md: python recipes/studies/sampling.py (or `make sampling`).

With `pictures` or `figures` behind it, one of the two alone. Two models of scikit-learn's digits, heat dissipation with
200 levels, are trained first (a few minutes each on one core; runs/sampling_NAME, kept and found again): one predicts
the image, the other the step to the level before, as inverse heat dissipation does. Figures take a quarter of an hour
more; each is kept in the model's folder as soon as it is there, so that a script that was stopped goes on.
"""

import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pages
import torch
from matplotlib.font_manager import findfont
from pages import DOCS, ROOT, asked, write_table
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unmelt.core import later
from unmelt.core.pictures import to_pixels
from unmelt.degradations import (
    Deterministic,
    Eta,
    HeatDissipation,
    Independent,
    Markov,
    PredictPreviousLevel,
    PredictX,
)
from unmelt.evaluation import Recogniser
from unmelt.losses import SumOverDimensions
from unmelt.models import ConstantStd, DegradedDataPrior, Denoiser, Prior, UNet
from unmelt.samplers import (
    Multistep,
    Posterior,
    Sampler,
    SharedNoise,
    Start,
    Stepper,
    UniformGrid,
    blurred_start,
    branch,
    interpolate,
    interpolate_seeds,
    restart,
    time_of_blur,
    upsampled_start,
)
from unmelt.training import Digits, ImageSplits, RunConfig, Training, load_run

PAGE = DOCS / "sampling.md"
IMAGES = DOCS / "images"
DIGITS = Digits()
TRAINING_STEPS = 1400
LEVELS = 200

X = RunConfig(
    name="sampling_x",
    data=DIGITS,
    process=later(HeatDissipation, levels=LEVELS, blur_sigma_min=0.3, blur_sigma_max=6.0, sigma=0.03),
    network=later(UNet, channels=32, multipliers=(1, 2), blocks=1, attention_levels=(1,)),
    prediction=PredictX(),
    reduction=SumOverDimensions(),
    prior=later(DegradedDataPrior.fit),
    sampler=Posterior(coupling=Independent(), reverse_std=ConstantStd(0.033)),
    optimizer=later(torch.optim.AdamW, lr=2e-3, weight_decay=0.0, fused=True),
    training=Training(
        steps=TRAINING_STEPS,
        warmup=100,
        cosine_decay=True,
        log_every=20,
        checkpoint_every=TRAINING_STEPS,
        sample_every=TRAINING_STEPS,
        cpu=True,
    ),
    root=ROOT / "runs",
)
LESS = replace(X, name="sampling_less_degraded", prediction=PredictPreviousLevel())


class Model(NamedTuple):
    """A trained model and its digits."""

    denoiser: Denoiser
    prior: Prior
    data: ImageSplits
    folder: Path


NUMBERS_OF_STEPS = (200, 100, 50, 20, 10)
SAMPLES, GROUPS = 1024, 8


def sampler(model: Model, stepper: Stepper, steps: int = LEVELS) -> Sampler:
    """Return a sampler of a model in so many equal steps."""
    return Sampler(model.denoiser, stepper, grid=UniformGrid(steps), prior=model.prior)


MARKOV, MULTISTEP = Posterior(Markov()), Multistep(order=2)
METHODS: dict[str, Stepper] = {
    "`Posterior`, `Independent()`, delta = 1.1 sigma": Posterior(Independent(), ConstantStd(0.033)),
    "`Posterior`, `Markov()`": MARKOV,
    "`Posterior`, `Eta(0.5)`": Posterior(Eta(0.5)),
    "`Posterior`, `Deterministic()`": Posterior(Deterministic()),
    "`Multistep`, order 2": MULTISTEP,
    "`Multistep`, order 3": Multistep(order=3),
}
FEW = {name: METHODS[name] for name in list(METHODS) if "Independent" in name or "Eta" in name or "order 2" in name}
MODELS = (("the image", X, METHODS), ("the level before", LESS, FEW))


def trained(config: RunConfig) -> Model:
    """Return a trained model, training it first where there is none."""
    run = load_run(pages.trained(config))
    data = run.data()
    return Model(run.denoiser, run.prior, data, config.folder)


def seeded(seed: int) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


# ---- figures --------------------------------------------------------------------------------------------------


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


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Return 2 E|x - y| - E|x - x'| - E|y - y'| without bias, over pixels: 0 for equal distributions.

    Source: Szekely & Rizzo (2013).
    """
    x, y = x.flatten(1).double(), y.flatten(1).double()
    within = [torch.cdist(a, a).sum() / (len(a) * (len(a) - 1)) for a in (x, y)]
    return (2 * torch.cdist(x, y).mean() - within[0] - within[1]).item()


def measured(images: Tensor, model: Model, recogniser: Recogniser) -> Cell:
    """Return the figures of images, cut off at the data's range as they are shown."""
    images = images.clamp(*model.data.train.grey_levels.range)
    held_out = model.data.test.scaled()
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
    recogniser = Recogniser(model.data.train.scaled(), _labels(model))
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
    labels = model.data.train_labels
    assert labels is not None
    return labels


def real(model: Model) -> list[str]:
    """Return the table's rows of real digits."""
    recogniser = Recogniser(model.data.train.scaled(), _labels(model))
    held_out = recogniser.assess(model.data.test.scaled())
    some = model.data.train.scaled()[torch.randperm(len(model.data.train), generator=seeded(0))[:SAMPLES]]
    training = [energy_distance(group, model.data.test.scaled()) for group in some.chunk(GROUPS)]
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
    x = model.data.test.scaled()[:128]
    recogniser = Recogniser(model.data.train.scaled(), _labels(model))
    lines = [
        "| given | its error | a reconstruction's | their mean's | recognised: given | reconstruction | real |",
        "|---|---|---|---|---|---|---|",
    ]
    for what, shown, start in _degraded(model, x):
        found = restart(sampler(model, MARKOV), start, count=count, generator=seeded(2), batch_size=128).clamp(0, 1)
        errors = [(shown - x).square(), (found - x[:, None]).square(), (found.mean(1) - x).square()]
        shares = [recogniser.assess(images).recognised for images in (shown, found.flatten(0, 1), x)]
        cells = [f"{error.mean().sqrt().item():.3f}" for error in errors] + [f"{share:.0%}" for share in shares]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _degraded(model: Model, x: Tensor) -> list[tuple[str, Tensor, Start]]:
    """Return what is done to digits: its name, how they look then, and what to start from."""
    process, width = _heat(model), 1.0
    (blurred,) = process.degrade(x, time_of_blur(process, width))
    small = torch.nn.functional.avg_pool2d(x, 2)
    enlarged = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    return [
        ("blurred by 1 pixel", blurred, blurred_start(process, blurred, width=width)),
        ("4 x 4 pixels", enlarged, upsampled_start(process, small)),
    ]


# ---- pictures -------------------------------------------------------------------------------------------------

INK, FAINT, PAPER = 40, 150, 255


class Sheet:
    """White paper that digits, lines and words are put on; what lies outside of it is cut off when it is saved.

    Args:
        width: in pixels.
        height: in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("L", (width, height), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.font = ImageFont.truetype(findfont("DejaVu Sans"), 12)

    def digit(self, x: float, y: float, pixels: Tensor, scale: int = 5) -> None:
        """Put an image (1, height, width) with its left upper corner at x, y, every pixel a square of `scale`."""
        grey = to_pixels(pixels[None].clamp(DIGITS.low, DIGITS.high), (DIGITS.low, DIGITS.high))[0, :, :, 0]
        large = grey.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        self.image.paste(Image.fromarray(large.numpy()), (round(x), round(y)))

    def line(self, *points: tuple[float, float]) -> None:
        """Draw a line through points."""
        self.draw.line(points, fill=FAINT, width=1)

    def words(self, x: float, y: float, text: str, anchor: str = "lm") -> None:
        """Write words, `anchor` of them at x, y."""
        self.draw.text((x, y), text, fill=INK, font=self.font, anchor=anchor, align="center")

    def save(self, name: str) -> None:
        """Write the sheet as a PNG of few grey levels."""
        buffer = io.BytesIO()
        self.image.quantize(32, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
        (IMAGES / f"sampling_{name}.png").write_bytes(buffer.getvalue())
        print(f"sampling_{name}.png: {len(buffer.getvalue()) / 1000:.0f} kB", flush=True)


TILE, GAP, MARGIN = 40, 6, 4
STEP = TILE + GAP


class Row(NamedTuple):
    """A row of a table of digits: what it is, and the digits."""

    title: str
    digits: Iterable[Tensor]


def draw_table(
    name: str,
    rows: Sequence[Row],
    heads: Sequence[str] = (),
    *,
    left: int = 130,
    apart: Sequence[int] = (),
    rows_apart: Sequence[int] = (),
) -> None:
    """Draw rows of digits with their titles to the left, and heads over columns.

    Wider gaps are left after the columns `apart` and the rows `rows_apart`.
    """
    grid = [list(row.digits) for row in rows]
    columns = max(len(row) for row in grid)
    places: list[int] = []
    x = left
    for column in range(columns):
        places.append(x)
        x += STEP + (2 * GAP if column in apart else 0)
    lines = max([head.count("\n") + 1 for head in heads], default=0)
    top = 16 * lines + (GAP if lines else 0)
    sheet = Sheet(x, top + STEP * len(rows) + 2 * GAP * len(rows_apart))
    for place, head in zip(places, heads, strict=False):
        sheet.words(place + TILE / 2, top / 2, head, "mm")
    y = top
    for i, (row, digits) in enumerate(zip(rows, grid, strict=True)):
        sheet.words(MARGIN, y + TILE / 2, row.title)
        for place, digit in zip(places, digits, strict=False):
            sheet.digit(place, y, digit)
        y += STEP + (2 * GAP if i in rows_apart else 0)
    sheet.save(name)


def draw_trajectories(model: Model) -> None:
    """Draw states and predictions of a few samples, level by level."""
    path = sampler(model, MARKOV).run(3, generator=[0, 2, 5]).trajectory
    assert path is not None
    blur = _heat(model)
    shown = [round(k * LEVELS / 11) for k in range(12)]
    heads = [f"{blur.blur_sigma(path.times[k].item()).item():.2g}\npixels" if k < LEVELS else "sample\n" for k in shown]
    rows: list[Row] = []
    for i in range(3):
        # The last prediction is the sample.
        guesses = [path.predictions[min(k, LEVELS - 1), i] for k in shown]
        rows += [Row("state", path.states[shown, i]), Row("prediction", guesses)]
    draw_table("trajectories", rows, heads, left=84, rows_apart=(1, 3))


def draw_shared(model: Model) -> None:
    """Draw samples of one initial state with many noises, and of one noise with many initial states."""
    drawn, count = sampler(model, MARKOV), 10
    initial = model.prior.sample(count, generator=seeded(6))
    rows = [
        Row(f"initial state {i + 1}", [initial[i], *drawn.sample(
            count, initial=initial[i : i + 1].expand(count, 1, 8, 8), generator=list(range(count))
        )])
        for i in range(4)
    ]  # fmt: skip
    draw_table("shared_state", rows, ["state", *(f"noise\n{k + 1}" for k in range(count))], left=100, apart=(0,))
    rows = [Row("initial states", initial)]
    rows += [Row(f"noise {k + 1}", drawn.sample(count, initial=initial, noise=SharedNoise(k))) for k in range(4)]
    draw_table("shared_noise", rows, left=100, rows_apart=(0,))


def draw_interpolations(model: Model) -> None:
    """Draw what lies between samples."""
    points = 11
    drawn, still = sampler(model, MARKOV), sampler(model, MULTISTEP, 20)
    rows = [Row("state and noise", interpolate_seeds(drawn, a, b, points=points)) for a, b in ((0, 1), (2, 5), (7, 3))]
    states = model.prior.sample(6, generator=seeded(3))
    rows += [Row("state alone", interpolate(still, a, b, points=points)) for a, b in states.unflatten(0, (3, 2))]
    draw_table("interpolation", rows, [f"{k / (points - 1):.1f}" for k in range(points)], left=110, rows_apart=(2,))


def draw_tree(model: Model) -> None:
    """Draw the hierarchy: states, and beside each what the model expects of it, from one state to 27 samples."""
    process = _heat(model)
    widths = (3.0, 1.5, 0.8)
    tree = branch(
        sampler(model, MARKOV),
        times=[time_of_blur(process, width) for width in widths],
        children=(3, 3, 3),
        generator=seeded(4),
    )
    scale, tile, left, rise = 4, 32, 84, 84
    leaf = tile + 4
    leaves = len(tree.samples)
    sheet = Sheet(left + leaf * leaves, rise * (len(tree.generations) - 1) + tile + 2)
    # A state stands over the middle of its descendants.
    centres: list[list[float]] = []
    for generation in tree.generations:
        span = leaves / len(generation.states)
        centres.append([left + leaf * span * (i + 0.5) - 2 for i in range(len(generation.states))])
    for depth, generation in enumerate(tree.generations[1:], start=1):
        for i, parent in enumerate(generation.parents.tolist()):
            x, above, y = centres[depth][i], centres[depth - 1][parent], rise * depth
            bend = y - (rise - tile) / 2
            sheet.line((above, y - rise + tile), (above, bend), (x, bend), (x, y))
    for depth, generation in enumerate(tree.generations):
        last = depth == len(tree.generations) - 1
        sheet.words(MARGIN, rise * depth + tile / 2, "samples" if last else f"blurred by\n{widths[depth]:g} pixels")
        for centre, state, guess in zip(centres[depth], generation.states, generation.predictions, strict=True):
            if last:
                sheet.digit(centre - tile / 2, rise * depth, state, scale)
            else:
                sheet.digit(centre - tile - 1, rise * depth, state, scale)
                sheet.digit(centre + 1, rise * depth, guess, scale)
    sheet.save("hierarchy")


def draw_steps(model: Model) -> None:
    """Draw samples of few steps under those of many, from the same initial states."""
    count = 14
    initial = model.prior.sample(count, generator=seeded(9))
    chosen = [("order 2", 200), ("order 2", 20), ("order 2", 10), ("Deterministic", 20), ("Markov", 200),
              ("Markov", 20), ("Independent", 200), ("Independent", 20)]  # fmt: skip
    titles = {"order 2": "multistep"}
    rows = [Row("initial states", initial)]
    for part, steps in chosen:
        (stepper,) = (method for name, method in METHODS.items() if part in name)
        samples = sampler(model, stepper, steps).sample(count, initial=initial, generator=seeded(1))
        rows.append(Row(f"{titles.get(part, part)}, {steps}", samples))
    draw_table("steps", rows, left=124, rows_apart=(0, 3, 4, 6))


def draw_restarts(model: Model) -> None:
    """Draw held-out digits, degraded, and reconstructed several times."""
    drawn, count = sampler(model, MARKOV), 8
    x = model.data.test.scaled()[[0, 3, 7, 11]]
    rows: list[Row] = []
    for what, shown, start in _degraded(model, x):
        found = restart(drawn, start, count=count, generator=seeded(2))
        rows += [
            Row("" if i else what, [x[i], shown[i], start.images[i], *found[i], found[i].mean(0)])
            for i in range(len(x))
        ]
    heads = ["held\nout", "given", "start", *(str(k + 1) for k in range(count)), "mean"]
    draw_table("restart", rows, heads, left=140, apart=(0, 1, 2, count + 2), rows_apart=(3,))


def _heat(model: Model) -> HeatDissipation:
    process = model.denoiser.process
    assert isinstance(process, HeatDissipation)
    return process


DRAWINGS = (draw_trajectories, draw_shared, draw_interpolations, draw_tree, draw_steps, draw_restarts)


if __name__ == "__main__":
    wanted = asked(["pictures", "figures"])
    if "pictures" in wanted:
        digits = trained(X)
        for drawing in DRAWINGS:
            drawing(digits)
    if "figures" in wanted:
        write_table(PAGE, "restarts", restarts())
        write_table(PAGE, "distances", distances())
        write_table(PAGE, "qualities", qualities())
