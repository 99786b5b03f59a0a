"""Run by test_stand_in.py: everything on a device that is the CPU in disguise, with the CPU's numbers, and no waiting.

    python on_stand_in.py processes            # one part; `--single` on a device without float64

Both sides compute with the same kernels, so that numbers are equal to the last bit, not nearly.
"""

from __future__ import annotations

import copy
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from every_part import COUPLINGS, LOSSES, STEPPERS
from stand_in import DEVICE, NAME, Read, plain, refuse_float64, watched
from torch import nn

# Helpers of the tests, one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from zoo import EVERY_PROCESS, KNOWN_ENDS

import unmelt.core.precision
from unmelt.degradations import (
    BlurringDiffusion,
    HeatBridge,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    Markov,
    PowerBlur,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictScore,
    PredictV,
    PredictX,
    ResidualShift,
)
from unmelt.losses import (
    ELBO,
    DenoisingLoss,
)
from unmelt.models import EMA, DegradedDataPrior, Denoiser, DiT, KnownEndPrior, PatchTransformer, UNet
from unmelt.samplers import Sampler, UniformGrid

SHAPE = (1, 8, 8)
Case = Callable[[], None]


def on(device, make):
    """Return what `make` makes, moved, with torch's default generator where it was."""
    torch.manual_seed(0)
    return make().to(device)


def images(device, shape=SHAPE, count=4):
    # float32, moved as a user's data are.
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)).to(device)


def equal(found, expected, what):
    found, expected = plain(found), plain(expected)
    same = (found == expected) | (found.isnan() & expected.isnan())
    if found.dtype != expected.dtype or found.shape != expected.shape or not bool(same.all()):
        worst = (found - expected).abs().max().item()
        msg = f"{what} is another on the device: {found.dtype} {tuple(found.shape)}, off by up to {worst:.3g}"
        raise AssertionError(msg)


def never_waited(reads: list[Read], what):
    if reads:
        lines = "\n    ".join(sorted({f"{read.what} at {read.where}" for read in reads}))
        msg = f"{what} waits for the device {len(reads)} times:\n    {lines}"
        raise AssertionError(msg)


# ---- processes ----------------------------------------------------------------------------------------------------


def asked(process, device):
    """Yield what a process is asked for, by name."""
    process = copy.deepcopy(process).to(device)
    x, z = images(device, process.shape, 3), images(device, process.shape, 3).flip(0)
    known = {"given": x.flip(-1)} if process.known_end else {}
    t, s = torch.tensor([0.3, 0.5, 1.0], dtype=torch.float32).to(device), 0.25
    torch.manual_seed(0)
    yield "marginal", process.marginal(x, t, **known).sample()
    yield "transition", process.transition(z, s, t, **known).sample()
    for coupling in COUPLINGS:
        yield f"posterior by {coupling}", process.posterior(z, x, s, t, coupling, **known).sample()
    yield "path", process.sample_path(x, [0.0, 0.4, 1.0], **known)
    yield "degraded", process.degrade(x, t, s, **known)[0]
    yield "corrupted", process.corrupt(x, z, t, **known)
    noisy = bool((plain(process.at(0.5).log_sigma) > -torch.inf).all())
    if noisy:
        yield "density", process.marginal(x, 0.5, **known).log_prob(z)
        yield "divergence", process.marginal(x, 0.5, **known).kl_divergence(process.marginal(z, 0.5, **known))
        yield "score", process.score(z, x, 0.5, **known)
    for prediction in (PredictX(), PredictEpsilon(), PredictV(), PredictScore()):
        latent, output = prediction.conversion(process.at(s))
        yield f"share of the latent in {prediction}", latent
        yield f"share of the output in {prediction}", output
    for rate in ("drift", "log_snr_rate", "diffusion"):
        yield rate, getattr(process, rate)(t)


def processes() -> Iterator[tuple[str, Case]]:
    """Every family's distributions."""
    for name, process in {**EVERY_PROCESS, **KNOWN_ENDS}.items():

        def case(process=process):
            theirs = dict(asked(process, torch.device("cpu")))
            for what, number in asked(process, DEVICE):
                assert number.device.type == NAME, f"{what} is on {number.device}"
                equal(number, theirs[what], what)

        yield name, case
    yield "limits of rates", limits_at_once


class Counted(IsotropicDiffusion):
    """Counts how often it is asked."""

    calls = 0

    def log_alpha(self, t):
        self.calls += 1
        return super().log_alpha(t)


