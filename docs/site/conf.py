"""How the site is built: `make docs`."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import unmelt

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import public_names  # noqa: E402

project = "unmelt"
author = "the unmelt authors"
version = release = unmelt.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "mathml",
    "phone",
    "public_names",
]
exclude_patterns = ["drawing", "explore", "site"]
myst_enable_extensions = ["deflist", "dollarmath", "html_image"]
myst_heading_anchors = 3
# Pages of notebooks show the outputs that are stored in them; `make notebooks` runs them.
nb_execution_mode = "off"

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
# Defaults as the source has them: what Python prints of a class or a function is no Python.
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
autodoc_default_options = {"members": True, "show-inheritance": True}
autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
# A name that two packages export has its page with the first.
autosummary_context = {"documented": public_names.find_names()}
# Absolute: autosummary takes it from the folder of the pages.
templates_path = [str(HERE / "templates")]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
# In docstrings, too, a word in backticks is code.
default_role = "code"
# A fence without a language holds commands or what they print.
highlight_language = "none"
pygments_dark_style = "github-dark"

html_theme = "furo"
html_title = f"unmelt {version}"
html_math_renderer = "mathml"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
# Summaries are fetched, which browsers refuse to pages that were opened from a file.
html_show_search_summary = False


def _copy_explorable_page(app: Sphinx, error: Exception | None) -> None:
    """Put the explorable page, which is a page already, where links to it lead."""
    if error is None:
        shutil.copytree(HERE.parent / "explore", Path(app.outdir) / "explore", dirs_exist_ok=True)


def _escape(*event: Any) -> None:
    """Keep stars and bars of docstrings, (*batch, c, h, w) and |x|, from being read as markup, which they never are."""
    what, lines = event[1], event[-1]
    if what in ("property", "attribute"):
        # A comment: napoleon takes what stands before a colon in the first line for a type.
        lines[:0] = [".. value", ""]
    lines[:] = [
        re.sub(r"`[^`]*`|[*|]", lambda found: f"\\{found[0]}" if found[0] in "*|" else found[0], line) for line in lines
    ]


def _skip_fields(*event: Any) -> bool | None:
    """Leave fields of named tuples out: their class describes them."""
    return True if (getattr(event[3], "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Do what no extension does."""
    # Before napoleon, which has stars of its own.
    app.connect("autodoc-skip-member", _skip_fields)
    app.connect("autodoc-process-docstring", _escape, priority=100)
    app.connect("build-finished", _copy_explorable_page)
