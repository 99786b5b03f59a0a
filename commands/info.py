"""Tell what a run or an exported model is, and whether it is whole (else status 1); none of its code is run."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..core.console import say
from .parsing import Parser

_EXAMPLES = """examples:
  unmelt info runs/digits_heat
  unmelt info runs/digits_heat --json"""
_LABEL, _WIDTH = 12, 110
_VERSIONS = ("unmelt", "format", "torch", "python")


def run(arguments: Sequence[str]) -> None:
    """Print what the folder that the command line names tells of itself."""
    parser = Parser("info", __doc__ or "", _EXAMPLES)
    parser.add_argument("run", metavar="RUN", help="folder of the run, runs/NAME, or of an exported model")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON, for programs")
    options = parser.parse_args(arguments)
    from ..training import describe_run  # noqa: PLC0415

    told = describe_run(options.run)
    say(json.dumps(told, indent=2) if options.json else "\n".join(_lines(told)))
    if told["faults"]:
        sys.exit(1)


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{told['folder']}: {told['kind']}"
    rows = (
        ("name", told["name"]),
        *((name, told[name]) for name in ("process", "network")),
        ("parameters", _count(told["parameters"])),
        *((name, told[name]) for name in ("prediction", "sampler", "grid")),
        ("guidance", None if told["guidance"] in {None, "1.0", 1.0} else f"{told['guidance']}, of the condition"),
        *_data(told["data"]),
        *_training(told),
        ("last numbers", ", ".join(f"{name} {_digits(value)}" for name, value in told["metrics"].items())),
        ("made", _joined(told, "started", "device")),
        ("versions", ", ".join(f"{name} {told[name]}" for name in _VERSIONS if name in told)),
        ("commit", told.get("commit")),
        ("own code", ", ".join(told["own_code"]) and f"{', '.join(told['own_code'])} (run only with --trust-code)"),
        ("files", ", ".join(f"{name} {_size(size)}" for name, size in told["files"].items())),
        *(("fault", fault) for fault in told["faults"]),
    )
    for name, text in rows:
        if text and text != "None":
            # A folder from elsewhere gives the terminal no orders.
            shown = "".join(c if c.isprintable() else "?" for c in f"  {name:{_LABEL}} {text}")
            yield textwrap.fill(shown, _WIDTH, subsequent_indent=" " * (_LABEL + 3), break_on_hyphens=False)


def _data(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "data", data["source"]
    if data["shape"]:
        levels = f", {data['grey_levels']} levels" if data["grey_levels"] else ""
        within = f" in [{data['range'][0]:g}, {data['range'][1]:g}]" if data["range"] else ""
        classes = f", {data['classes']} classes" if data["classes"] else ""
        shape = " x ".join(map(str, data["shape"]))
        counts = f"{_count(data['train'])}, {_count(data['held_out'])} held out"
        yield "examples", f"{counts}; {shape}{levels}{within}{classes}"


def _training(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    steps, batch = told["steps"], told["batch_size"]
    if steps["done"] is not None:
        yield "steps", f"{_count(steps['done'])} of {_count(steps['planned'])}, {batch} examples in each"
    if told.get("checkpoints"):
        *_, last = told["checkpoints"]
        newest = told.get("whole", "none")
        state = "whole" if newest == last else f"DAMAGED; the newest whole one: {newest}"
        yield "checkpoint", f"{last}, {state} (of {len(told['checkpoints'])})"
    if "exported" in told:
        yield "average", f"of decay {told['exported']:g}"
    elif told["ema_decay"]:
        yield "averages", f"of decay {told['ema_decay']}"


def _joined(told: Mapping[str, Any], *names: str) -> str:
    return ", ".join(str(told[name]) for name in names if told.get(name))


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _digits(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB" if count >= 1e3 else f"{count} B"
