"""The pictures of docs/concepts/sampling.md."""

import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from matplotlib.font_manager import findfont
from pages import DOCS
from PIL import Image, ImageDraw, ImageFont
from sampling_models import (
    LEVELS,
    MARKOV,
    METHODS,
    MULTISTEP,
    Model,
    degraded,
    heat,
    sampler,
    seeded,
)
from torch import Tensor

from unmelt.core.pictures import to_pixels
from unmelt.samplers import (
    SharedNoise,
    branch,
    interpolate,
    interpolate_seeds,
    restart,
    time_of_blur,
)

IMAGES = DOCS / "images"
INK, FAINT = "#282828", "#969696"
# Widths of the blur at which a tree branches, in pixels, and children at each: 27 digits, and 12 larger images.
BRANCHES = {
    "digits": ((3.0, 1.5, 0.8), (3, 3, 3)),
    "garments": ((12.0, 6.0, 3.0), (3, 2, 2)),
    "crops": ((12.0, 6.0, 3.0), (3, 2, 2)),
}


class Size(NamedTuple):
    """How large images are drawn.

    Attributes:
        scale: side of a square that a pixel becomes.
        tile: side of an image.
    """

    scale: int
    tile: int

    @classmethod
    def of(cls, model: Model, about: int = 40) -> "Size":
        """Return the whole factor that brings a model's images to about so many pixels, small ones to twice theirs."""
        side = max(model.data.train.shape[1:])
        scale = max(1 if side > about else round(about / side), 2 if side <= 32 else 1)
        return cls(scale, scale * side)


