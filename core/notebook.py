"""What a notebook shows of an object: a picture inside a line of HTML, with words for those who do not see it."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

from jaxtyping import UInt8
from torch import Tensor

from .pictures import png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 72


def shown(picture: UInt8[Tensor, "rows columns 3"] | Figure, caption: str) -> str:
    """Return HTML of a picture with its caption below it.

    Args:
        picture: pixels, as `unmelt.core.pictures.grid` returns them, or a matplotlib figure.
        caption: what it is, in a line; also the text in its place.
    """
    if isinstance(picture, Tensor):
        content = png(picture)
    else:
        picture.savefig(file := io.BytesIO(), format="png", dpi=_DPI)
        content = file.getvalue()
    return embedded(content, caption)


def embedded(content: bytes, caption: str) -> str:
    """Return HTML of the content of a PNG file with its caption below it."""
    data, words = base64.b64encode(content).decode(), html.escape(caption, quote=True)
    style = "max-width:100%;image-rendering:pixelated"
    return (
        f'<figure style="margin:0"><img style="{style}" src="data:image/png;base64,{data}" alt="{words}">'
        f"<figcaption>{words}</figcaption></figure>"
    )
