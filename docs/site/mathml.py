"""Mathematics of pages as MathML, made when the site is built: browsers draw it by themselves, without a network."""

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)
converter = LatexToMathML(fancy_error=False)


def _write(node: nodes.math | nodes.math_block, *, displaystyle: bool) -> str:
    try:
        return converter.convert_with_local_state(node.astext(), displaystyle=displaystyle)
    except LatexError as error:
        # A warning ends a strict build.
        logger.warning("cannot read the formula %r: %s", node.astext(), error, location=node)
        return ""


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in a line."""
    translator.body.append(_write(node, displaystyle=False))
    raise nodes.SkipNode


def block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, which scrolls where a screen is narrow."""
    translator.body.append(f'<div class="formula">{_write(node, displaystyle=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    """Make this a way to write mathematics, named mathml."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
