"""What is told of a picture that is not read."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager

from PIL import Image


class PictureError(ValueError):
    """A picture that is not read; the message says why and what to do."""


@contextmanager
def reading() -> Generator[None, None, None]:
    """Turn every exception of a reader into a PictureError."""
    try:
        with warnings.catch_warnings():
            # Large, but not too large: a photograph of 100 megapixels is one.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        msg = f"has more pixels than are read ({error}): make it smaller, or remove it"
        raise PictureError(msg) from error
    except Image.UnidentifiedImageError as error:
        # Pillow names the stream that it read from.
        msg = "cannot be read as a picture (no picture that Pillow knows): remove or replace it"
        raise PictureError(msg) from error
    except Exception as error:
        msg = f"cannot be read as a picture ({error}): remove or replace it"
        raise PictureError(msg) from error


def require(condition: bool, otherwise: str) -> None:  # noqa: FBT001
    """Refuse a picture unless something holds of it.

    Raises:
        PictureError: it does not; the message is `otherwise`.
    """
    if not condition:
        raise PictureError(otherwise)
