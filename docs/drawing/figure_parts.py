"""What the scripts that draw figures of the documentation share: the photograph, and how figures are kept."""

import io
from pathlib import Path

import skimage.data
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

IMAGES = Path(__file__).parents[1] / "images"
SIZE = 96
SHAPE = (3, SIZE, SIZE)
_COLOURS = 256


def photograph() -> Tensor:
    """Return the face of scikit-image's cat in [0, 1], (3, 96, 96)."""
    image = torch.as_tensor(skimage.data.chelsea()[10:298, 80:368]).permute(2, 0, 1)[None].float() / 255
    return interpolate(image, (SIZE, SIZE), mode="area")[0]


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of few colours: noise does not compress, and looks the same with a palette."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    Image.open(buffer).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
