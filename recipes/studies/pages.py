"""What the studies share: models that are trained once, and the places on the pages of docs/ for their tables."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import __main__
from unmelt.training import RunConfig, Trainer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def trained(config: RunConfig) -> Path:
    """Return the folder of a finished run, training it first where there is none."""
    if not (config.folder / "checkpoints" / f"step_{config.training.steps:08d}").is_dir():
        Trainer(config, config.data.load()).train()
    return config.folder


def asked(choices: Sequence[str]) -> Sequence[str]:
    """Return what the command line asks for among these, all of them where it names none; end with help otherwise."""
    parser = argparse.ArgumentParser(description=__main__.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one or more of: {', '.join(choices)}")
    wanted = parser.parse_args().parts
    unknown = [part for part in wanted if part not in choices]
    if unknown:
        parser.error(f"no {unknown[0]!r}: there are {', '.join(choices)}")
    return wanted or choices


def write_table(page: Path, name: str, table: str) -> None:
    """Put a table between its two markers on a page.

    Raises:
        ValueError: the page has no such markers.
    """
    text = page.read_text()
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    if not re.search(pattern, text, re.DOTALL):
        msg = f"{page.name} has no place for the table {name!r}: it needs the lines <!-- {name} --> and its end"
        raise ValueError(msg)
    page.write_text(re.sub(pattern, lambda found: found[1] + "\n" + table + "\n\n" + found[2], text, flags=re.DOTALL))
