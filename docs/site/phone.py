"""Pages on a small screen: numbers that stay in one line, and pictures that open at their full size and have words."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

# A mean and its error, "-27.18 +- 0.18", is no longer than this.
_SHORT = 16
_PICTURE = re.compile(r'<img\b[^>]*?\bsrc="(?!data:)([^"]+)"[^>]*>')


def _keep_short_cells_whole(doctree: nodes.document) -> None:
    for cell in doctree.findall(nodes.entry):
        if isinstance(cell.parent.parent, nodes.tbody) and len(cell.astext()) <= _SHORT:
            cell["classes"].append("short")


def _describe_outputs(doctree: nodes.document) -> None:
    """Describe pictures that a notebook drew by the prose before their cell, which says what is seen."""
    words = ""
    for node in doctree.findall(lambda node: isinstance(node, nodes.paragraph | nodes.image)):
        if isinstance(node, nodes.paragraph):
            words = node.astext().replace("\n", " ")
        elif isinstance(node, nodes.Element) and not node.get("alt"):
            node["alt"] = words


def _read(_app: Sphinx, doctree: nodes.document) -> None:
    _keep_short_cells_whole(doctree)
    _describe_outputs(doctree)


def _link_pictures(*event: Any) -> None:
    """Have a picture lead to its file, which a phone can enlarge."""
    context = event[3]
    if "body" in context:
        context["body"] = _PICTURE.sub(r'<a class="picture" href="\1">\g<0></a>', context["body"])


def setup(app: Sphinx) -> ExtensionMetadata:
    """Change pages after they are read, and once more as they are written."""
    app.connect("doctree-read", _read)
    app.connect("html-page-context", _link_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
