"""The spectrum of a run's training images, kept in its folder, so that images can be restored where they are not."""

from __future__ import annotations

from pathlib import Path

from ...core.tensor_files import read_state
from ...degradations import Basis, DataSpectrum, estimate_spectrum
from ..data import Examples

# A variance of so many images is right to three hundredths.
_MOST_IMAGES = 2000
_IMAGES, _TABLES = "train_sha256", ("mean", "variance")


def spectrum_record(basis: Basis, images: Examples, most: int) -> dict[str, object]:
    """Return what is kept of the spectrum of a run's training images, and their fingerprint.

    Args:
        basis: the process's basis.
        images: the images.
        most: how many are looked at, 2000 at most, spread evenly.

    Raises:
        ValueError: there are fewer than two.
    """
    found = estimate_spectrum(basis, images.blocks(min(most, _MOST_IMAGES)))
    tables = {name: getattr(found, name).cpu() for name in _TABLES}
    return {**tables, "count": found.count, _IMAGES: images.fingerprint()}


def read_spectrum(path: Path, basis: Basis, fingerprint: str) -> DataSpectrum:
    """Return the spectrum that a run keeps.

    Args:
        path: the file.
        basis: the process's basis.
        fingerprint: that of the images whose spectrum it must be.

    Raises:
        FileNotFoundError: there is no such file, as in runs that began before it was kept.
        ValueError: it is one of other images, or the file holds something else.
    """
    if not path.is_file():
        msg = (
            f"no {path}, the mean and variance of the training images, which a run keeps since unmelt restores images:"
            f" --resume {path.parent} where its images are writes it (the recipe's command, also of a finished run)"
        )
        raise FileNotFoundError(msg)
    found = read_state(path)
    whole = isinstance(found, dict) and found.keys() == {*_TABLES, "count", _IMAGES}
    if not whole or any(found[name].shape != basis.shape for name in _TABLES):
        msg = f"{path} does not hold a spectrum of this run's images: restore the file, or remove it and --resume"
        raise ValueError(msg)
    if found[_IMAGES] != fingerprint:
        msg = f"{path} is the spectrum of other images than the run was trained on: restore the run's own file"
        raise ValueError(msg)
    return DataSpectrum(basis, found["mean"], found["variance"], found["count"])
