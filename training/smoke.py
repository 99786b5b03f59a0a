"""A recipe made tiny: the same code path in a minute on a CPU, without a network, on data that come with packages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..core import Later
from ..samplers import UniformGrid
from .run_config import Precision, RunConfig

_STEPS, _IMAGES, _LEVELS, _FITTED_TO = 4, 2, 4, 64


def smoke(recipe: RunConfig) -> RunConfig:
    """Return a recipe with other data of the same shape, and with few and small steps, levels and layers."""
    training = replace(
        recipe.training,
        steps=_STEPS,
        batch_size=_IMAGES,
        accumulate=1,
        warmup=1,
        precision=Precision.BF16 if recipe.training.precision is Precision.BF16 else Precision.FLOAT32,
        compile=False,
        cpu=True,
        workers=0,
        log_every=1,
        checkpoint_every=_STEPS,
        sample_every=_STEPS // 2,
    )
    few = isinstance(recipe.grid, UniformGrid) and (recipe.grid.steps or 0) > _LEVELS
    return replace(
        recipe,
        name=f"{recipe.name}_smoke",
        data=recipe.data.stand_in(),
        process=_with(recipe.process, levels=_LEVELS),
        network=_with(recipe.network, channels=4, blocks=1),
        grid=UniformGrid(_LEVELS) if few else recipe.grid,
        training=training,
        pictures=replace(recipe.pictures, count=_IMAGES),
        fitted_to=_FITTED_TO,
    )


def _with(made: Any, **settings: int) -> Any:
    """Return a later call with smaller settings, of those numbers that it has."""
    if not isinstance(made, Later):
        return made
    known = made.complete()
    smaller = {name: value for name, value in settings.items() if isinstance(known.get(name), int)}
    return Later(made.make, {**made.settings, **smaller})
