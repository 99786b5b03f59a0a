"""How samples of a run, or pictures in a folder, differ from real images: by one command, kept with how it was done.

Samples and real images are looked at a batch at a time, and what is to know of a batch is kept in a file: an evaluation
that is stopped goes on where it was, more samples cost only what is new, and several processes share the work. Images
themselves are not kept, but for the first 2,000.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .. import __version__
from ..core.checks import check_count, check_number
from ..core.configuration import write
from ..core.files import write_atomically
from ..models.conditions import select_rows
from ..training import LoadedRun, load_run
from ..training.building import classes_in_order
from ..training.data.examples import Examples, Splits
from .feature_networks import FeatureNetwork
from .image_set import PIXELS, Gauge, Look
from .look_store import LookStore
from .recognition import Recogniser
from .sample_report import RealImages, SampleReport

# Precision and recall take five neighbours of each, and subsets of a kernel distance two images.
LEAST = 8
LOOKS = "looked_at"
# What a classifier is trained on, held-out images that tell how good it is, and numbers of the largest image that it
# is made for: it compares pixels.
_TAUGHT, _HELD_OUT, _LARGEST = 10_000, 2_000, 4096


@dataclass(frozen=True)
class Share:
    """Which part of the batches a process looks at.

    Attributes:
        index: its number, from 0.
        count: how many processes there are.

    Raises:
        ValueError: the number is not one of theirs.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        check_count("count", self.count)
        check_number("index", self.index, f"[0, {self.count})", "the number of a process")


@dataclass(frozen=True, eq=False)
class _Batches:
    """Batches of one kind: the images of each, how one is made, and where looks at them are kept."""

    rows: Sequence[range]
    make: Callable[[range], Tensor]
    store: LookStore

    def missing(self, share: Share) -> list[range]:
        """Return the batches of a share that nobody has looked at."""
        return [rows for rows in self.rows[share.index :: share.count] if not self.store.has(rows)]

    def look(self, gauge: Gauge, missing: Sequence[range], bar: Any) -> None:
        """Look at some of them."""
        for rows in missing:
            look = gauge.look(self.make(rows))
            if rows.start >= PIXELS:
                look = replace(look, images=None)
            self.store.put(rows, look)
            bar.update(len(rows))

    def looks(self) -> Iterator[tuple[range, Look]]:
        """Yield all looks, in order."""
        return ((rows, self.store.get(rows)) for rows in self.rows)


def evaluate_samples(  # noqa: PLR0913  # each is a choice of its own
    folder: Path | str,
    network: FeatureNetwork | None = None,
    *,
    samples: int = 1000,
    batch_size: int = 256,
    seed: int = 0,
    share: Share | None = None,
    progress: bool = False,
    device: torch.device | str = "cpu",
    place: Path | str | None = None,
    trust_code: bool = False,
) -> SampleReport | None:
    """Return how samples of a run differ from its training images, and write it into `samples.json` there.

    Samples are drawn as those of the run's own pictures. With fewer training images than samples, all of them are
    compared with.

    Args:
        folder: the run's folder.
        network: makes features; without one none are compared.
        samples: how many.
        batch_size: samples at a time.
        seed: of the first sample, from which the others count on, and of the choice of training images.
        share: which batches this process looks at, of several that see the same folder; all if None.
        progress: show a progress bar.
        device: where samples are drawn; features are made where the network is.
        place: folder or file where the data lie now; None looks where they were.
        trust_code: as for `load_run`.

    Returns:
        The report; None where other processes have not looked at their share yet.

    Raises:
        ConnectionError, FileNotFoundError: as `load_run` and `LoadedRun.data`.
        OSError: the folder cannot be written to.
        ValueError: as those two; or data are no images, or there are too few for these figures.
    """
    check_count("samples", samples, LEAST, "for precision and recall")
    check_count("batch_size", batch_size)
    loaded = load_run(folder, trust_code=trust_code)
    loaded.folder.check_writable()
    data, store = loaded.data(place), loaded.folder.path / LOOKS
    gauge = _gauge(data, network)
    loaded.denoiser.to(device)
    sampler, labels = loaded.sampler(prior=loaded.prior.to(device)), classes_in_order(loaded.denoiser, samples)

    facts = _facts(loaded, seed) | {"batch_size": batch_size}
    looks = LookStore(store, facts | _look_facts(gauge, data))
    costs = dict[str, object]()

    def drawn(rows: range) -> Tensor:
        condition = select_rows(labels, torch.arange(rows.start, rows.stop))
        seeds = range(seed + rows.start, seed + rows.stop)
        result = sampler.run(len(rows), condition=condition, generator=seeds, keep_on="cpu", keep_path=False)
        costs["calls"] = result.stats.evaluations / len(rows)
        return result.samples

    asked = labels if isinstance(labels, Tensor) else None
    batches = _Batches(_ranges(samples, batch_size), drawn, looks)
    found = _compare(data, gauge, batches, store, asked, seed=seed, share=share or Share(), progress=progress)
    if costs:
        looks.note(costs)
    if found is not None:
        told = {"unmelt": __version__, **facts, **looks.notes(), **_look_facts(gauge, data), **asdict(found)}
        write_atomically(loaded.folder.path / "samples.json", json.dumps(told, indent=2) + "\n")
    return found


