"""Are samples copies? Each beside the training examples nearest to it."""

from __future__ import annotations

import torch

from ...training.data.examples import spread
from ..memorisation import assess_memorisation
from ..neighbours import nearest_neighbours
from .figures import Facts, Panel, Table
from .subject import Subject

TITLE = "Nearest training examples"
ABOUT = (
    "Samples, cut off at the data's range, beside the training examples nearest to them by Euclidean distance over"
    " pixels, which is below each; the likeliest copies first. Held-out examples tell how near new ones lie."
)
_SHOWN, _NEIGHBOURS = 8, 3
# Numbers of the training examples that are looked at (1 GB in float32), and held-out examples beside them.
_MOST, _HELD_OUT = 2**28, 256


def nearest(subject: Subject) -> Panel:
    """Return samples of a run with their neighbours, and how near held-out examples lie."""
    if subject.data is None:
        return Panel(missing=subject.without_data)
    train, test = subject.data.train, subject.data.test
    looked_at = min(len(train), max(2, _MOST // torch.Size(train.shape).numel()))
    training = torch.cat(list(train.blocks(looked_at)))
    flip = subject.run.config.training.flip
    if flip:
        # As it was trained on.
        training = torch.cat([training, training.flip(-1)])
    samples = subject.samples.clamp(*subject.range)
    count = min(_NEIGHBOURS, len(training))
    found = nearest_neighbours(samples, training, count=count)
    order = found.order()[:_SHOWN]
    tiles = torch.cat([samples[order][:, None], training[found.indices[order]]], dim=1)
    mirrored = " and their mirror images" if flip else ""
    heads = ["nearest", "second", "third"][:count]
    figure = Table(
        sheet=subject.sheet(tiles.flatten(0, 1)),
        heads=["sample", *heads],
        rows=[subject.named(number) for number in order.tolist()],
        notes=[["", *(f"{d:#.3g}" for d in row)] for row in found.distances[order].tolist()],
        apart=1,
        says=f"The {len(order)} of {len(samples)} samples that lie nearest to one of {looked_at} training examples"
        f"{mirrored}, by {subject.drawn_by}. {subject.shown}",
    )
    held_out = test.fetch(spread(len(test), _HELD_OUT)).x
    try:
        told = assess_memorisation(samples, training, held_out)
    except ValueError as error:
        return Panel([figure, Facts("Copies?", [("not measured", str(error))])])
    rows = [
        ("median distance to the nearest", f"{told.median:.4g} (held-out examples {told.held_out_median:.4g})"),
        (f"nearer than {told.quantile:.0%} of held-out examples", f"{told.share:.1%} ± {told.share_error:.1%}"),
        (
            "copies: three times nearer to one example than to the next",
            f"{told.copies:.1%} (held-out {told.held_out_copies:.1%})",
        ),
    ]
    says = f"{told.samples} samples, {told.held_out} held-out examples, {looked_at} training examples{mirrored}."
    return Panel([figure, Facts("Copies?", rows, says)])
