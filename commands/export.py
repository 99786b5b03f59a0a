"""Write a trained model to a folder to hand on: weights, settings, prior and a model card."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from ..core.console import say
from .parsing import Parser

_EXAMPLES = """examples:
  unmelt export runs/digits_heat
  unmelt export runs/digits_heat --out digits --checkpoint step_00010000
  hf upload USER/NAME exported/digits_heat --private      puts it on the Hugging Face hub"""


def run(arguments: Sequence[str]) -> None:
    """Export the model that the command line names, and say what was written."""
    parser = Parser("export", __doc__ or "", _EXAMPLES)
    parser.add_run()
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder to write (exported/NAME)")
    parser.add_argument("--ema-decay", type=float, metavar="D", help="which moving average (the one sampled from)")
    parser.add_argument("--checkpoint", metavar="NAME", help="which checkpoint, by name or step (the newest)")
    parser.add_argument("--force", action="store_true", help="write it anew where a model was exported before")
    options = parser.parse_args(arguments)
    from ..training import load_run  # noqa: PLC0415
    from ..training.exporting import check_exportable, export_run  # noqa: PLC0415

    folder = Path(options.run)
    out = options.out or Path("exported", folder.resolve().name)
    # Before the model is read.
    check_exportable(out, force=options.force)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        model = load_run(
            folder, trust_code=options.trust_code, ema_decay=options.ema_decay, checkpoint=options.checkpoint
        )
    for line in told:
        say(f"warning: {line.message}")
    export_run(model, out, force=options.force)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    say(f"{out}: step {model.step}, average of decay {model.ema_decay:g}, {size / 1e6:.1f} MB")
    say(f"fill in the licence at the head of {out / 'README.md'}")
