"""What a run recorded while it was trained: losses, gradient norms, learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...training.folder.records import read_metrics
from .figures import Axis, Line, Panel, Plot
from .subject import Subject

TITLE = "Training"
ABOUT = (
    "From metrics.jsonl. The held-out loss is that of the moving average, which samples are drawn from; losses of other"
    " processes, predictions or weightings are other quantities, and do not compare."
)
_STEP = Axis("training step")
# Points of a line; of more every so many are drawn.
_POINTS = 500
_PLOTS = (
    ("Loss", "loss per example", {"loss": "training", "held_out_loss": "held-out examples, moving average"}),
    ("Gradient norm", "norm before clipping", {"gradient_norm": "gradient norm"}),
    ("Learning rate", "learning rate", {"learning_rate": "learning rate"}),
)
_BY_TIME = "held_out_loss_t_"


def curves(subject: Subject) -> Panel:
    """Return the curves of a run."""
    path = subject.run.folder.metrics
    if not path.is_file():
        return Panel(missing=f"Left out: there is no {path.name}, which training writes and an export does not keep.")
    metrics = read_metrics(path)
    by_time = {
        name: f"t from {name.removeprefix(_BY_TIME).replace('_', ' to ')}"
        for name in sorted({name for line in metrics for name in line if name.startswith(_BY_TIME)})
    }
    wanted = (*_PLOTS, ("Held-out loss by time", "loss per example", by_time))
    plots = [plot for title, label, names in wanted if (plot := _plot(metrics, title, label, names)).lines]
    if not plots:
        return Panel(missing=f"Left out: {path.name} holds no losses yet.")
    return Panel(plots)


def _plot(metrics: Sequence[Mapping[str, float]], title: str, label: str, names: Mapping[str, str]) -> Plot:
    found = [(shown, _points(metrics, name)) for name, shown in names.items()]
    lines = [Line(name, *zip(*_some(points), strict=True), dots=len(points) < 40) for name, points in found if points]
    longest = max((len(points) for _, points in found), default=0)
    every = f", {_POINTS} points of {longest}" if longest > _POINTS else ""
    says = f"As recorded{every}; the logarithmic axis leaves out zeros."
    return Plot(title, _STEP, Axis(label, logarithmic=True), lines, says)


def _points(metrics: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """Return steps and values of a number, those that a logarithmic axis has a place for."""
    return [
        (line["step"], line[name])
        for line in metrics
        if isinstance(line.get(name), int | float) and math.isfinite(line[name]) and line[name] > 0
    ]


def _some(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Return no more points than are drawn, evenly spread."""
    if len(points) <= _POINTS:
        return points
    # The last one is what a curve is looked at for.
    return [points[index * (len(points) - 1) // (_POINTS - 1)] for index in range(_POINTS)]
