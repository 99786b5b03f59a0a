"""Whether two parts that work together were made for one process, and for data in one range."""

from __future__ import annotations

from .process import LinearGaussianProcess


def check_same_process(ours: LinearGaussianProcess, theirs: LinearGaussianProcess, *, whose: str, where: str) -> None:
    """Check that `theirs` is the process `ours`, or a copy of it.

    Args:
        ours: the process of what is being made or called.
        theirs: the process of what it was given.
        whose: what that is, such as "the denoiser".
        where: what is being made or called, such as "this loss".

    Raises:
        ValueError: it is another one; the message says which.
    """
    if ours is theirs or ours.agrees_with(theirs):
        return
    msg = (
        f"{whose} was made for another process ({type(theirs).__name__} of shape {theirs.shape}) than {where}"
        f" ({type(ours).__name__} of shape {ours.shape}), or with other settings: build both from one process"
    )
    raise ValueError(msg)


def check_same_range(
    ours: tuple[float, float] | None, theirs: tuple[float, float] | None, *, whose: str, where: str
) -> None:
    """Check that two parts mean the same numbers by the lowest and the highest level of the data, if both say.

    Raises:
        ValueError: they do not.
    """
    if ours is None or theirs is None or tuple(ours) == tuple(theirs):
        return
    msg = (
        f"{whose} is one of data in [{theirs[0]:g}, {theirs[1]:g}], {where} of data in [{ours[0]:g}, {ours[1]:g}]:"
        " scale the images to the range that the network was trained on before anything is fitted to them"
    )
    raise ValueError(msg)
