"""A model card: what a model is, for whoever meets its folder, and as the Hugging Face hub expects it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import __version__
from ..core.configuration import write
from .folder.exported import PICTURE
from .loading import LoadedRun
from .run_config import RunConfig

_HEAD = """---
# license: mit
library_name: unmelt
tags:
- unmelt
- {process}
---

# {name}
"""
_LOADING = """```python
{imported}from unmelt import load_run

run = load_run("path/to/this/folder"{trust})
x = run.sample(16{condition})  # ({shape}); the data lie in [{low:g}, {high:g}]
```"""


_MARK = " (the model's)"


def model_card(run: LoadedRun, config: RunConfig, *, figures: Iterable[Mapping[str, Any]], picture: bool) -> str:
    """Return a card in Markdown, with the hub's metadata at its head; the licence is left to be filled in.

    Args:
        run: the model.
        config: its settings as they are shown.
        figures: what `evaluate_run` has written of it.
        picture: whether a picture of samples lies beside the card.
    """
    process = type(run.denoiser.process).__name__
    trust = ", trust_code=True" if run.folder.code.is_dir() else ""
    shape = ", ".join(map(str, (16, *run.manifest.shape)))
    classes = run.denoiser.classes
    condition = "" if classes is None else f", condition=torch.arange(16) % {classes}"
    low, high = run.manifest.content["data"]["range"]
    rows = "\n".join(f"| {name} | {what} |" for name, what in _rows(run, config).items())
    parts = [
        _HEAD.format(process=process, name=config.name),
        f"A generative model that undoes `{process}`, trained with unmelt {run.manifest.content['unmelt']}.",
        f"![samples]({PICTURE})" if picture else "",
        _LOADING.format(
            imported="import torch\n" if condition else "",
            trust=trust,
            condition=condition,
            shape=shape,
            low=low,
            high=high,
        ),
        "It brings code of its own, in `code/`: read it before you trust it." if trust else "",
        f"| | |\n|---|---|\n{rows}",
        _figure_lines(figures),
        f"Written by unmelt {__version__}.",
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _rows(run: LoadedRun, config: RunConfig) -> dict[str, str]:
    manifest, training = run.manifest.content, config.training
    data, levels = manifest["data"], run.manifest.grey_levels
    kind = "numbers" if levels is None else f"{levels.count} levels"
    classes = f", {data['classes']} classes" if "classes" in data else ""
    batch = f"{training.batch_size} images in a step"
    return {
        "process": f"`{write(config.process)}`",
        "network": f"`{write(config.network)}`, {manifest['parameters']:,} parameters",
        "prediction": f"`{write(config.prediction)}`",
        "data": f"`{write(config.data)}`: {data['train']['images']:,} examples, {data['test']['images']:,} held out; "
        f"{' x '.join(map(str, run.manifest.shape))}, {kind} in [{data['range'][0]:g}, {data['range'][1]:g}]{classes}",
        "training": f"{run.step:,} of {training.steps:,} steps, {batch}; moving average of decay {run.ema_decay:g}",
        "sampler": f"`{write(config.sampler)}`"
        + ("" if config.grid is None else f" on `{write(config.grid)}`")
        + ("" if run.denoiser.classes is None else f", guidance {config.pictures.guidance:g}"),
    }


def _figure_lines(figures: Iterable[Mapping[str, Any]]) -> str:
    """Return the bounds that are known, a line each: the total in bits per dimension with its standard error."""
    lines = [
        f"| {name}{_MARK if name == told.get('model_s_own') else ''} | {_figure(bound)} | {bound['count']:,} |"
        for told in figures
        for name, bound in told.get("bounds", {}).items()
        if "bits_per_dim" in bound
    ]
    if not lines:
        return ""
    head = "| bound on held-out images | bits per dimension | images |\n|---|---|---|\n"
    return head + "\n".join(lines)


def _figure(bound: Mapping[str, Any]) -> str:
    total = bound["bits_per_dim"]["total"]
    return f"{total['mean']:.4f} +- {total['stderr']:.4f}"
