"""Training speed: images per second, share of the device's peak, memory, and what the process takes of a step."""

from __future__ import annotations

import time

import torch
from measuring import print_rows

from on_device.arithmetic import convolutions
from on_device.peaks import Peak, flop_of_a_training_image, peak_of
from on_device.setting import Bench
from on_device.step import TrainingStep, Variant
from on_device.timing import release, timed

# Shares of the device's bf16 peak to be reached, and the process's share of a step not to be exceeded.
FIRST_STOP, AIM = 0.2, 0.4
PROCESS_AT_MOST = 0.02
# Windows of timing that a variant is taken to need until one of its kind has been measured.
_EAGER, _COMPILED = 4.0, 20.0
BF16 = torch.bfloat16
# The quick ones first, then, of those that compile, what matters most: later ones are left out where time is over.
VARIANTS = (
    Variant(),
    Variant(precision=BF16),
    Variant(precision=BF16, channels_last=True),
    Variant(precision=BF16, channels_last=True, large=True),
    Variant(precision=BF16, channels_last=True, fused=False),
    Variant(tf32=False),
    Variant(precision=BF16, channels_last=True, graph=True),
    Variant(precision=BF16, compiled=True, channels_last=True, large=True),
    Variant(precision=BF16, compiled=True, channels_last=True),
    Variant(precision=BF16, compiled=True, channels_last=True, graph=True),
    Variant(precision=BF16, compiled=True),
    Variant(compiled=True, channels_last=True),
)
_COLUMNS = {
    "batch": ("batch", "d"),
    "images/s": ("images_per_second", ".0f"),
    "of peak": ("of_peak", ".1%"),
    "step, ms": ("step_ms", ".2f"),
    "process, ms": ("process_ms", ".3f"),
    "share": ("process_share", ".2%"),
    "memory, GiB": ("peak_memory_gib", ".2f"),
    "first step, s": ("first_step_s", ".1f"),
}


def measure(bench: Bench) -> dict[str, object]:
    """Time the variants that there is time for, and say what share of the peak the best reaches."""
    flop, peak = _flop(bench), peak_of(bench.device)
    known = "unknown" if peak is None else f"{peak.bf16:g} in bf16, {peak.tf32:g} in TF32, {peak.float32:g} in float32"
    print(f"  {flop / 1e9:.3g} GFLOP a training image; peak of {bench.device}, dense, in TFLOP/s: {known}")
    done, left_out, failed = list[dict[str, object]](), list[str](), dict[str, str]()
    needed = {False: _EAGER * bench.size.window, True: _COMPILED * bench.size.window}
    for variant in VARIANTS:
        of_cuda_alone = variant.graph or not variant.tf32
        if (of_cuda_alone and bench.device.type != "cuda") or (variant.compiled and not bench.compile):
            continue
        batch = bench.size.batches[variant.large]
        name = f"{variant}, batch {batch}"
        if needed[variant.compiled] > bench.left:
            left_out.append(name)
            continue
        started = time.perf_counter()
        try:
            done.append({"variant": str(variant), **_speed(bench, variant, batch, flop, peak)})
        except Exception as error:
            failed[name] = _first_line(error)
        needed[variant.compiled] = time.perf_counter() - started
    release(bench.device)
    cells = [[_cell(one[key], form) for key, form in _COLUMNS.values()] for one in done]
    print_rows([["", *_COLUMNS], *([str(one["variant"]), *row] for one, row in zip(done, cells, strict=True))])
    print("  process: times, noise, latent and target, timed alone and eagerly: more than its share of a step, where")
    print("  its launches hide behind the network's work")
    for word, lines in (("left out, for time", left_out), ("FAILED", [f"{n}: {e}" for n, e in failed.items()])):
        for line in lines:
            print(f"  {word}: {line}")
    bench.fail_if([f"{name}: {error}" for name, error in failed.items()], "variants that failed")
    best = max((_number(one, "of_peak") for one in done if str(one["variant"]).startswith("bfloat16")), default=0.0)
    share = max((_number(one, "process_share") for one in done), default=1.0)
    if peak is not None:
        _say("best share of peak in bf16", best, f"aim {AIM:.0%}, first stop {FIRST_STOP:.0%}", met=best >= AIM)
        _say("largest share of the process", share, f"at most {PROCESS_AT_MOST:.0%}", met=share <= PROCESS_AT_MOST)
    return {
        "flop_per_training_image": flop,
        "peak_tflops": None if peak is None else peak._asdict(),
        "aim_of_peak": AIM,
        "first_stop_of_peak": FIRST_STOP,
        "process_share_at_most": PROCESS_AT_MOST,
        "variants": done,
        "left_out": left_out,
        "failed": failed,
    }


def _speed(bench: Bench, variant: Variant, batch: int, flop: int, peak: Peak | None) -> dict[str, object]:
    release(bench.device)
    with convolutions(tf32=variant.tf32):
        step = TrainingStep(bench.config(batch), bench.device, variant)
        found = timed(step, bench.device, bench.size.window)
        process = timed(step.process_alone, bench.device, bench.size.window / 10).seconds
    most = None if peak is None else _peak_for(variant, peak) * 1e12
    return {
        "batch": batch,
        "images_per_second": batch / found.seconds,
        "of_peak": None if most is None else flop * batch / found.seconds / most,
        "step_ms": found.seconds * 1e3,
        "process_ms": process * 1e3,
        "process_share": process / found.seconds,
        "peak_memory_gib": found.peak_memory_gib,
        "first_step_s": found.first,
    }


def _flop(bench: Bench) -> int:
    step = TrainingStep(bench.config(1), bench.device, Variant())
    return flop_of_a_training_image(step.loss, step.x)


def _peak_for(variant: Variant, peak: Peak) -> float:
    """Return the peak of what nearly all products of the network, its convolutions, are computed in."""
    if variant.precision == BF16:
        return peak.bf16
    return peak.tf32 if variant.tf32 else peak.float32


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _cell(value: object, form: str) -> str:
    return "?" if value is None else format(value, form)


def _number(variant: dict[str, object], name: str) -> float:
    value = variant[name]
    return value if isinstance(value, float) else 0.0


def _say(what: str, value: float, aim: str, *, met: bool) -> None:
    print(f"  {what}: {value:.1%} ({aim}; {'met' if met else 'MISSED'})")