def evaluate_images(
    images: Examples,
    data: Splits,
    network: FeatureNetwork | None = None,
    *,
    keep: Path,
    batch_size: int = 256,
    seed: int = 0,
    share: Share | None = None,
    progress: bool = False,
) -> SampleReport | None:
    """Return how images, whoever made them, differ from the training images of a data set.

    Args:
        images: the images, of the data's shape, in their range.
        data: what they are compared with.
        network: as in `evaluate_samples`, and so are the rest.
        keep: a folder that looks at batches are kept in.
        batch_size: images at a time.
        seed: of the choice of training images.
        share: which batches this process looks at.
        progress: show a progress bar.

    Returns:
        As `evaluate_samples`.

    Raises:
        OSError: the folder cannot be written to.
        ValueError: shapes differ, or there are too few images.
    """
    check_count("the number of images", len(images), LEAST, "for precision and recall")
    if images.shape != data.train.shape:
        msg = f"images of shape {images.shape} cannot be compared with those of {data.train.shape}"
        raise ValueError(msg)
    gauge = _gauge(data, network)
    facts: dict[str, object] = {"images": images.fingerprint(), "batch_size": batch_size}
    batches = _Batches(
        _ranges(len(images), batch_size),
        lambda rows: _rescaled(images.read(list(rows)), images.range, data.train.range),
        LookStore(keep, facts | _look_facts(gauge, data)),
    )
    return _compare(data, gauge, batches, keep, seed=seed, share=share or Share(), progress=progress)


def _compare(
    data: Splits,
    gauge: Gauge,
    batches: _Batches,
    keep: Path,
    asked: Tensor | None = None,
    *,
    seed: int,
    share: Share,
    progress: bool,
) -> SampleReport | None:
    """Return the report of the batches beside training images."""
    train, test = data.train, data.test
    count, size = batches.rows[-1].stop, len(batches.rows[0])
    compared, half = min(count, len(train)), min(count, len(train) // 2)
    if compared < LEAST:
        msg = f"the data have {compared} images to train on: such figures need at least {LEAST}"
        raise ValueError(msg)
    # Shuffled, so that any part of them stands for all.
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()
    common = {**_look_facts(gauge, data), "batch_size": size}
    real = _Batches(
        _ranges(max(compared, 2 * half), size),
        lambda rows: train.read(order[rows.start : rows.stop]),
        LookStore(keep, {**common, "split": "train", "seed": seed}),
    )
    held_out = _Batches(
        _ranges(min(_HELD_OUT, len(test)) if gauge.recogniser else 0, size),
        lambda rows: test.read(list(rows)),
        LookStore(keep, {**common, "split": "test"}),
    )
    kinds = (real, held_out, batches)
    missing = [kind.missing(share) for kind in kinds]
    total = sum(len(rows) for part in missing for rows in part)
    with tqdm(total=total, disable=not progress, unit="image", leave=False) as bar:
        for kind, part in zip(kinds, missing, strict=True):
            kind.look(gauge, part, bar)
    if any(kind.missing(Share()) for kind in kinds):
        return None
    all_of_them, one, other = (gauge.new_set(most) for most in (compared, half, half))
    for number, (_, look) in enumerate(real.looks()):
        all_of_them.add(look)
        # Half of each batch; of an odd number the one more goes to either in turn.
        middle = (len(look) + 1 - number % 2) // 2
        one.add(look.rows(slice(middle)))
        other.add(look.rows(slice(middle, None)))
    known, drawn = gauge.new_set(_HELD_OUT), gauge.new_set(count)
    for _, look in held_out.looks():
        known.add(look)
    for rows, look in batches.looks():
        drawn.add(look, None if asked is None else asked[rows.start : rows.stop])
    name = "" if gauge.network is None else gauge.network.name
    return RealImages(all_of_them, (one, other), known).report(drawn, network=name, seed=seed)


def _gauge(data: Splits, network: FeatureNetwork | None) -> Gauge:
    """Return what images are looked at with: a classifier where the images are small and their classes are known."""
    train, recogniser = data.train, None
    if train.labels is not None and torch.Size(train.shape).numel() <= _LARGEST:
        taught = range(min(_TAUGHT, len(train)))
        recogniser = Recogniser(train.read(list(taught)), train.labels[: len(taught)])
    return Gauge(train.shape, train.range, network, recogniser)


def _ranges(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _rescaled(images: Tensor, own: tuple[float, float], wanted: tuple[float, float]) -> Tensor:
    (low, high), (black, white) = own, wanted
    return black + (images - low) * ((white - black) / (high - low))


def _look_facts(gauge: Gauge, data: Splits) -> dict[str, object]:
    """Return what looks depend on beside the images."""
    network = gauge.network
    return {
        "data": data.train.fingerprint(),
        "data_range": list(gauge.data_range),
        "network": None if network is None else network.name,
        "weights": None if network is None else network.digest(),
        "resize": None if network is None else network.resize,
    }


def _facts(loaded: LoadedRun, seed: int) -> dict[str, object]:
    """Return what figures have to share to be compared."""
    sampler = loaded.sampler()
    return {
        "checkpoint": loaded.checkpoint.name,
        "step": loaded.step,
        "ema_decay": loaded.ema_decay,
        "training_batch": loaded.config.training.batch_size,
        "sampler": write(loaded.parts.sampler),
        "steps": len(sampler.times) - 1,
        "guidance": loaded.parts.pictures.guidance,
        "split": "training images",
        "seed": seed,
    }
