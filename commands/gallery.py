"""Turn runs into one page to look at: their process, samples on their way, trees, neighbours, spectra and numbers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.checks import check_count
from ..core.files import check_free_file
from ..evaluation.gallery import build_gallery
from ..training import load_run
from .output import written
from .parsing import Parser

_EXAMPLES = """The page is one file that needs no network: open it in a browser, or send it to somebody. Of several runs
it shows the same side by side.

examples:
  unmelt gallery runs/NAME
  unmelt gallery runs/NAME runs/OTHER --out comparison.html
  unmelt gallery runs/NAME --data photos/ --steps 20 --force"""


def run(arguments: Sequence[str]) -> None:
    """Write the page that the command line asks for."""
    options = _parser().parse_args(arguments)
    check_count("--count", options.count)
    out: Path = options.out
    if out.suffix.lower() not in {".html", ".htm"}:
        msg = f"--out {out}: give a name that ends in .html"
        raise ValueError(msg)
    check_free_file(out, force=options.force)
    page = build_gallery(
        [
            load_run(folder, trust_code=options.trust_code).require_nothing_known("unmelt gallery")
            for folder in options.runs
        ],
        count=options.count,
        seed=options.seed,
        steps=options.steps,
        places=options.data,
        progress=sys.stderr.isatty(),
    )
    with written(out, force=options.force) as file:
        file.write_text(page, encoding="utf-8")
    print(f"wrote {out} ({len(page.encode()) / 1e6:.1f} MB)")  # noqa: T201


def _parser() -> Parser:
    parser = Parser("gallery", __doc__ or "", _EXAMPLES)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders of runs, runs/NAME, or of exported models")
    parser.add_argument("--out", type=Path, default=Path("gallery.html"), help="the page (gallery.html)")
    parser.add_argument("--force", action="store_true", help="overwrite it")
    parser.add_argument("--count", type=int, default=16, help="samples to show (16)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first; the others count on (0)")
    parser.add_argument("--steps", type=int, help="steps on a uniform grid; the run's own sampler's if not given")
    parser.add_argument(
        "--data", action="append", default=[], help="where the data lie now; again for each run where they differ"
    )
    parser.add_argument("--trust-code", action="store_true", help="run code of yours that the runs name classes of")
    return parser
