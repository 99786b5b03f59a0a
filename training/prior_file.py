"""The prior of a run, kept in its folder, so that samples can be drawn where the images are not."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch

from .. import models
from ..core.files import write_tensors_atomically
from ..degradations import LinearGaussianProcess
from ..models import Prior
from .run_config import RunConfig

_CLASS, _IMAGES, _STATE = "class", "train_sha256", "state"


def write_prior(path: Path, prior: Prior, fingerprint: str) -> None:
    """Write a prior, and the fingerprint of the images that it was fitted to, whole or not at all."""
    # Where it was fitted does not matter to a machine that reads it.
    state = {name: table.cpu() for name, table in prior.state_dict().items() if not name.startswith("process.")}
    write_tensors_atomically(path, {_CLASS: type(prior).__name__, _IMAGES: fingerprint, _STATE: state})


def read_prior(path: Path, config: RunConfig, process: LinearGaussianProcess, fingerprint: str) -> Prior:
    """Return the prior that `write_prior` wrote.

    Args:
        path: the file.
        config: the run, which may name a prior of the user's.
        process: the process that it is a prior of.
        fingerprint: that of the images it must have been fitted to.

    Raises:
        ValueError: it was fitted to other images or for another process, or the file holds something else.
    """
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or found.keys() != {_CLASS, _IMAGES, _STATE}:
        msg = f"{path} does not hold the prior of a run: restore the file, or train anew"
        raise ValueError(msg)
    if found[_IMAGES] != fingerprint:
        msg = (
            f"{path} was fitted to other images than the run was trained on (SHA-256 {found[_IMAGES][:12]}... stored,"
            f" {fingerprint[:12]}... needed): restore the run's own file"
        )
        raise ValueError(msg)
    return _class_of(found[_CLASS], config, path).from_state_dict(process, found[_STATE])


def _class_of(name: str, config: RunConfig, path: Path) -> type[Prior]:
    """Return the class of that name: one of unmelt's, or the user's that the configuration fits."""
    candidates = [getattr(models, public) for public in models.__all__]
    make = getattr(config.prior, "make", config.prior)
    candidates += [make, getattr(make, "__self__", None)]
    for candidate in candidates:
        if inspect.isclass(candidate) and issubclass(candidate, Prior) and candidate.__name__ == name:
            return candidate
    msg = f"{path} holds a {name}, which is neither a prior of unmelt nor the one that the run's settings name"
    raise ValueError(msg)
