"""Writes the page's photograph, scikit-image's cat (CC0, Stefan van der Walt): python docs/explore/photograph.py."""

import base64
import io
from pathlib import Path

import skimage.data
from PIL import Image

SIZE = 128
SCRIPT = Path(__file__).with_suffix(".js")


def photograph() -> Image.Image:
    """Return the cat's face, 128 x 128."""
    return Image.fromarray(skimage.data.chelsea()[10:298, 80:368]).resize((SIZE, SIZE), Image.Resampling.BOX)


def script() -> str:
    """Return the photograph as a script: a page opened from a file may not read other files' pixels."""
    buffer = io.BytesIO()
    photograph().save(buffer, "PNG", optimize=True)
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return f'// Written by photograph.py.\n"use strict";\nwindow.unmelt.photograph = "{url}";\n'


if __name__ == "__main__":
    SCRIPT.write_text(script())
    print(f"wrote {SCRIPT.name}")
