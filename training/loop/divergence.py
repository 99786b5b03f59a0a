"""Steps whose gradient is not finite: left out and written down, until there are too many of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import torch

from ..folder.checkpoints import list_checkpoints
from ..folder.run_folder import RunFolder
from ..run_config import Training
from .passes import Progress
from .processes import Processes
from .updates import Update

_SOUND_RATE = 1e-3


class Divergence:
    """Watches over numbers that must be finite.

    Args:
        run: the run's folder.
        processes: those that train.
        optimizer: its learning rate is named where it is too high.
        settings: the training loop's.
    """

    def __init__(
        self, run: RunFolder, processes: Processes, optimizer: torch.optim.Optimizer, settings: Training
    ) -> None:
        self._run, self._processes, self._optimizer, self._settings = run, processes, optimizer, settings

    def leave_out(self, update: Update, progress: Progress, indices: list[int] | None) -> None:
        """Write down a batch whose gradient is not finite; neither weights, averages nor schedule have moved.

        Args:
            update: what the step found.
            progress: counts it.
            indices: numbers of this process's examples; None where they have none.

        Raises:
            FloatingPointError: there are too many in a row.
        """
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        norm = update.norm.item()
        own = {
            "process": self._processes.rank,
            "gradient_norm": str(norm),
            "indices": indices,
            "times": update.times.tolist(),
            # JSON knows no NaN.
            "losses": [str(loss) for loss in update.losses.tolist()],
        }
        found = self._processes.gathered(own)
        with self._processes.together():
            if self._processes.main:
                with self._run.not_finite.open("a") as file:
                    file.writelines(json.dumps({"step": progress.step + 1, **line}) + "\n" for line in found)
        if progress.skipped_in_a_row > self._settings.most_skips:
            what = f"gradient norm was {norm} in {progress.skipped_in_a_row} steps in a row"
            raise self._error(what, progress)

    def check(self, numbers: Mapping[str, float], progress: Progress) -> None:
        """Check that numbers of a step are finite.

        Raises:
            FloatingPointError: one is not.
        """
        for name, value in numbers.items():
            if not math.isfinite(value):
                what = f"{name.replace('_', ' ')} became {value}"
                raise self._error(what, progress)

    def _error(self, what: str, progress: Progress) -> FloatingPointError:
        # A rate that is no rate at all would not be one a tenth of it either.
        lower = min(float(self._optimizer.param_groups[0]["initial_lr"]) / 10, _SOUND_RATE)
        saved = list_checkpoints(self._run.checkpoints)
        since = (
            f"from {saved[-1].name}, the last checkpoint" if saved else "from the beginning: it has no checkpoint yet"
        )
        written = f"; {self._run.not_finite} names the batches" if self._run.not_finite.is_file() else ""
        msg = (
            f"the training {what} at or before step {progress.step + 1}, and nothing of that was saved{written}. Lower"
            f" the learning rate: --resume {self._run.path} --optimizer.lr {lower:g} goes on {since}"
        )
        return FloatingPointError(msg)
