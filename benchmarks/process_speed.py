"""Times what unmelt adds around a network, beside the same work written out by hand.

    python benchmarks/process_speed.py                        # everything, about two minutes on two cores
    python benchmarks/process_speed.py --only pairs           # one part
    python benchmarks/process_speed.py --json numbers.json    # medians, quartiles, hardware and versions

Parts:

* transforms: cosine transform and inverse, beside torch-dct's FFT and two bare matrix products.
* pairs: the blurred pair (A_t x, A_s x) of a heat dissipation training step, beside six hand-written forms.
* step: a whole training step of a 4 M parameter U-Net, beside that network's forward and backward pass alone.
* sampler: steps of every stepper around a network that does nothing, and the transforms they take, beside a bare loop.

All contenders of a part take turns in this one process, in a new order every round, and medians over many rounds are
compared, so that a slow spell of the machine hits all alike. The number in brackets is the ratio to the best.
Contenders that should return the same are compared first.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

import torch
import torch_dct
from handwritten import HandWrittenBlurs, cosines
from measuring import (
    machine,
    print_machine,
    print_rows,
    print_table,
    summary,
    take_turns,
    verdict,
    write_json,
)
from torch import Tensor, nn

from unmelt.core.configuration import cli
from unmelt.degradations import (
    BlurringDiffusion,
    CosineBasis,
    Deterministic,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    Markov,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictX,
)
from unmelt.losses import DenoisingLoss
from unmelt.models import EMA, DegradedDataPrior, Denoiser, MarginalStd, Prior, UNet
from unmelt.samplers import (
    Churn,
    Follow,
    Heun,
    Multistep,
    Posterior,
    PredictorCorrector,
    Sampler,
    Stepper,
    UniformGrid,
)

LARGEST_PAIR_RATIO = 1.5
LARGEST_SHARE = 0.10
LARGEST_STEP = 250.0  # microseconds
# Of a run of samples; what it makes once counts for a share of each.
BATCHES = 4
STEPPERS: dict[str, Stepper] = {
    "Markov": Posterior(Markov()),
    "Deterministic": Posterior(Deterministic()),
    "multistep 2": Multistep(),
    "multistep 3": Multistep(order=3),
    "multistep 4": Multistep(order=4),
    "multistep 2, uncorrected": Multistep(corrector=False),
    "noise multistep 2": Multistep(follow=Follow.NOISE),
    "either multistep 2": Multistep(follow=Follow.EITHER),
    "stochastic multistep 2": Multistep(eta=1.0),
    "Heun": Heun(),
    "noise Heun": Heun(follow=Follow.NOISE),
    "stochastic Heun": Heun(eta=1.0),
    "churned Heun": Heun(churn=Churn(10.0)),
    "predictor-corrector": PredictorCorrector(),
}
# Float32 rounding of four matrix products (or FFTs) of up to 256 numbers of size 1, found to be below 5e-6.
TOLERANCE = 2e-5


class Part(Enum):
    """Parts of the benchmark."""

    TRANSFORMS = "transforms"
    PAIRS = "pairs"
    STEP = "step"
    SAMPLER = "sampler"


@dataclass(frozen=True)
class Settings:
    """The command line.

    Attributes:
        only: measure this part alone.
        seconds: time spent on each row of numbers; more of it makes medians steadier.
        threads: threads that torch computes with; its own choice if not given.
        json: write all numbers to this file.
    """

    only: Part | None = None
    seconds: float = 4.0
    threads: int | None = None
    json: Path | None = None


def transforms(seconds: float) -> dict[str, object]:
    """Time the transform pair of a batch of 128 colour images of each size."""
    cases: dict[str, dict[str, dict[str, float]]] = {}
    for size in (8, 16, 32, 64, 128, 256):
        x = torch.rand(128, 3, size, size)
        basis = CosineBasis((3, size, size))
        c = cosines(size).float()
        _agree(f"transform of size {size}", [basis.forward(x), c @ x @ c.mT, torch_dct.dct_2d(x, norm="ortho")])
        contenders = {
            "unmelt": partial(_there_and_back, basis, x),
            "two matrix products": partial(_products_there_and_back, c, x),
            "torch-dct": partial(_fft_there_and_back, x),
        }
        _agree(f"round trip of size {size}", [x, *(call() for call in contenders.values())])
        cases[f"N = {size}"] = summary(take_turns(contenders, seconds=seconds))
    print_table("cosine transform and inverse of (128, 3, N, N), float32: ms (ratio to best)", cases, scale=1e3)
    return {"cases": cases}


def _there_and_back(basis: CosineBasis, x: Tensor) -> Tensor:
    return basis.inverse(basis.forward(x))


def _products_there_and_back(c: Tensor, x: Tensor) -> Tensor:
    return c.mT @ (c @ x @ c.mT) @ c


def _fft_there_and_back(x: Tensor) -> Tensor:
    return torch_dct.idct_2d(torch_dct.dct_2d(x, norm="ortho"), norm="ortho")


def pairs(seconds: float) -> dict[str, object]:
    """Time the blurred pair of a training step at two sizes, every example at a level of its own."""
    cases: dict[str, dict[str, dict[str, float]]] = {}
    verdicts: dict[str, object] = {}
    for batch, size, levels, widest in ((128, 32, 200, 24.0), (32, 128, 400, 64.0)):
        process = HeatDissipation((3, size, size), levels=levels, blur_sigma_min=0.5, blur_sigma_max=widest)
        by_hand = HandWrittenBlurs(size, levels=levels, blur_sigma_min=0.5, blur_sigma_max=widest)
        x, level = torch.rand(batch, 3, size, size), torch.randint(1, levels + 1, (batch,))
        t, s = level.double() / levels, (level - 1).double() / levels
        contenders: dict[str, Callable[[], tuple[Tensor, ...]]] = {
            "unmelt": partial(process.degrade, x, t, s),
            "FFT, float64 (as released)": partial(by_hand.released, x, level),
            "FFT, float32": partial(by_hand.released_single, x, level),
            "products, stacked inverse, exp": partial(by_hand.stacked, x, level),
            "products, stacked inverse, table": partial(by_hand.stacked_table, x, level),
            "separable, table, broadcast": partial(by_hand.separable, x, level),
            "separable, table, batched": partial(by_hand.separable_batched, x, level),
        }
        results = [call() for call in contenders.values()]
        for i, name in enumerate(("A_t x", "A_s x")):
            _agree(f"{name} of size {size}", [result[i] for result in results])
        # Twice as long as other cases: most of it goes to the two slow forms.
        cases[f"({batch}, 3, {size}, {size})"] = summary(take_turns(contenders, seconds=2 * seconds))
    print_table("training pair (A_t x, A_s x), a level per example: ms (ratio to best)", cases, scale=1e3)
    for case, numbers in cases.items():
        best = min(n["median_s"] for name, n in numbers.items() if name != "unmelt")
        ratio = numbers["unmelt"]["median_s"] / best
        verdicts[case] = verdict(f"unmelt to the best hand-written form at {case}", ratio, LARGEST_PAIR_RATIO)
    return {"cases": cases, "verdicts": verdicts}


class _TrainingStep:
    """A training step as unmelt's trainer takes it, and its network alone.

    Attributes:
        clocked: for each whole step the seconds of process and loss (up to the network, and from it to the loss), of
            clipping, Adam and moving average, and of all of it. The loss's share of the backward pass, three
            elementwise operations on one batch of images, counts as the network's.
    """

    def __init__(self, batch: int, shape: tuple[int, ...]) -> None:
        levels = 200
        process = HeatDissipation(shape, levels=levels)
        prediction = PredictPreviousLevel()
        self.x = torch.rand(batch, *shape)
        self.network = UNet(shape, channels=32)
        self.denoiser = Denoiser(self.network, process, prediction=prediction).train()
        self.loss = DenoisingLoss(self.denoiser)
        self.optimizer = torch.optim.AdamW(self.denoiser.parameters(), lr=2e-4, weight_decay=0.0, fused=True)
        self.ema = EMA(self.denoiser)
        # What the network alone is given: one latent and target of the process.
        self.t = torch.randint(1, levels + 1, (batch,)) / levels
        self.z_t, self.target = prediction.training_pair(process.at(self.t), self.x, torch.randn_like(self.x))
        self.clocked: list[tuple[float, float, float]] = []
        self._entered = self._left = 0.0
        self.network.register_forward_pre_hook(self._enter)
        self.network.register_forward_hook(self._leave)

    def network_alone(self) -> None:
        """Forward, squared error, backward: what no training code can do without."""
        error = self.target - self.network(self.z_t, self.t, None)
        error.square().flatten(1).sum(1).mean().backward()
        self.network.zero_grad()

    def with_loss(self) -> None:
        """Times, noise, degradation, network, loss, backward."""
        self.loss(self.x).mean().backward()
        self.network.zero_grad()

    def whole(self) -> None:
        """All that the trainer does with a batch: the loss and its backward pass, clipping, Adam, moving average."""
        started = time.perf_counter()
        loss = self.loss(self.x).mean()
        to_loss = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.denoiser)
        ended = time.perf_counter()
        self.clocked.append((self._entered - started + to_loss - self._left, ended - backward, ended - started))

    def _enter(self, *_: object) -> None:
        self._entered = time.perf_counter()

    def _leave(self, *_: object) -> None:
        self._left = time.perf_counter()


def step(seconds: float) -> dict[str, object]:
    """Time a training step, and what of it lies outside the network, in two ways."""
    training = _TrainingStep(8, (3, 32, 32))
    contenders = {
        "network alone": training.network_alone,
        "network, process and loss": training.with_loss,
        "whole step": training.whole,
    }
    # Five times as long as other cases, because a difference of large numbers needs many of them.
    times = take_turns(contenders, seconds=5 * seconds)
    millions = sum(p.numel() for p in training.network.parameters()) / 1e6
    case = {"batch 8": summary(times)}
    title = f"training step, U-Net of {millions:.2f} M parameters at (8, 3, 32, 32): ms"
    print_table(title, case, scale=1e3, ratios=False)

    whole = statistics.median(times["whole step"])

    def log_ratio(name: str) -> float:
        """Return the median over rounds of what this takes more than the network in the same round."""
        pairs = zip(times[name], times["network alone"], strict=True)
        return statistics.median(more - less for more, less in pairs) / whole

    process = statistics.median(before / total for before, _, total in training.clocked)
    everything = statistics.median((before + after) / total for before, after, total in training.clocked)
    shares = {
        "process and loss": {"difference": log_ratio("network, process and loss"), "clocked": process},
        "all outside the network": {"difference": log_ratio("whole step"), "clocked": everything},
    }
    print("\nshare of the whole step")
    rows = [["", "less the network alone", "clocked inside the step"]]
    rows += [[name, f"{share['difference']:.1%}", f"{share['clocked']:.1%}"] for name, share in shares.items()]
    print_rows(rows)
    print("  process and loss: times, noise, degradation, squared error; all: these with clipping, Adam and EMA.")
    print("  The first column is a small difference of large numbers and noisy; aims are held against the second.")
    verdicts = {name: verdict(name, share["clocked"], LARGEST_SHARE, form=".1%") for name, share in shares.items()}
    return {"parameters_millions": millions, "cases": case, "shares": shares, "verdicts": verdicts}


class _Bounded(nn.Module):
    """A network that does next to nothing, and whose outputs stay bounded, as a network's do."""

    def forward(self, z: Tensor, t: Tensor, condition: object = None) -> Tensor:
        return z.clamp(-1.0, 1.0)


