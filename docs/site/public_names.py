"""Public names that are code in a line of a page become links to their pages of the reference."""

import importlib
import re
from functools import cache

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata

# Those that the reference has a page of; what is exported by two is documented by the first.
PACKAGES = (
    "degradations",
    "models",
    "losses",
    "samplers",
    "samplers.guidance",
    "training",
    "training.data",
    "evaluation",
    "evaluation.gallery",
    "testing",
    "core",
)


@cache
def find_names() -> dict[str, str]:
    """Return the full name of each public one."""
    found = dict[str, str]()
    for package in PACKAGES:
        for name in importlib.import_module(f"unmelt.{package}").__all__:
            found.setdefault(name, f"unmelt.{package}.{name}")
    return found


class LinkNames(SphinxPostTransform):
    """Put a reference round each `Name` and `Name(...)`, but in headings and where there is a link already."""

    # Before references are resolved.
    default_priority = 5

    def run(self, **kwargs: object) -> None:
        """Change one page."""
        names = find_names()
        for literal in list(self.document.findall(nodes.literal)):
            found = re.match(r"(\w+)(?:\(|$)", literal.astext())
            if (
                found is None
                or found[1] not in names
                or isinstance(literal.parent, nodes.reference | nodes.title | pending_xref)
            ):
                continue
            link = pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=names[found[1]],
                refdoc=self.env.docname,
                refexplicit=True,
            )
            literal.replace_self(link)
            link += literal


def setup(app: Sphinx) -> ExtensionMetadata:
    """Link names on all pages."""
    app.add_post_transform(LinkNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
