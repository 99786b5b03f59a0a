"""What figures of samples have to share to be compared: the weights, the sampler, the seed, the training."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.configuration import write
from ..training import LoadedRun


def training_facts(loaded: LoadedRun) -> dict[str, object]:
    """Return what any figure of a run depends on: the weights, and what they were trained for.

    Args:
        loaded: the run.
    """
    return {
        "checkpoint": loaded.checkpoint.name,
        "step": loaded.step,
        "ema_decay": loaded.ema_decay,
        # Of all processes and parts together.
        "training_batch": loaded.config.training.batch_size,
        "process": write(loaded.config.process),
        "prediction": write(loaded.config.prediction),
    }


def sampling_facts(loaded: LoadedRun, seed: int) -> dict[str, object]:
    """Return what the samples of a run's own pictures depend on, as its files tell it.

    Args:
        loaded: the run.
        seed: of the first sample.
    """
    return {
        **training_facts(loaded),
        # With the standard deviation of its reverse steps.
        "sampler": write(loaded.parts.sampler),
        "grid": None if loaded.parts.grid is None else write(loaded.parts.grid),
        "steps": len(loaded.sampler().times) - 1,
        "guidance": loaded.parts.pictures.guidance,
        "prior": type(loaded.prior).__name__,
        "split": "training images",
        "seed": seed,
    }


def in_words(facts: Mapping[str, object]) -> str:
    """Return the facts that tell two figures apart, in a line."""
    calls = f" ({facts['calls']:g} calls)" if isinstance(facts.get("calls"), float) else ""
    return (
        f"step {facts['step']}, average of decay {facts['ema_decay']}, batches of {facts['training_batch']};"
        f" {facts['sampler']} in {facts['steps']} steps{calls}, guidance {facts['guidance']}, from a {facts['prior']},"
        f" seeds from {facts['seed']}"
    )


def compared_in_words(facts: Mapping[str, object]) -> str:
    """Return what samples were compared with, and in which features, in a line."""
    network = facts["network"]
    features = "" if network is None else f"; {network} of weights {facts['weights']}, resizing {facts['resize']}"
    return f"compared with {facts['split']} of data {str(facts['data'])[:12]}, drawn by seed {facts['seed']}{features}"