def limits_at_once():
    """What is not looked at is asked for with the limits that might be wanted, and theirs, in one call."""
    process = on(DEVICE, lambda: Counted(SHAPE))
    process.log_snr_rate(torch.tensor([0.3, 0.5]).to(DEVICE))
    assert process.calls == 1, f"log_snr_rate asks for log_alpha {process.calls} times"


# ---- training -----------------------------------------------------------------------------------------------------

NETWORKS = {
    "U-Net": lambda: UNet(SHAPE, channels=8, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.1),
    "small U-Net": lambda: UNet(SHAPE, channels=8, multipliers=(1,), blocks=1, attention_levels=()),
    "DiT": lambda: DiT(SHAPE, patch=4, width=16, depth=2, heads=2),
    "patch transformer": lambda: PatchTransformer(SHAPE, patch=4, width=16, depth=2, heads=2),
}
PROCESSES = {
    "heat": (lambda: HeatDissipation(SHAPE, levels=10), [PredictX(), PredictPreviousLevel()]),
    "isotropic": (lambda: IsotropicDiffusion(SHAPE), [PredictX(), PredictEpsilon(), PredictV(), PredictScore()]),
    "blurring": (lambda: BlurringDiffusion(SHAPE), [PredictEpsilon()]),
    "heat bridge": (lambda: HeatBridge(SHAPE, blur=PowerBlur(2.0)), [PredictX()]),
    "residual shift": (lambda: ResidualShift(SHAPE), [PredictX()]),
}


def steps(device, make, prediction, settings, network):
    """Take three training steps; return losses, weights and average, and what the last one waited for."""
    process = on(device, make)
    denoiser = Denoiser(on(device, network), process, prediction=prediction)
    loss = DenoisingLoss(denoiser, **settings()).to(device)
    # Fused sums of all parameters at once round otherwise, and are torch's choice on all devices but a CPU.
    optimizer = torch.optim.AdamW(loss.parameters(), lr=1e-3, foreach=False)
    average = EMA(denoiser, 0.9)
    x = images(device)
    known = {"given": x.flip(-1)} if process.known_end else {}
    losses, waits = [], list[Read]()
    torch.manual_seed(0)
    for _ in range(3):
        with watched() as seen:
            value = loss(x, **known).mean()
            value.backward()
            nn.utils.clip_grad_norm_(loss.parameters(), 1.0, foreach=False)
            optimizer.step()
            optimizer.zero_grad()
            average.update(denoiser)
        losses.append(value.detach())
        waits = seen
    weights = torch.cat([p.detach().flatten() for p in denoiser.parameters()])
    averaged = torch.cat([p.detach().flatten() for p in average.model.parameters()])
    return torch.stack(losses), weights, averaged, waits


def training() -> Iterator[tuple[str, Case]]:
    """Training steps of every prediction, weighting, distribution of times and network."""

    def case(make, prediction, settings, network):
        *theirs, _ = steps(torch.device("cpu"), make, prediction, settings, network)
        *ours, reads = steps(DEVICE, make, prediction, settings, network)
        equal(ours[0][:1], theirs[0][:1], "the first loss")
        # Backward, a device of its own adds the parts of a gradient up in another order, and Adam divides each by its
        # size: a few hundred roundings of 6e-8 of a step of 1e-3, where a wrong step would be off by all of it.
        for what, a, b in zip(("losses", "weights", "average"), ours, theirs, strict=True):
            torch.testing.assert_close(plain(a), b, rtol=2e-5, atol=2e-5, msg=lambda text, what=what: f"{what}: {text}")
        never_waited(reads, "a training step")

    for name, (make, predictions) in PROCESSES.items():
        for prediction in predictions:
            yield (
                f"{name}, {prediction}",
                lambda make=make, p=prediction: case(make, p, LOSSES["simple"], NETWORKS["small U-Net"]),
            )
    for name in LOSSES:
        make = PROCESSES["blurring"][0]
        yield name, lambda make=make, n=name: case(make, PredictX(), LOSSES[n], NETWORKS["small U-Net"])
    for name in ("U-Net", "DiT", "patch transformer"):
        network, make = NETWORKS[name], PROCESSES["isotropic"][0]
        yield name, lambda make=make, network=network: case(make, PredictV(), LOSSES["simple"], network)


# ---- samplers -----------------------------------------------------------------------------------------------------


