"""What data sets of pictures share: how pictures become examples of one shape, decided by looking at some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import ImageColor
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count, check_number
from .data_set import DataSet
from .decoding import Header, Target, decode, header
from .examples import spread
from .photo_crops import PhotoCrops
from .picture_error import PictureError
from .picture_examples import PictureExamples
from .sources import Source

# Headers that are read, and pictures that are decoded, before a run starts.
_HEADERS, _DECODED = 512, 32


@dataclass(frozen=True, kw_only=True)
class PictureDataSet(DataSet):
    """Pictures of any size and kind, which all become one size and one number of channels.

    Orientation, palettes and transparency are followed; of several frames the first is taken. What a picture does not
    say has to be declared, or it counts as unreadable.

    Attributes:
        size: (height, width) after the largest central part of that shape is cut out and resized; one number for both.
            None takes the pictures' own size, which has to be one.
        channels: 1 for grey, 3 for colour, 4 for colour and opacity; None takes 1 where all are grey, else 3.
        background: colour behind transparent pixels, such as white or #808080; None leaves pictures with any out.
        black: value that becomes `low`, in pictures of more than 8 bits.
        white: value that becomes `high`, in such pictures: 4095 for 12 bits. None is 65535 where 16 bits are used to
            the full.
        levels: number of levels; None takes 256, or as many as there are from black to white, and of floating-point
            numbers none.
        unreadable: share of the pictures that may be unreadable, for which others stand in.
        low: number that black becomes.
        high: number that white becomes.

    Raises:
        ValueError: a number is out of range, or a colour is none.
    """

    size: int | tuple[int, int] | None = 32
    channels: int | None = None
    background: str | None = None
    black: float = 0.0
    white: float | None = None
    levels: int | None = None
    unreadable: float = 0.01
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.size is not None:
            height, width = self._size()
            check_count("size", min(height, width), hint="pixels")
        if self.channels not in (None, 1, 3, 4):
            msg = f"channels must be 1 for grey, 3 for colour or 4 for colour and opacity, got {self.channels}"
            raise ValueError(msg)
        if self.white is None and self.black:
            msg = f"black={self.black} needs a white: give the value that is white, above it"
            raise ValueError(msg)
        if self.white is not None:
            check_number("white", self.white, f"({self.black}, inf)", "the value that is white")
        if self.levels is not None:
            check_count("levels", self.levels, 2)
        if self.background is not None:
            try:
                ImageColor.getrgb(self.background)
            except ValueError as error:
                msg = f"background must be a colour, such as white or #808080, got {self.background!r}"
                raise ValueError(msg) from error
        check_number("unreadable", self.unreadable, "[0, 1)", "a share of the pictures")

    @override
    def stand_in(self) -> DataSet:
        size = min(self._size()) if self.size else PhotoCrops.size
        return PhotoCrops(size=size, grey=self.channels == 1, low=self.low, high=self.high)

    def examples(self, sources: Sequence[Source], labels: Sequence[Tensor | None]) -> tuple[list[PictureExamples], str]:
        """Return the pictures of each source as examples, those to train on first, and what they are, in words.

        Raises:
            ValueError: more of them than may be are unreadable, as far as some tell, or they are of several sizes.
        """
        headers = _Headers(sources)
        target = self._target(headers)
        made = [
            PictureExamples(source, target, (self.low, self.high), known, most_unreadable=self.unreadable)
            for source, known in zip(sources, labels, strict=True)
        ]
        for part in made:
            _check_sample(part)
        kind = {1: "grey", 3: "colour", 4: "colour and opacity"}[target.shape[0]]
        levels = "no levels" if target.levels is None else f"{target.levels} levels"
        text = f"as {kind} of {target.shape[1]} x {target.shape[2]} pixels, {levels}"
        _, height, width = target.shape
        if smaller := sum(each.size[0] < height or each.size[1] < width for each in headers.found):
            text += f", {smaller} of {headers.count} looked at enlarged to that"
        if frames := sum(each.frames > 1 for each in headers.found):
            text += f", the first picture alone of {frames} files with several (of {headers.count} looked at)"
        return made, text

    def _size(self) -> tuple[int, int]:
        """Return height and width."""
        size: Any = (self.size, self.size) if isinstance(self.size, int) else self.size
        if not isinstance(size, tuple) or len(size) != 2 or not all(isinstance(each, int) for each in size):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            msg = f"size must be a number of pixels, or (height, width), got {self.size!r}"
            raise ValueError(msg)
        return size

    def _target(self, headers: _Headers) -> Target:
        height, width = headers.only_size() if self.size is None else self._size()
        channels = self.channels or (3 if any(found.colour for found in headers.found) else 1)
        deep = any(found.deep for found in headers.found)
        white = headers.white() if deep and self.white is None else self.white
        return Target(
            (channels, height, width),
            to_grey=self.channels == 1,
            background=self.background,
            black=self.black,
            white=white,
            levels=self.levels or _levels(headers, self.black, white),
            eight_bits=not deep and self.white is None and self.levels is None,
            own_size=self.size is None,
        )


class _Headers:
    """Headers of some pictures, evenly spread."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.by_place, reasons = dict[tuple[Source, int], Header](), list[str]()
        places = [(source, index) for source in sources for index in spread(len(source), _HEADERS)]
        for source, index in places:
            try:
                self.by_place[source, index] = header(source.unread(index))
            except (PictureError, OSError) as error:
                reasons.append(f"{source.name(index)} {error}")
        if not self.by_place:
            raise ValueError(reasons[0])
        self.found, self.count = list(self.by_place.values()), len(places)

    def only_size(self) -> tuple[int, int]:
        """Return the size of all of them."""
        sizes = Counter(found.size for found in self.found)
        if len(sizes) > 1:
            (first, _), (second, _) = sizes.most_common(2)
            msg = (
                f"the pictures are of {len(sizes)} sizes or more, such as {first[0]} x {first[1]} and {second[0]} x"
                f" {second[1]} pixels: give one, size=64 or (48, 32)"
            )
            raise ValueError(msg)
        return next(iter(sizes))

    def white(self) -> float:
        """Return what is white in pictures of more than 8 bits: 65535 if any of some uses 16 bits to the full."""
        reason = ""
        for (source, index), found in self.by_place.items():
            if found.deep:
                try:
                    decode(source.contents(index), Target((found.colour * 2 + 1, *found.size), background="white"))
                except (PictureError, OSError) as error:
                    reason = f"{source.name(index)} {error}"
                else:
                    return 65535.0
        raise ValueError(reason)


def _levels(headers: _Headers, black: float, white: float | None) -> int | None:
    """Return how many levels there are from black to white, 256 for 8 bits; None for floating-point numbers."""
    if white is None or not any(found.deep for found in headers.found):
        return 256
    whole = white == int(white) and black == int(black)
    return int(white - black) + 1 if whole and not any(found.fractions for found in headers.found) else None


def _check_sample(examples: PictureExamples) -> None:
    """Decode some pictures, before a run starts: where most cannot be, something has to be declared.

    Raises:
        ValueError: more of them are unreadable than may be of all.
    """
    indices, reasons = spread(len(examples), _DECODED), list[str]()
    for index in indices:
        try:
            examples.read([index])
        except ValueError as error:
            reasons.append(str(error))
    if len(reasons) > max(1, examples.most_unreadable * len(examples)) or len(reasons) == len(indices):
        more = f"; {len(reasons)} of {len(indices)} that were looked at are unreadable" if len(reasons) > 1 else ""
        raise ValueError(reasons[0] + more)