def _bare_loop(z: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        z = (0.9 * z).add_(torch.randn_like(z), alpha=0.1)
    return z


def _samplers(steps: int, shape: tuple[int, ...]) -> dict[str, tuple[Denoiser, Stepper, Prior | None]]:
    """Return what to sample with: every stepper of fixed steps on three processes, and two papers' own samplers."""
    heat, isotropic, blurring = (
        HeatDissipation(shape, levels=steps),
        IsotropicDiffusion(shape),
        BlurringDiffusion(shape),
    )
    prior = DegradedDataPrior.fit(heat, torch.rand(64, *shape))
    denoisers = {
        "heat, x": (Denoiser(_Bounded(), heat, prediction=PredictX()), prior),
        "blurring, epsilon": (Denoiser(_Bounded(), blurring, prediction=PredictEpsilon()), None),
        "isotropic, epsilon": (Denoiser(_Bounded(), isotropic, prediction=PredictEpsilon()), None),
    }
    found: dict[str, tuple[Denoiser, Stepper, Prior | None]] = {
        f"{process}, {name}": (denoiser, stepper, prior)
        for process, (denoiser, prior) in denoisers.items()
        for name, stepper in STEPPERS.items()
        if not (denoiser.process is heat and getattr(stepper, "follow", None) is Follow.NOISE)
    }
    previous = Denoiser(_Bounded(), heat, prediction=PredictPreviousLevel())
    return found | {"IHDM's own": (previous, Posterior(Independent(), MarginalStd(times_sigma=1.25)), prior)}


def samplers(seconds: float) -> dict[str, object]:
    """Time 100 steps of each sampler around a network that does next to nothing, and count its transforms."""
    shape, count, steps = (3, 32, 32), 8, 100
    contenders: dict[str, Callable[[], object]] = {}
    transforms: dict[str, float] = {}
    calls: dict[str, int] = {}
    for name, (denoiser, stepper, prior) in _samplers(steps, shape).items():
        sampler = Sampler(denoiser, stepper, UniformGrid(steps), prior)
        transforms[name], calls[name] = _counted(sampler, count)
        contenders[name] = partial(sampler.sample, BATCHES * count, batch_size=count)
    contenders["bare loop"] = partial(_bare_loop, torch.randn(count, *shape), steps)
    times = take_turns(contenders, seconds=4 * seconds)
    medians = {name: statistics.median(values) * 1e6 for name, values in times.items()}
    rows = [["", "us per call", "transforms per call"]]
    for name, number in transforms.items():
        rows.append([name, f"{medians[name] / calls[name] / BATCHES:.0f}", f"{number:.2f}"])
    rows.append(["bare loop", f"{medians['bare loop'] / steps:.0f}", ""])
    print(f"\nsampler around a network that does nothing, {BATCHES} batches of {count} of {shape}, {steps} steps")
    print_rows(rows)
    print("  The coefficients of steps, made once for a run's batches, are timed with them.")
    slowest = max(transforms, key=lambda name: medians[name] / calls[name])
    return {
        "us per run": summary(times),
        "calls": calls,
        "transforms per call": transforms,
        "verdicts": {
            "slowest": verdict(
                f"slowest ({slowest}), us per call",
                medians[slowest] / calls[slowest] / BATCHES,
                LARGEST_STEP,
                form=".0f",
            )
        },
    }


def _counted(sampler: Sampler, count: int) -> tuple[float, int]:
    """Return how many transforms, there and back, a run takes per call of the network, and how many calls it has."""
    done: list[str] = []

    def count_calls(name: str) -> None:
        transform = getattr(basis, name)

        def counted(signals: Tensor) -> Tensor:
            done.append(name)
            return transform(signals)

        setattr(basis, name, counted)

    basis = sampler.process.basis
    names = ("analyse", "synthesise")
    for name in names:
        count_calls(name)
    calls = sampler.run(count, keep_path=False).stats.calls
    for name in names:
        # The class's own again.
        delattr(basis, name)
    return len(done) / calls, calls


def _agree(what: str, results: list[Tensor]) -> None:
    """Check that results are the same number for number, up to rounding.

    Raises:
        AssertionError: they are not; what would be timed is not the same work.
    """
    worst = max((result.double() - results[0].double()).abs().max().item() for result in results[1:])
    largest = results[0].abs().max().item()
    assert worst <= TOLERANCE * max(1.0, largest), f"{what}: contenders differ by {worst:.3g}"


def main(settings: Settings) -> None:
    """Measure and print what is asked for."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    facts = machine(torch.device("cpu"))
    print_machine(facts)
    parts = {Part.TRANSFORMS: transforms, Part.PAIRS: pairs, Part.STEP: step, Part.SAMPLER: samplers}
    chosen = list(Part) if settings.only is None else [settings.only]
    numbers: dict[str, object] = {"machine": facts}
    for part in chosen:
        numbers[part.value] = parts[part](settings.seconds)
    if settings.json is not None:
        write_json(settings.json, numbers)


if __name__ == "__main__":
    main(cli(Settings(), __doc__))
