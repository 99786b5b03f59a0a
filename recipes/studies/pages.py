"""What the studies share: models that are trained once, and the places on the pages of docs/ for their tables."""

import re
from pathlib import Path

from unmelt.training import RunConfig, Trainer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def trained(config: RunConfig) -> Path:
    """Return the folder of a finished run, training it first where there is none."""
    if not (config.folder / "checkpoints" / f"step_{config.training.steps:08d}").is_dir():
        Trainer(config, config.data.load()).train()
    return config.folder


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