class Sheet:
    """White paper that images, lines and words are put on; what lies outside of it is cut off when it is saved.

    Args:
        width: in pixels.
        height: in pixels.
        model: whose images are put on it.
    """

    def __init__(self, width: int, height: int, model: Model) -> None:
        grey = model.data.train.shape[0] == 1
        self.model, self.colours = model, 32 if grey else 256
        self.image = Image.new("L" if grey else "RGB", (width, height), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.font = ImageFont.truetype(findfont("DejaVu Sans"), 12)

    def put(self, x: float, y: float, image: Tensor, scale: int) -> None:
        """Put an image (channels, height, width) with its left upper corner at x, y, pixels as squares of `scale`."""
        pixels = to_pixels(image[None], self.model.data.train.range)[0]
        large = pixels.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        self.image.paste(Image.fromarray(large.numpy()).convert(self.image.mode), (round(x), round(y)))

    def line(self, *points: tuple[float, float]) -> None:
        """Draw a line through points."""
        self.draw.line(points, fill=FAINT, width=1)

    def words(self, x: float, y: float, text: str, anchor: str = "lm") -> None:
        """Write words, `anchor` of them at x, y."""
        self.draw.text(
            (x, y),
            text,
            fill=INK,
            font=self.font,
            anchor=anchor,
            align="center",
        )

    def save(self, name: str) -> None:
        """Write the sheet as a PNG of few colours; those of digits have no name of their own."""
        name = name if self.model.name == "digits" else f"{name}_{self.model.name}"
        buffer = io.BytesIO()
        self.image.quantize(self.colours, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
        (IMAGES / f"sampling_{name}.png").write_bytes(buffer.getvalue())
        print(f"sampling_{name}.png: {len(buffer.getvalue()) / 1000:.0f} kB", flush=True)


GAP, MARGIN = 6, 4


class Row(NamedTuple):
    """A row of a table of images: what it is, and the images."""

    title: str
    images: Iterable[Tensor]


def draw_table(
    model: Model,
    name: str,
    rows: Sequence[Row],
    heads: Sequence[str] = (),
    *,
    left: int = 130,
    apart: Sequence[int] = (),
    rows_apart: Sequence[int] = (),
) -> None:
    """Draw rows of images with their titles to the left, and heads over columns.

    Wider gaps are left after the columns `apart` and the rows `rows_apart`.
    """
    grid, size = [list(row.images) for row in rows], Size.of(model)
    step = size.tile + GAP
    columns = max(len(row) for row in grid)
    places: list[int] = []
    x = left
    for column in range(columns):
        places.append(x)
        x += step + (2 * GAP if column in apart else 0)
    lines = max([head.count("\n") + 1 for head in heads], default=0)
    top = 16 * lines + (GAP if lines else 0)
    sheet = Sheet(x, top + step * len(rows) + 2 * GAP * len(rows_apart), model)
    for place, head in zip(places, heads, strict=False):
        sheet.words(place + size.tile / 2, top / 2, head, "mm")
    y = top
    for i, (row, images) in enumerate(zip(rows, grid, strict=True)):
        sheet.words(MARGIN, y + size.tile / 2, row.title)
        for place, image in zip(places, images, strict=False):
            sheet.put(place, y, image, size.scale)
        y += step + (2 * GAP if i in rows_apart else 0)
    sheet.save(name)


def draw_trajectories(model: Model) -> None:
    """Draw states and predictions of a few samples, level by level."""
    path = sampler(model, MARKOV).run(3, generator=[0, 2, 5]).trajectory
    assert path is not None
    blur = heat(model)
    shown = [round(k * LEVELS / 11) for k in range(12)]
    heads = [f"{blur.blur_sigma(path.times[k].item()).item():.2g}\npixels" if k < LEVELS else "sample\n" for k in shown]
    rows: list[Row] = []
    for i in range(3):
        # The last prediction is the sample.
        guesses = [path.predictions[min(k, LEVELS - 1), i] for k in shown]
        rows += [Row("state", path.states[shown, i]), Row("prediction", guesses)]
    draw_table(model, "trajectories", rows, heads, left=84, rows_apart=(1, 3))


def draw_shared(model: Model) -> None:
    """Draw samples of one initial state with many noises, and of one noise with many initial states."""
    drawn, count = sampler(model, MARKOV), 10
    initial = model.prior.sample(count, generator=seeded(6))
    rows = [
        Row(f"initial state {i + 1}", [initial[i], *drawn.sample(
            count, initial=initial[i : i + 1].expand_as(initial), generator=list(range(count))
        )])
        for i in range(4)
    ]  # fmt: skip
    draw_table(model, "shared_state", rows, ["state", *(f"noise\n{k + 1}" for k in range(count))], left=100, apart=(0,))
    rows = [Row("initial states", initial)]
    rows += [Row(f"noise {k + 1}", drawn.sample(count, initial=initial, noise=SharedNoise(k))) for k in range(4)]
    draw_table(model, "shared_noise", rows, left=100, rows_apart=(0,))


def draw_interpolations(model: Model) -> None:
    """Draw what lies between samples."""
    points = 11
    drawn, still = sampler(model, MARKOV), sampler(model, MULTISTEP, 20)
    rows = [Row("state and noise", interpolate_seeds(drawn, a, b, points=points)) for a, b in ((0, 1), (2, 5), (7, 3))]
    states = model.prior.sample(6, generator=seeded(3))
    rows += [Row("state alone", interpolate(still, a, b, points=points)) for a, b in states.unflatten(0, (3, 2))]
    draw_table(
        model, "interpolation", rows, [f"{k / (points - 1):.1f}" for k in range(points)], left=110, rows_apart=(2,)
    )


def draw_tree(model: Model) -> None:
    """Draw the hierarchy: states, and beside each what the model expects of it, from one state to 27 samples."""
    process, (widths, children) = heat(model), BRANCHES[model.name]
    tree = branch(
        sampler(model, MARKOV),
        times=[time_of_blur(process, width) for width in widths],
        children=children,
        generator=seeded(4),
    )
    (scale, tile), left = Size.of(model, 32), 84
    leaf, rise = tile + 4, tile + 52
    leaves = len(tree.samples)
    sheet = Sheet(left + leaf * leaves, rise * (len(tree.generations) - 1) + tile + 2, model)
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
                sheet.put(centre - tile / 2, rise * depth, state, scale)
            else:
                sheet.put(centre - tile - 1, rise * depth, state, scale)
                sheet.put(centre + 1, rise * depth, guess, scale)
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
    draw_table(model, "steps", rows, left=124, rows_apart=(0, 3, 4, 6))


def draw_restarts(model: Model) -> None:
    """Draw held-out digits, degraded, and reconstructed several times."""
    drawn, count = sampler(model, MARKOV), 8
    x = model.data.test.read()[[0, 3, 7, 11]]
    rows: list[Row] = []
    for what, shown, start in degraded(model, x):
        found = restart(drawn, start, count=count, generator=seeded(2))
        rows += [
            Row("" if i else what, [x[i], shown[i], start.images[i], *found[i], found[i].mean(0)])
            for i in range(len(x))
        ]
    heads = ["held\nout", "given", "start", *(str(k + 1) for k in range(count)), "mean"]
    draw_table(model, "restart", rows, heads, left=140, apart=(0, 1, 2, count + 2), rows_apart=(3,))


# What is looked at in images in which something can be seen.
OF_LARGE = (draw_shared, draw_interpolations, draw_tree)
DRAWINGS = (draw_trajectories, draw_shared, draw_interpolations, draw_tree, draw_steps, draw_restarts)
