"""What sections are made of: a run, its sampler, and its data where they are at hand."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ...degradations import GaussianBlur
from ...models.conditions import Condition
from ...training import LoadedRun, Splits
from ...training.building import classes_in_order
from .sprites import Sheet, how_shown, sheet_of, tile_bytes, tiles_of

# Samples that are measured, of which the first are shown, and how many are drawn at a time.
_MEASURED, _BATCH = 64, 64


class Subject:
    """A run that pictures are made of.

    Args:
        run: the run.
        count: how many samples are shown.
        seed: seed of the first of them, and of all else.
        steps: steps on a uniform grid; the run's own sampler's if None.
        place: where its data lie now; where they were if None.

    Attributes:
        data: the images that it was trained on and those held out; None where they are not at hand.
        without_data: why they are not.

    Raises:
        FileNotFoundError, ValueError: as `LoadedRun.sampler`.
    """

    def __init__(
        self, run: LoadedRun, *, count: int, seed: int, steps: int | None = None, place: Path | str | None = None
    ) -> None:
        self.run, self.count, self.seed = run, count, seed
        self.sampler = run.sampler(steps=steps)
        self.data: Splits | None = None
        self.without_data = ""
        try:
            self.data = run.data(place)
        except (ConnectionError, FileNotFoundError, ValueError) as error:
            why = "are other ones now" if isinstance(error, ValueError) else "are not at hand"
            self.without_data = f"Left out: it needs the data that the run was trained on, which {why}."
            # The whole of it names folders, which are nothing for a page that is handed on.
            warnings.warn(
                f"{run.folder.path} is shown without its data: {error}; --data says where they are", stacklevel=2
            )

    def __repr__(self) -> str:
        return f"Subject({self.run.folder.path}, {self.sampler})"

    @property
    def range(self) -> tuple[float, float]:
        """Numbers that are shown black and white."""
        return self.run.manifest.data_range

    @property
    def shown(self) -> str:
        """How pictures show numbers, in a sentence."""
        return how_shown(self.run.manifest.shape, self.range)

    @property
    def steps(self) -> int:
        """Steps of the sampler."""
        return len(self.sampler.times) - 1

    @property
    def drawn_by(self) -> str:
        """What draws the samples, in words."""
        guidance = self.run.config.pictures.guidance
        guided = "" if guidance == 1 else f", guidance {guidance:g}"
        return f"{self.sampler.stepper}, {self.steps} steps{guided}"

    @cached_property
    def samples(self) -> Float[Tensor, "measured ..."]:
        """Samples of the seeds from `seed` on, at least `count` of them."""
        count = max(self.count, _MEASURED)
        return self.sampler.sample(
            count, condition=self.labels(count), generator=range(self.seed, self.seed + count), batch_size=_BATCH
        )

    def labels(self, count: int) -> Condition | None:
        """Return classes of samples, over and over; None for a network without."""
        return classes_in_order(self.run.denoiser, count)

    def named(self, number: int) -> str:
        """Return what a sample is called, by its number."""
        classes = self.run.denoiser.classes
        return f"seed {self.seed + number}" + ("" if classes is None else f", class\u00a0{number % classes}")

    def sheet(self, signals: Float[Tensor, "count ..."]) -> Sheet:
        """Return signals as tiles of one sheet."""
        return sheet_of(tiles_of(signals, self.range))

    def tiles_within(self, room: int) -> int:
        """Return how many tiles take that many bytes before they are compressed, at least one."""
        return max(1, room // tile_bytes(self.run.manifest.shape))

    def moment(self, t: float) -> str:
        """Say what a time is: itself, and the blur there of a process that blurs."""
        process = self.run.denoiser.process
        if not isinstance(process, GaussianBlur):
            return f"t = {t:.3f}"
        width = process.blur.width(process.as_times(t)).item()
        return f"t = {t:.3f}, blur {width:.2f} px"


def generator(seed: int) -> torch.Generator:
    """Return a generator that starts at a seed."""
    return torch.Generator().manual_seed(seed)
