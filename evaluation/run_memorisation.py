"""Are a run's samples copies? Measured on as many as are asked for, and kept in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..core.checks import check_count
from ..core.files import write_atomically
from ..training import load_run
from ..training.building import classes_in_order
from ..training.data import Examples, Splits
from .memorisation import Memorisation, assess_memorisation
from .run_facts import sampling_facts
from .run_samples import rescaled

# The file that figures are written into.
RECORD = "memorisation.json"
# Numbers of training images that are held in memory at once, 4 GB of float32.
_MOST = 2**30


def evaluate_memorisation(
    folder: Path | str,
    *,
    samples: int = 256,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = False,
    place: Path | str | None = None,
    trust_code: bool = False,
) -> Memorisation:
    """Return how near samples of a run lie to its training images, and write it into `memorisation.json` there.

    Samples are drawn as those of the run's own pictures, cut off at the data's range. Of data of more than 2^30
    numbers, training images are taken spread evenly; the file says how many.

    Args:
        folder: the run's folder.
        samples: how many.
        batch_size: samples at a time.
        seed: of the first sample, from which the others count on.
        progress: show a progress bar.
        place: folder or file where the data lie now; None looks where they were.
        trust_code: as for `load_run`.

    Raises:
        ConnectionError, FileNotFoundError, ValueError: as `load_run`, `LoadedRun.data` and `assess_memorisation`.
        OSError: the folder cannot be written to.
    """
    check_count("samples", samples)
    loaded = load_run(folder, trust_code=trust_code).require_nothing_known("an evaluation")
    loaded.folder.check_writable()
    data = loaded.data(place)
    result = loaded.sampler().run(
        samples,
        condition=classes_in_order(loaded.denoiser, samples),
        generator=range(seed, seed + samples),
        batch_size=batch_size,
        progress=progress,
        keep_path=False,
    )
    found, facts = _compared(result.samples, data, mirrored=loaded.config.training.flip)
    facts = {
        **facts,
        **sampling_facts(loaded, seed),
        "batch_size": batch_size,
        "calls": result.stats.evaluations / samples,
        **asdict(found),
    }
    write_atomically(loaded.folder.path / RECORD, json.dumps(facts, indent=2) + "\n")
    return found


def memorisation_of_images(images: Examples, data: Splits, *, record: Path) -> Memorisation:
    """Return how near images, whoever made them, lie to the training images of a data set, and write it into `record`.

    Of more than 2^30 numbers, images are taken spread evenly, and so are training images; the file says how many.

    Args:
        images: the images, of the data's shape; their range is brought to the data's.
        data: the data set.
        record: the file, .json.

    Raises:
        ValueError: as `assess_memorisation`.
        OSError: the file cannot be written.
    """
    shown = rescaled(torch.cat(list(images.blocks(_most(data)))), images.range, data.train.range)
    found, facts = _compared(shown, data, mirrored=False)
    facts |= {"images": images.fingerprint(), **asdict(found)}
    write_atomically(record, json.dumps(facts, indent=2) + "\n")
    return found


def _compared(samples: Tensor, data: Splits, *, mirrored: bool) -> tuple[Memorisation, dict[str, Any]]:
    """Return how near samples lie to training images, and what that depends on."""
    training = torch.cat(list(data.train.blocks(_most(data))))
    if mirrored:
        training = torch.cat([training, training.flip(-1)])
    found = assess_memorisation(samples.clamp(*data.train.range), training, data.test.first(_most(data)))
    return found, {
        "unmelt": __version__,
        "data": data.train.fingerprint(),
        "data_range": list(data.train.range),
        "training_images": len(training),
        "mirrored": mirrored,
    }


def _most(data: Splits) -> int:
    return max(2, _MOST // torch.Size(data.train.shape).numel())
