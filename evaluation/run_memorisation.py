"""Are a run's samples copies? Measured on as many as are asked for, and kept in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from .. import __version__
from ..core.checks import check_count
from ..core.files import write_atomically
from ..training import load_run
from ..training.building import classes_in_order
from .memorisation import Memorisation, assess_memorisation
from .run_facts import sampling_facts

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
    loaded = load_run(folder, trust_code=trust_code)
    loaded.folder.check_writable()
    data = loaded.data(place)
    most = max(2, _MOST // torch.Size(data.train.shape).numel())
    training = torch.cat(list(data.train.blocks(most)))
    if loaded.config.training.flip:
        training = torch.cat([training, training.flip(-1)])
    result = loaded.sampler().run(
        samples,
        condition=classes_in_order(loaded.denoiser, samples),
        generator=range(seed, seed + samples),
        batch_size=batch_size,
        progress=progress,
        keep_path=False,
    )
    found = assess_memorisation(result.samples.clamp(*data.train.range), training, data.test.first(most))
    facts = {
        "unmelt": __version__,
        "data": data.train.fingerprint(),
        "data_range": list(data.train.range),
        **sampling_facts(loaded, seed),
        "batch_size": batch_size,
        "calls": result.stats.evaluations / samples,
        "training_images": len(training),
        "mirrored": loaded.config.training.flip,
        **asdict(found),
    }
    write_atomically(loaded.folder.path / "memorisation.json", json.dumps(facts, indent=2) + "\n")
    return found