class Soft(nn.Module):
    """A bounded function; at its sixth call it begins the watch, when all tables of coefficients have been made."""

    def __init__(self):
        super().__init__()
        self.calls, self.watch, self.reads = 0, None, []

    def forward(self, z, t, condition=None):
        self.calls += 1
        if self.calls == 6:
            self.watch = watched()
            self.reads = self.watch.__enter__()
        return 0.5 * torch.tanh(z) * (1 - 0.3 * t.to(z.dtype)[:, None, None, None])

    def stop(self):
        if self.watch is not None:
            self.watch.__exit__(None, None, None)
        return self.reads


def drawn(device, make, stepper):
    """Return samples, and what their steps waited for."""
    process = on(device, make)
    network = Soft()
    denoiser = Denoiser(network, process, prediction=PredictX())
    x = images(device)
    known = {"given": x} if process.known_end else {}
    prior = KnownEndPrior(process) if known else DegradedDataPrior.fit(process, x)
    sampler = Sampler(denoiser, stepper, grid=UniformGrid(8), prior=prior)
    torch.manual_seed(0)
    reads = []

    def last(info):
        # What happens after the last step is no step.
        if info.step == info.steps - 2:
            reads.extend(network.stop())

    samples = sampler.sample(4, callback=last, **known)
    if known:
        # What is given may lie on the CPU, as images do that were just read.
        host = {name: plain(tensor) for name, tensor in known.items()}
        initial = plain(sampler.initial_latents(4, **host))
        sampler.sample(4, initial=initial, **host)
    return samples, reads


def samplers() -> Iterator[tuple[str, Case]]:
    """Runs of every stepper."""

    def case(make, stepper):
        theirs, _ = drawn(torch.device("cpu"), make, stepper)
        ours, reads = drawn(DEVICE, make, stepper)
        equal(ours, theirs, "a sample")
        # The look at states is a step late, when the device has the next to work on; on CUDA it never waits.
        never_waited([read for read in reads if "nan_watch.py" not in read.where], "a step")

    for name in ("heat", "isotropic", "blurring", "heat bridge", "residual shift"):
        make = PROCESSES[name][0]
        # All of them on one process; elsewhere one of each kind of table.
        for stepper in STEPPERS if name == "isotropic" else STEPPERS[1:-1:3]:
            # Following the noise divides by what is left of the data, and here of them is nothing.
            if name in {"heat", "heat bridge"} and "NOISE" in repr(stepper):
                continue
            yield f"{name}, {stepper}", lambda make=make, stepper=stepper: case(make, stepper)


# ---- bounds -------------------------------------------------------------------------------------------------------


def bounded(device, make, prior_of, coupling):
    process = on(device, make)
    denoiser = Denoiser(Soft(), process, prediction=PredictX())
    x = images(device)
    known = {"given": x.flip(-1)} if process.known_end else {}
    bound = ELBO(denoiser, prior=prior_of(process, x), coupling=coupling, steps=8, first=1 / 8)
    torch.manual_seed(0)
    return bound(x, **known).total


def bounds() -> Iterator[tuple[str, Case]]:
    """Bounds on the likelihood."""

    def case(make, prior_of, coupling):
        theirs = bounded(torch.device("cpu"), make, prior_of, coupling)
        equal(bounded(DEVICE, make, prior_of, coupling), theirs, "the bound")

    for name in ("heat", "isotropic", "blurring", "heat bridge"):
        make = PROCESSES[name][0]
        known = name == "heat bridge"

        def prior_of(process, x, known=known):
            return KnownEndPrior(process) if known else DegradedDataPrior.fit(process, x)

        for coupling in (Markov(), Independent()):
            yield f"{name}, {coupling}", lambda make=make, p=prior_of, c=coupling: case(make, p, c)


PARTS = {"processes": processes, "training": training, "samplers": samplers, "bounds": bounds}


def main(part: str, *flags: str) -> int:
    """Run the cases of a part; print those that fail, and return how many."""
    failed = tried = 0
    single = "--single" in flags
    if single:
        unmelt.core.precision._WITHOUT_FLOAT64 |= {NAME, "cpu"}
    with refuse_float64() if single else nullcontext():
        for name, case in PARTS[part]():
            tried += 1
            try:
                case()
            except Exception:
                failed += 1
                print(f"{name}: {traceback.format_exc(limit=-4)}")
    print(f"{tried} tried, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
