"""Prove a forward process: how many laws hold, or which one is broken, with the smallest example."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from ..core import Shape, resolve
from ..core.checks import check_count
from ..degradations import LinearGaussianProcess
from .parsing import Parser, part, shape
from .trial import why

_EXAMPLES = """examples:
  unmelt check fog.py:Fog
  unmelt check 'HeatDissipation(blur_sigma_max=4)' --shape 1,8,8"""
_SHAPE = "3,4,6"
_SHAPES = "1,16 for a signal, 1,4,5,6 for a volume"


def run(arguments: Sequence[str]) -> None:
    """Check the process that the command line names; end with status 1 if it breaks a law."""
    parser = Parser("check", __doc__ or "", _EXAMPLES)
    parser.add_argument("process", metavar="PROCESS", help="a family or a class of yours, with settings if you like")
    parser.add_argument("--shape", default=_SHAPE, help=f"shape of a signal; small, and as you use it ({_SHAPE})")
    parser.add_argument("--examples", type=int, default=30, help="examples that each law is tried on (30)")
    options = parser.parse_args(arguments)
    check_count("--examples", options.examples)
    make = part("PROCESS", options.process, Callable[[Shape], LinearGaussianProcess])
    # It takes hypothesis, which training does not.
    from ..testing import BrokenLaw, check_process  # noqa: PLC0415

    process, _ = resolve(make, sizes := shape("--shape", options.shape))
    try:
        made = process(sizes)
    except Exception as error:
        # A class of the user's may fail in any way.
        reason = why(error)
        msg = f"{options.process} is not made of the shape {sizes} ({reason}); --shape gives another, such as {_SHAPES}"
        raise ValueError(msg) from error
    try:
        check_process(made, max_examples=options.examples)
    except BrokenLaw as error:
        sys.exit(f"broken: {error}")
