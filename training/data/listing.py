"""The pictures below a folder: which files they are, and which of them are held out."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

from .examples import spread

# What Pillow reads.
_READ = """
    png apng jpg jpeg jpe jfif webp avif gif bmp dib tif tiff jp2 j2k jpx ppm pgm pbm pnm pfm tga qoi pcx sgi
"""
_SUFFIXES = frozenset(f".{name}" for name in _READ.split())
_FEWEST = 2
# Held-out files that are compared with those of their length, and the most of these that are read.
_COMPARED, _MOST_READ = 64, 512
_TRAIN, _HELD_OUT = ("train", "training"), ("test", "testing", "val", "valid", "validation")


class Files(NamedTuple):
    """Files below a folder, and what else was there.

    Attributes:
        folder: the folder.
        names: the files, relative to it, in order.
        sizes: their lengths in bytes.
        left_out: what was not used: how many files of which kind.
    """

    folder: Path
    names: list[str]
    sizes: list[int]
    left_out: Counter[str]


def listed(folder: Path) -> Files:
    """Return the pictures below a folder.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds fewer than two.
    """
    if not folder.is_dir():
        msg = (
            f"no folder {folder}: pass the folder that holds the images, with --data.folder PATH (--data PATH to"
            " evaluate a run)"
        )
        raise FileNotFoundError(msg)
    found, left_out = list[tuple[str, int]](), Counter[str]()
    for path, prefix in _walked(folder, left_out):
        suffix = PurePath(path.name).suffix.lower()
        if suffix not in _SUFFIXES:
            left_out[suffix or "without suffix"] += 1
            continue
        try:
            found.append((prefix + path.name, path.stat().st_size))
        except OSError:
            left_out["broken link"] += 1
    if len(found) < _FEWEST:
        others = f", and {counted(left_out)} that are not used" if left_out else ""
        known = ", ".join(sorted(_SUFFIXES))
        msg = (
            f"{folder} holds {len(found)} image{'' if len(found) == 1 else 's'}{others}; at least {_FEWEST} are needed"
            f" (files that end in {known})"
        )
        raise ValueError(msg)
    found.sort()
    return Files(folder, [name for name, _ in found], [size for _, size in found], left_out)


def _walked(folder: Path, left_out: Counter[str]) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Yield files below a folder with their folders' names, of linked folders each once."""
    waiting, seen = [(str(folder), "")], set[str]()
    while waiting:
        path, prefix = waiting.pop()
        real = os.path.realpath(path)
        if real in seen:
            left_out["folder linked twice"] += 1
            continue
        seen.add(real)
        try:
            entries = list(os.scandir(path))
        except PermissionError:
            left_out["folder without permission"] += 1
            continue
        for entry in entries:
            if entry.name.startswith("."):
                left_out["hidden"] += 1
            elif entry.is_dir():
                waiting.append((entry.path, f"{prefix}{entry.name}/"))
            else:
                yield entry, prefix


def divided(files: Files, share: float) -> tuple[Files, Files]:
    """Return the files to train on and those held out: at least one of either, by their names alone."""
    ranks = [hashlib.sha256(os.fsencode(name)).digest()[:8] for name in files.names]
    bound = int(share * 2**64).to_bytes(8, "big")
    held_out = {index for index, rank in enumerate(ranks) if rank < bound} or {ranks.index(min(ranks))}
    if len(held_out) == len(ranks):
        held_out.remove(ranks.index(max(ranks)))

    def those(indices: list[int]) -> Files:
        return files._replace(
            names=[files.names[index] for index in indices], sizes=[files.sizes[index] for index in indices]
        )

    every = range(len(files.names))
    return those([i for i in every if i not in held_out]), those([i for i in every if i in held_out])


def check_not_divided(files: Files) -> None:
    """Check that a folder is not one that holds a folder to train on and one that is held out.

    Raises:
        ValueError: it is; which files are held out would be decided anew.
    """
    top = {name.partition("/")[0] for name in files.names if "/" in name}
    held_out = sorted(name for name in top if name.lower() in _HELD_OUT)
    train = sorted(name for name in top if name.lower() in _TRAIN)
    if held_out and train:
        folder = files.folder
        msg = (
            f"{folder} holds {train[0]} and {held_out[0]}: train on one, and hold out the other, with --data.folder"
            f" {folder / train[0]} --data.test {folder / held_out[0]}"
        )
        raise ValueError(msg)


def check_apart(train: Files, test: Files) -> None:
    """Check that no file is in both, nor some of the held-out ones copies of those that are trained on.

    Raises:
        ValueError: one is; held-out files must never be trained on.
    """
    ours, theirs = ({os.path.realpath(part.folder / name) for name in part.names} for part in (train, test))
    both = sorted(ours & theirs) or _copies(train, test)
    if both:
        msg = (
            f"{len(both)} of the {len(theirs)} held-out files in {test.folder} are trained on as well, such as"
            f" {both[0]}: give folders that share none"
        )
        raise ValueError(msg)


def _copies(train: Files, test: Files) -> list[str]:
    """Return those of some held-out files whose contents are trained on; contents are read where lengths are equal."""
    by_size = defaultdict[int, list[str]](list)
    for name, size in zip(train.names, train.sizes, strict=True):
        by_size[size].append(name)
    read, copies = dict[str, bytes](), list[str]()
    for index in spread(len(test.names), _COMPARED):
        own, alike = test.folder / test.names[index], by_size[test.sizes[index]]
        if len(read) + len(alike) > _MOST_READ:
            continue
        try:
            read |= {name: (train.folder / name).read_bytes() for name in alike if name not in read}
            if own.read_bytes() in (read[name] for name in alike):
                copies.append(str(own))
        except OSError:
            continue
    return copies


def counted(left_out: Counter[str]) -> str:
    """Return what was left out, in words."""
    return ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))
