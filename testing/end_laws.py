"""Laws of processes with a known end: what is `given` moves every distribution by its share, and changes no width."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import LinearGaussianProcess
from .compare import FORMULA, ROUNDING, largest, require_equal
from .law import Example, Violation, law, law_at_once
from .plain import as_time, signals, widen
from .scan import grid
from .schedule_laws import LARGEST_LOGARITHM


def share(process: LinearGaussianProcess, t: float) -> Float[Tensor, "..."]:
    """Return beta_t, (*shape), from `log_beta` alone."""
    time = as_time(process, t)
    return widen(process, process.log_beta(time), time)[0].exp()


def moved(process: LinearGaussianProcess, y: Tensor, t: float) -> Float[Tensor, "batch ..."]:
    """Return V diag(beta_t) V^T y."""
    return process.basis.inverse(share(process, t) * process.basis.forward(y))


@law_at_once(
    "the share of the known end is a number",
    "log_beta is the logarithm of a share that is finite and not negative: minus infinity where z_t has nothing of y, "
    "never NaN or plus infinity. The usual cause is the logarithm of 0 minus the logarithm of 0 at an end.",
)
def numbers(process: LinearGaussianProcess) -> None:
    """log_beta is below plus infinity at all times."""
    times = grid(process)
    t = as_time(process, *times)
    values = widen(process, process.log_beta(t), t).expand(len(times), *process.shape)
    wrong = ~(values < LARGEST_LOGARITHM)
    if bool(wrong.any()):
        time, *index = (int(i) for i in wrong.nonzero()[0])
        msg = f"log_beta(t) is {values[(time, *index)].item():g}"
        raise Violation(msg, times=(times[time],), coefficient=tuple(index))


@law(
    "every example of a batch has its own share of the known end",
    "log_beta((t_1, ..., t_n)) is log_beta(t_1), ..., log_beta(t_n), the same at every call: use self.expand_times(t).",
    times=3,
)
def own_times(process: LinearGaussianProcess, example: Example) -> None:
    """A batch of times gives what each gives alone."""
    times = [example.times[i % 3] for i in range(max(2, example.batch))]
    t = as_time(process, *times)
    together = widen(process, process.log_beta(t), t).exp().expand(len(times), *process.shape)
    for row, time in zip(together, times, strict=True):
        alone, rank = share(process, time), len(process.shape)
        what = f"beta, in a batch of {len(times)} times,"
        require_equal(what, row, alone, rank=rank, relative=FORMULA, absolute=FORMULA, times=(time,))


@law(
    "the known end moves the distributions and changes no width",
    "With `given=y` the mean of marginal, transition and posterior is that of the process without it, of latents less "
    "their share beta_t V^T y, plus the share at the time of the result. Do not override them.",
    times=2,
)
def moves(process: LinearGaussianProcess, example: Example) -> None:
    """Marginal, transition and posterior are those of `centred()`, moved."""
    (s, t), centred, rank = example.pair, process.centred(), len(process.shape)
    x, z, y = (signals(process, example, number) for number in range(3))
    early, late = moved(process, y, s), moved(process, y, t)
    coupling = example.coupling
    for name, actual, expected, share_of_y in (
        ("marginal(x, t, given=y)", process.marginal(x, t, given=y), centred.marginal(x, t), late),
        (
            "transition(z, s, t, given=y)",
            process.transition(z, s, t, given=y),
            centred.transition(z - early, s, t),
            late,
        ),
        (
            "posterior(z, x, s, t, given=y)",
            process.posterior(z, x, s, t, coupling, given=y),
            centred.posterior(z - late, x, s, t, coupling),
            early,
        ),
    ):
        mean = expected.mean + share_of_y
        gain = max(1.0, largest(process.posterior_coefficients(s, t, coupling).latent))
        room = ROUNDING * gain * (largest(mean) + largest(x) + largest(z) + largest(early) + largest(late))
        require_equal(f"the mean of {name}", actual.mean, mean, rank=rank, absolute=room)
        widths = (q.spectral_stddev.expand(len(x), *process.shape) for q in (actual, expected))
        require_equal(f"the width of {name}", *widths, rank=rank, relative=FORMULA, absolute=1e-300)


@law(
    "draws and degraded signals have their share of the known end",
    "corrupt, degrade, sample_path and end_share add V diag(beta_t) V^T y to what they are without it. Do not override "
    "them.",
    times=2,
)
def draws(process: LinearGaussianProcess, example: Example) -> None:
    """The other methods that are given y."""
    (s, t), centred, rank = example.pair, process.centred(), len(process.shape)
    x, noise, y = (signals(process, example, number) for number in range(3))
    seeds = [torch.Generator().manual_seed(example.seed) for _ in range(2)]
    path = process.sample_path(x, [s, t], example.coupling, given=y, generator=seeds[0])
    plain_path = centred.sample_path(x, [s, t], example.coupling, generator=seeds[1])
    early, late = moved(process, y, s), moved(process, y, t)
    for name, actual, expected in (
        ("end_share(y, t)", process.end_share(y, t), late),
        ("corrupt(x, noise, t, given=y)", process.corrupt(x, noise, t, given=y), centred.corrupt(x, noise, t) + late),
        ("degrade(x, t, given=y)", process.degrade(x, t, given=y)[0], centred.degrade(x, t)[0] + late),
        ("sample_path(x, times, given=y), at its first time,", path[0], plain_path[0] + early),
        ("sample_path(x, times, given=y), at its last time,", path[1], plain_path[1] + late),
    ):
        room = ROUNDING * (largest(expected) + largest(x) + largest(noise) + largest(late))
        require_equal(name, actual, expected, rank=rank, absolute=room)


@law_at_once(
    "a known end is asked for",
    "Where y has a share, leaving it out is another distribution: marginal, transition and posterior raise ValueError "
    "without `given`. Call self.check_given(given, len(x)) in a method of yours.",
)
def asked_for(process: LinearGaussianProcess) -> None:
    """Without y nothing is answered."""
    x = signals(process, Example())
    for name, method in (
        ("marginal(x, t)", lambda: process.marginal(x, 0.5)),
        ("transition(z, s, t)", lambda: process.transition(x, 0.3, 0.5)),
        ("posterior(z, x, s, t)", lambda: process.posterior(x, x, 0.3, 0.5)),
        ("corrupt(x, noise, t)", lambda: process.corrupt(x, x, 0.5)),
    ):
        try:
            method()
        except ValueError:
            continue
        msg = f"{name} answers without given=y"
        raise Violation(msg)


LAWS = (numbers, own_times, moves, draws, asked_for)
