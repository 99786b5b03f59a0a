"""The pages of the documentation, and the code on them: what all tests of pages read."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
# Settings of a run that is there to be looked at, not to be good.
SHORT = [
    *("--training.steps", "2", "--network.channels", "8", "--pictures.count", "4"),
    *("--grid", "UniformGrid(steps=3)"),
]
PAGES = [README, *sorted(DOCS.rglob("*.md"))]


class Block(NamedTuple):
    """A fenced block of code.

    Attributes:
        language: what stands behind the opening fence; empty if nothing does.
        code: the lines between the fences.
    """

    language: str
    code: str


def called(page):
    """What tests call a page: its place in the documentation, without the ending."""
    return str(page.relative_to(DOCS if DOCS in page.parents else ROOT).with_suffix(""))


def split(text):
    """Return the fenced blocks of a page, and its text without them."""
    blocks, prose, fence, inside = [], [], "", []
    for line in text.splitlines():
        marks = re.match(r"\s*(`{3,})\s*(.*)", line)
        if fence:
            if marks and marks[1] >= fence and not marks[2]:
                blocks.append(Block(language, "\n".join([*inside, ""])))
                fence, inside = "", []
            else:
                inside.append(line)
        elif marks:
            fence, language = marks.groups()
        else:
            prose.append(line)
    assert not fence, f"a block that begins with {fence}{language} has no end"
    return blocks, "\n".join([*prose, ""])


def python(page):
    """Return the Python blocks of a page."""
    return [block.code for block in split(page.read_text())[0] if block.language == "python"]


def indented(prose):
    """Return the blocks of lines that are indented by four, which Markdown shows as code: formulas, as a rule."""
    found = re.findall(r"(?:^|\n\n)((?:    .*\n(?:\n(?=    ))?)+)", prose)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]


def inline(prose):
    """Return what stands in backticks, on one line or on two."""
    return [" ".join(quoted.split()) for quoted in re.findall(r"`([^`]+)`", prose)]
