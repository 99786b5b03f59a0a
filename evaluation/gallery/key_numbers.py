"""The numbers of runs that a comparison begins with, a column for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core.configuration import write
from ...training.exporting import without_places
from ...training.folder.records import read_metrics
from .stored_figures import LIKELIHOOD, MEMORISATION, SAMPLES, bits_per_dim, stored
from .subject import Subject

Row = tuple[str, Sequence[str]]
_UNKNOWN = "not known"


def key_numbers(subjects: Sequence[Subject]) -> list[Row]:
    """Return names of numbers, and each with what the runs have of it; those that no run has are left out."""
    told = [_of(subject) for subject in subjects]
    names = list(dict.fromkeys(name for one in told for name in one))
    return [(name, [one.get(name, _UNKNOWN) for one in told]) for name in names]


def _of(subject: Subject) -> dict[str, str]:
    run = subject.run
    config, data = run.config, run.manifest.content["data"]
    told = {
        "process": write(config.process),
        "prediction": write(config.prediction),
        "network": write(config.network).partition("(")[0],
        "parameters": f"{run.manifest.content['parameters']:,}",
        "data": write(without_places(config).data),
        "examples": f"{data['train']['images']:,}, {data['test']['images']:,} held out, {_sizes(run.manifest.shape)}",
        "range": "{:g} to {:g}".format(*subject.range),
        "training steps": f"{run.step:,}, {config.training.batch_size} examples in each",
        "moving average": f"decay {run.ema_decay:g}",
        "sampler": subject.drawn_by,
    }
    return told | _losses(subject) | _stored(subject)


def _losses(subject: Subject) -> dict[str, str]:
    path = subject.run.folder.metrics
    lines = read_metrics(path) if path.is_file() else []
    found = [line for line in lines if "held_out_loss" in line and line["step"] <= subject.run.step]
    return {"held-out loss": f"{found[-1]['held_out_loss']:.5g} at step {found[-1]['step']:,}"} if found else {}


def _stored(subject: Subject) -> dict[str, str]:
    """Return what `unmelt evaluate` measured; what cannot be read the section on it tells."""
    told = dict[str, str]()
    try:
        files = [content for _, content in stored(subject.run, LIKELIHOOD)]
        bounds = [bound for content in files if (bound := bits_per_dim(content).get(content["model_s_own"]))]
        if bounds:
            # A first look at some examples does not take the place of all of them.
            mean, error, count = (max(bounds, key=_count)[name] for name in ("mean", "stderr", "count"))
            told["bits per dimension"] = f"at most {mean:.3f} ± {error:.3f} ({count} examples)"
        for _, content in stored(subject.run, SAMPLES):
            # The page may show samples of other steps.
            told["measured samples"] = f"{content['samples']}, drawn in {content['steps']} steps"
            told["energy distance"] = f"{content['energy']['value']:.4g} (floor {content['energy']['floor']:.4g})"
            if (features := content["features"]) is not None:
                name, distance = f"Frechet distance, {content['network']}", features["frechet"]
                told[name] = f"{distance['value']:.4g} (floor {distance['floor']:.4g})"
            if (classes := content["classes"]) is not None:
                told["recognised"] = f"{classes['recognised']:.1%} (held-out examples {classes['real']:.1%})"
        for _, content in stored(subject.run, MEMORISATION):
            of = f"{content['samples']} samples, drawn in {content['steps']} steps"
            told["copies"] = f"{content['copies']:.1%} of {of}"
    except (KeyError, TypeError, ValueError):
        return told
    return told


def _count(bound: Mapping[str, Any]) -> int:
    return bound["count"]


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
