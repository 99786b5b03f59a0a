"""How samples of a run, or pictures in a folder, differ from real images: by one command, kept with how it was done.

Samples and real images are looked at a batch at a time, and what is to know of a batch is kept in a file: an evaluation
that is stopped goes on where it was, more samples cost only what is new, and several processes share the work. Images
themselves are not kept, but for the first 2,000.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..core.checks import check_count
from ..core.files import write_atomically
from ..models.conditions import select_rows
from ..training import load_run
from ..training.building import classes_in_order
from ..training.data.examples import Examples, Splits
from .feature_networks import FeatureNetwork
from .image_set import Gauge
from .look_batches import LEAST, Batches, Reference, Share, look_at, ranges
from .look_store import LookStore
from .metric import Metric
from .recognition import Recogniser
from .run_facts import sampling_facts
from .sample_report import SampleReport

LOOKS = "looked_at"
# What a classifier is trained on, and numbers of the largest image that it is made for: it compares pixels.
_TAUGHT, _LARGEST = 10_000, 4096


def evaluate_samples(  # noqa: PLR0913  # each is a choice of its own
    folder: Path | str,
    network: FeatureNetwork | None = None,
    *,
    samples: int = 1000,
    batch_size: int = 256,
    seed: int = 0,
    share: Share | None = None,
    metrics: Sequence[Metric] = (),
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
        metrics: custom ones, reported beside the others.
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
    loaded = load_run(folder, trust_code=trust_code).require_nothing_known("an evaluation")
    loaded.folder.check_writable()
    data = loaded.data(place)
    reference = Reference(data, gauge_for(data, network), samples, loaded.folder.path / LOOKS, batch_size, seed)
    loaded.denoiser.to(device)
    sampler, labels = loaded.sampler(prior=loaded.prior.to(device)), classes_in_order(loaded.denoiser, samples)

    facts = reference.facts | sampling_facts(loaded, seed)
    looks, costs = LookStore(reference.keep, facts), dict[str, object]()

    def drawn(rows: range) -> Tensor:
        condition = select_rows(labels, torch.arange(rows.start, rows.stop))
        seeds = range(seed + rows.start, seed + rows.stop)
        result = sampler.run(len(rows), condition=condition, generator=seeds, keep_on="cpu", keep_path=False)
        costs["calls"] = result.stats.evaluations / len(rows)
        return result.samples

    asked = labels if isinstance(labels, Tensor) else None
    batches = Batches(ranges(samples, batch_size), drawn, looks)
    found = _compare(reference, batches, asked, share=share, metrics=metrics, progress=progress)
    if costs:
        looks.note(costs)
    if found is not None:
        told = {**facts, **looks.notes(), **asdict(found)}
        write_atomically(loaded.folder.path / "samples.json", json.dumps(told, indent=2) + "\n")
    return found


def evaluate_images(  # noqa: PLR0913  # as `evaluate_samples`
    images: Examples,
    data: Splits,
    network: FeatureNetwork | None = None,
    *,
    keep: Path,
    record: Path | None = None,
    batch_size: int = 256,
    seed: int = 0,
    share: Share | None = None,
    metrics: Sequence[Metric] = (),
    progress: bool = False,
) -> SampleReport | None:
    """Return how images, whoever made them, differ from the training images of a data set.

    Args:
        images: the images, of the data's shape, in their range.
        data: what they are compared with.
        network: as in `evaluate_samples`, and so are the rest.
        keep: a folder that looks at batches are kept in.
        record: a file, .json, that the figures are written into with what they depend on; none if None.
        batch_size: images at a time.
        seed: of the choice of training images.
        share: which batches this process looks at.
        metrics: custom ones.
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
    reference = Reference(data, gauge_for(data, network), len(images), keep, batch_size, seed)
    facts = reference.facts | {"images": images.fingerprint()}
    batches = Batches(
        ranges(len(images), batch_size),
        lambda rows: rescaled(images.read(list(rows)), images.range, data.train.range),
        LookStore(keep, facts),
    )
    found = _compare(reference, batches, share=share, metrics=metrics, progress=progress)
    if found is not None and record is not None:
        told = {**facts, "split": "training images", "seed": seed, **asdict(found)}
        write_atomically(record, json.dumps(told, indent=2) + "\n")
    return found


def _compare(
    reference: Reference,
    batches: Batches,
    asked: Tensor | None = None,
    *,
    share: Share | None,
    metrics: Sequence[Metric],
    progress: bool,
) -> SampleReport | None:
    """Return the report of batches beside real images; None where other processes are not done."""
    gauge = reference.gauge
    if not look_at((reference.real, reference.held_out, batches), gauge, share or Share(), progress=progress):
        return None
    drawn = gauge.new_set(reference.count)
    for rows, look in batches.looks():
        drawn.add(look, None if asked is None else asked[rows.start : rows.stop])
    name = "" if gauge.network is None else gauge.network.name
    return reference.gather().report(drawn, network=name, seed=reference.seed, metrics=metrics)


def gauge_for(data: Splits, network: FeatureNetwork | None) -> Gauge:
    """Return what images are looked at with: a classifier where the images are small and their classes are known."""
    train, recogniser = data.train, None
    if train.labels is not None and torch.Size(train.shape).numel() <= _LARGEST:
        taught = range(min(_TAUGHT, len(train)))
        recogniser = Recogniser(train.read(list(taught)), train.labels[: len(taught)])
    return Gauge(train.shape, train.range, network, recogniser)


def rescaled(images: Tensor, own: tuple[float, float], wanted: tuple[float, float]) -> Tensor:
    """Return images of one range in another."""
    (low, high), (black, white) = own, wanted
    return black + (images - low) * ((white - black) / (high - low))
