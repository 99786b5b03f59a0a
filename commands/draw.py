"""Draw a forward process: a signal degraded step by step, and the log-SNR of every frequency over time."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from ..core import Shape
from ..core.configuration import Reader
from ..core.files import check_free_file, write_atomically
from ..degradations import LinearGaussianProcess, draw_process
from ..degradations.drawing import range_for
from .parsing import Parser, part, shape
from .signal_files import Signal, read_image, read_signal
from .trial import SHAPES, process_and_example, process_for

_MAKES_PROCESS = Callable[[Shape], LinearGaussianProcess]
_FORMATS = (".png", ".pdf", ".svg")
_DPI = 110
_MORE = """Without a file a built-in image is drawn, or a signal or volume if the process takes no image.

families:
{families}

examples:
  unmelt draw 'HeatDissipation(blur_sigma_max=12)' --image photo.jpg
  unmelt draw BlurringDiffusion --signal sound.wav --out fog.png
  unmelt draw Pixelation --shape 1,16,16,16"""


def run(arguments: Sequence[str]) -> None:
    """Draw the process that the command line names."""
    options = _parser().parse_args(arguments)
    sizes = None if options.shape is None else shape("--shape", options.shape)
    name = options.process.rpartition(":")[2]
    out: Path = options.out or Path(f"{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_')}.png")
    if out.suffix.lower() not in _FORMATS:
        msg = f"--out {out}: its name must end in the format, one of {', '.join(_FORMATS)}"
        raise ValueError(msg)
    check_free_file(out, force=options.force)
    make, notes = part("PROCESS", options.process, _MAKES_PROCESS), list[str]()
    if options.image or options.signal:
        given = read_image(options.image, sizes) if options.image else read_signal(options.signal, sizes)
        process = process_for(make, given.values, name)
    else:
        process, given, notes = process_and_example(make, sizes, name)
    x, data_range = _scaled(process, given, options.black)
    figure = draw_process(process, x, data_range=data_range, title=f"{name} on {given.told}")
    picture = io.BytesIO()
    figure.savefig(picture, format=out.suffix[1:].lower(), dpi=_DPI)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, picture.getvalue())
    print("\n".join([*notes, f"wrote {out}: {name} on {given.told}"]))  # noqa: T201


def _parser() -> Parser:
    families = textwrap.wrap(", ".join(Reader().choices(_MAKES_PROCESS)), 106)
    parser = Parser("draw", __doc__ or "", _MORE.format(families=textwrap.indent("\n".join(families), "  ")))
    own = "a family, with settings if you like, or a class of yours, as file.py:Class or module.Class"
    parser.add_argument("process", metavar="PROCESS", help=own)
    drawn = parser.add_argument_group("what it is drawn on")
    files = drawn.add_mutually_exclusive_group()
    files.add_argument("--image", type=Path, metavar="FILE", help="a picture, or a .npy of (channels, height, width)")
    files.add_argument("--signal", type=Path, metavar="FILE", help="a .wav, or a .npy of (channels, ...) of any kind")
    sizes = f"shape of the built-in example, or what FILE is cut to: {SHAPES}"
    drawn.add_argument("--shape", metavar="SIZES", help=sizes)
    black = "number that black is to the process, white being 1: 0 or -1 (0 if its noise stays small)"
    drawn.add_argument("--black", type=float, choices=(0.0, -1.0), metavar="NUMBER", help=black)
    written = parser.add_argument_group("what is written")
    written.add_argument("--out", type=Path, metavar="FILE", help=f"{', '.join(_FORMATS)} (PROCESS.png)")
    written.add_argument("--force", action="store_true", help="overwrite it")
    return parser


def _scaled(
    process: LinearGaussianProcess, given: Signal, black: float | None
) -> tuple[Tensor, tuple[float, float] | None]:
    """Return the signal in the range that the process expects, and the numbers to be shown black and white.

    Raises:
        ValueError: black is given for numbers that are taken as they are.
    """
    if given.from_black_to_white:
        low = black if black is not None else range_for(process)[0]
        return low + (1 - low) * given.values, (low, 1.0)
    if black is not None:
        msg = f"--black {black:g}: the numbers of {given.told} are taken as they are; leave --black out"
        raise ValueError(msg)
    return given.values, None
