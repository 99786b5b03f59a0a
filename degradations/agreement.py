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


