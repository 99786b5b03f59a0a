"""The prior of a run, kept in its folder, so that samples can be drawn where the images are not."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ... import models
from ...core.configuration import made_by
from ...core.tensor_files import read_state, write_state
from ...degradations import LinearGaussianProcess
from ...models import Prior
from ..run_config import RunConfig

_CLASS, _IMAGES, _STATE = "class", "train_sha256", "state"


def write_prior(path: Path, prior: Prior, config: RunConfig, fingerprint: str) -> None:
    """Write what `prior_record` returns, whole or not at all."""
    write_state(path, prior_record(prior, config, fingerprint))


def prior_record(prior: Prior, config: RunConfig, fingerprint: str) -> dict[str, object]:
    """Return what is kept of a prior: its class, its state, and the fingerprint of the images that it was fitted to.

    Raises:
        ValueError: `config` does not say that its prior is of this class, or the prior that its state makes draws
            other latents, so it could not be read again.
    """
    kind = type(prior)
    if _classes(config).get(kind.__name__) is not kind:
        msg = (
            f"{config.prior} made a {kind.__name__}, which could not be read from the run's folder again: annotate it"
            f" with -> {kind.__name__}"
        )
        raise ValueError(msg)
    # Where it was fitted does not matter to a machine that reads it.
    state = {
        name: kept.cpu() if isinstance(kept, Tensor) else kept
        for name, kept in prior.state_dict().items()
        if not name.startswith("process.")
    }
    _check_returns(prior, state)
    return {_CLASS: kind.__name__, _IMAGES: fingerprint, _STATE: state}


def read_prior(path: Path, config: RunConfig, process: LinearGaussianProcess, fingerprint: str) -> Prior:
    """Return the prior that `write_prior` wrote.

    Args:
        path: the file.
        config: the run, which may name a prior of the user's.
        process: the process that it is a prior of.
        fingerprint: that of the images it must have been fitted to.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it was fitted to other images or for another process, or the file holds something else.
    """
    if not path.is_file():
        msg = f"no {path}: restore the file, or --resume the run where its images are, which fits it again"
        raise FileNotFoundError(msg)
    found = read_state(path)
    classes = _classes(config)
    if not isinstance(found, dict) or found.keys() != {_CLASS, _IMAGES, _STATE} or found[_CLASS] not in classes:
        msg = f"{path} does not hold a prior of this run: restore the file, or train again"
        raise ValueError(msg)
    if found[_IMAGES] != fingerprint:
        msg = (
            f"{path} was fitted to other images than the run was trained on (SHA-256 {found[_IMAGES][:12]}... stored,"
            f" {fingerprint[:12]}... needed): restore the run's own file"
        )
        raise ValueError(msg)
    return classes[found[_CLASS]].from_state_dict(process, found[_STATE])


def _check_returns(prior: Prior, state: Mapping[str, object]) -> None:
    """Refuse a prior that its state does not tell everything of."""
    kind = type(prior).__name__
    why = "draws other latents"
    try:
        again = type(prior).from_state_dict(prior.process, state)
        again.to(prior.process.device)
        end = torch.zeros(2, *prior.process.shape)
        draws = [each.given(end).sample(2, generator=torch.Generator().manual_seed(0)) for each in (prior, again)]
    except (TypeError, ValueError) as error:
        why, draws = f"cannot be made ({error})", []
    if not draws or not torch.equal(*draws):
        msg = (
            f"{kind} made again from its state_dict {why}: keep all that its constructor takes beside the process in"
            " buffers named by `tables`, or write get_extra_state and set_extra_state"
        )
        raise ValueError(msg)


def _classes(config: RunConfig) -> dict[str, type[Prior]]:
    """Return the priors that a file may hold, by name: unmelt's, and the one that the configuration makes."""
    public = [getattr(models, name) for name in models.__all__]
    # What makes the prior may be one itself, a classmethod of one, or say what it returns.
    make = getattr(config.prior, "make", config.prior)
    made = made_by(make), getattr(make, "__self__", None)
    return {kind.__name__: kind for kind in (*public, *made) if inspect.isclass(kind) and issubclass(kind, Prior)}
