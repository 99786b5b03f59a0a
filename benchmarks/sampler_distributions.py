r"""The exact distribution of a sampler's samples for Gaussian data, without drawing any.

Let the data be u ~ N(m, v), independent per coefficient. The exact denoiser is then affine, so that a sampler with a
fixed grid is affine in the first latent and in the white noise of its steps, coefficient by coefficient:

    u_0 = c + g_1 (u_1 - E u_1) + sum_i h_i epsilon_i.

Run on the mean plus and minus a standard deviation of the first latent it gives c and g_1; run on the mean with a unit
impulse in the noise of draw i alone it gives h_i. Mean and standard deviation of the samples follow exactly, and with
them the 2-Wasserstein distance to a Gaussian target of mean m' and standard deviation s', both diagonal:

    W2^2 = sum_k (mean_k - m'_k)^2 + (std_k - s'_k)^2.

What is reported is W2 divided by the root of the data's total variance.

Everything happens in coefficients: a process is taken along its own basis, where it is the same numbers without
transforms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from unmelt.degradations import Level, LinearGaussianProcess, PixelBasis
from unmelt.models import GaussianOracle, Oracle
from unmelt.samplers import (
    BalancedGrid,
    KarrasGrid,
    LogSNRGrid,
    Noise,
    NonFiniteStateError,
    Sampler,
    UniformGrid,
)
from unmelt.samplers.spectral import Draw

# Rows of a batch before those of the noise: the first latent one standard deviation above and below its mean.
_ENDS = 2
# Log-SNRs that grids are made within, where the processes go further.
# How far from an end without signal or noise runs stay that keep away from it, as azula's do.
_AWAY = 1e-3
_BAND = (-10.0, 10.0)


class InCoefficients(LinearGaussianProcess):
    """A process whose signals are another one's spectra.

    Args:
        process: the other one.
    """

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__(PixelBasis(process.shape))
        self.inner = process
        self.levels = process.levels

    def log_alpha(self, t: Any) -> Tensor:
        """See `LinearGaussianProcess.log_alpha`."""
        return self.inner.log_alpha(t)

    def log_sigma(self, t: Any) -> Tensor:
        """See `LinearGaussianProcess.log_sigma`."""
        return self.inner.log_sigma(t)


class Distribution(NamedTuple):
    """A Gaussian with independent coefficients."""

    mean: Tensor
    stddev: Tensor


@dataclass(frozen=True)
class Case:
    """A process, an exact denoiser, and a name.

    Attributes:
        name: of the process.
        oracle: the exact denoiser.
        isotropic: whether signal and noise have one scale each, as other libraries know them.
    """

    name: str
    oracle: Oracle
    isotropic: bool
    _grids: dict[tuple[str, int, float, float], Tensor] = field(
        default_factory=dict[tuple[str, int, float, float], Tensor]
    )

    @property
    def process(self) -> LinearGaussianProcess:
        """The oracle's process."""
        return self.oracle.process

    def at(self, t: float) -> Level:
        """Return the process at a time."""
        return self.process.at(torch.tensor([t], dtype=torch.float64))

    def grid(self, name: str, steps: int, *, start: float = 1.0, stop: float = 0.0) -> Tensor:
        """Return the grid of that name."""
        key = (name, steps, start, stop)
        if key not in self._grids:
            self._grids[key] = GRIDS[name](self.process, steps, start, stop)
        return self._grids[key]

    def away(self) -> tuple[float, float]:
        """Return where runs start and stop that keep away from ends without signal or noise."""
        start, end = self.at(1.0), self.at(0.0)
        lost, silent = bool(start.log_alpha.isinf().any()), bool(end.log_sigma.isinf().any())
        return 1 - _AWAY if lost else 1.0, _AWAY if silent else 0.0


Grid = Callable[[LinearGaussianProcess, int, float, float], Tensor]


def _levels_then_zero(process: LinearGaussianProcess, steps: int, start: float, stop: float) -> Tensor:
    """Return noise levels in Karras' spacing down to the log-SNR 10, then zero, as EDM has them."""
    if (start, stop) != (1.0, 0.0):
        msg = "this grid ends in zero"
        raise ValueError(msg)
    if steps < 2:  # one step has no inner times
        return UniformGrid(steps).times(process)
    log_snr = process.at(torch.linspace(0, 1, 10001, dtype=torch.float64))
    mean = 2 * (log_snr.log_alpha - log_snr.log_sigma).clamp(-1e3, 1e3).flatten(1).mean(1)
    noisy = (mean <= _BAND[1]).nonzero()
    least = noisy[0].item() / 10000 if len(noisy) else 0.0
    if least in (0.0, 1.0):
        msg = "there is no noise level below the log-SNR 10"
        raise ValueError(msg)
    return torch.cat(
        [KarrasGrid(steps - 1, band=_BAND).times(process, stop=least), torch.zeros(1, dtype=torch.float64)]
    )


GRIDS: dict[str, Grid] = {
    "uniform": lambda p, n, start, stop: UniformGrid(n).times(p, start=start, stop=stop),
    "log-SNR": lambda p, n, start, stop: LogSNRGrid(n).times(p, start=start, stop=stop),
    "log-SNR within 10": lambda p, n, start, stop: LogSNRGrid(n, band=_BAND).times(p, start=start, stop=stop),
    "balanced": lambda p, n, start, stop: BalancedGrid(n).times(p, start=start, stop=stop),
    "Karras": lambda p, n, start, stop: KarrasGrid(n).times(p, start=start, stop=stop),
    "Karras within 10": lambda p, n, start, stop: KarrasGrid(n, band=_BAND).times(p, start=start, stop=stop),
    "Karras, then 0": _levels_then_zero,
}


class Attempt(Protocol):
    """A sampler with its grid, ready to run."""

    @property
    def start(self) -> Level:
        """Coefficients of the first latent."""
        ...

    @property
    def end(self) -> Level:
        """Those of the latent that a run ends in, or whose estimate it returns in the limit of many steps."""
        ...

    @property
    def estimates(self) -> bool:
        """Whether an estimate of the data is returned, not a latent."""
        ...

    @property
    def calls(self) -> int:
        """Network calls that the latest run took."""
        ...

    def run(self, initial: Tensor, noise: Noise) -> Tensor:
        """Return samples, with the white noise of all steps taken from `noise`."""
        ...


class OurAttempt:
    """One of unmelt's samplers.

    Args:
        case: process and denoiser.
        sampler: the sampler.
        ends: times to start and to stop at, of the sampler's grid.
    """

    def __init__(self, case: Case, sampler: Sampler, *, ends: tuple[float, float] = (1.0, 0.0)) -> None:
        self.sampler, self.ends = sampler, ends
        self.start, self.end = (case.at(time) for time in ends)
        self.estimates = sampler.denoise_last and ends[1] == 0
        self.calls = 0

    def run(self, initial: Tensor, noise: Noise) -> Tensor:
        """See `Attempt.run`."""
        start, stop = self.ends
        try:
            found = self.sampler.run(
                len(initial), initial=initial, noise=noise, start=start, stop=stop, keep_path=False
            )
        except NonFiniteStateError as error:
            self.calls = error.partial.stats.calls
            raise
        self.calls = found.stats.calls
        return found.samples


class Injected(TorchFunctionMode):
    """Has torch's white noise come from a `Noise` while code runs that draws it itself.

    Args:
        noise: where it comes from.
        like: a batch, for its shape and dtype.
    """

    def __init__(self, noise: Noise, like: Tensor) -> None:
        super().__init__()
        self.draw, self.like = noise.stream(slice(0, len(like))), like

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace the functions that draw normal numbers."""
        if func in (torch.randn, torch.randn_like):
            return self.draw(self.like)
        return func(*args, **(kwargs or {}))


class _Impulses(Noise):
    """Noise that is zero but for a one in draw i of row 2 + i."""

    def __init__(self) -> None:
        self.drawn = 0

    def stream(self, rows: slice) -> Draw:
        """See `Noise.stream`."""

        def draw(like: Tensor) -> Tensor:
            noise = torch.zeros_like(like)
            noise[_ENDS + self.drawn : _ENDS + self.drawn + 1] = 1
            self.drawn += 1
            return noise

        return draw


class Score(NamedTuple):
    """What came of an attempt: its error, network calls, and where there are digits the share that is one."""

    error: float
    calls: int
    near: float = math.nan


def error_of_distribution(case: Case, attempt: Attempt) -> Score:
    """Return the relative distance of an attempt's samples to their target; infinite where the sampler fails.

    The target of a run that ends in a latent is that latent's distribution; of one that ends in an estimate, the
    distribution of E[x | z] for the latent z of least noise that the sampler knows: the data's own where that has none.
    """
    oracle = case.oracle
    assert isinstance(oracle, GaussianOracle)
    mean, variance = oracle.mean, oracle.variance
    first = latents(mean, variance, attempt.start)
    target = (distribution_of_estimates if attempt.estimates else latents)(mean, variance, attempt.end)
    try:
        distribution = distribution_of_samples(attempt, first)
    except NonFiniteStateError:
        return Score(math.inf, attempt.calls)
    total = (distribution.mean - target.mean).square() + (distribution.stddev - target.stddev).square()
    error = (total.mean() / variance.mean()).sqrt().item()
    return Score(error if math.isfinite(error) else math.inf, attempt.calls)


def distribution_of_samples(attempt: Attempt, first: Distribution) -> Distribution:
    """Return the distribution of an attempt's samples for that of its first latents, by unit impulses."""
    ends = torch.stack([first.mean + first.stddev, first.mean - first.stddev])
    impulses = _Impulses()
    out = attempt.run(ends, impulses)
    mean, gain = (out[0] + out[1]) / 2, (out[0] - out[1]) / 2
    variance = gain.square()
    if impulses.drawn:
        rows = first.mean.expand(impulses.drawn, *first.mean.shape)
        out = attempt.run(torch.cat([ends, rows]), _Impulses())
        variance = variance + (out[_ENDS:] - mean).square().sum(0)
    return Distribution(mean, variance.sqrt())


def latents(mean: Tensor, variance: Tensor, at: Level) -> Distribution:
    """Return the distribution of z for its coefficients."""
    alpha, sigma = (value.double().reshape(value.shape[1:]) for value in (at.alpha, at.sigma))
    return Distribution(alpha * mean, (alpha.square() * variance + sigma.square()).sqrt())


def distribution_of_estimates(mean: Tensor, variance: Tensor, at: Level) -> Distribution:
    """Return the distribution of E[x | z] for the coefficients of z."""
    alpha, sigma = (value.double().reshape(value.shape[1:]) for value in (at.alpha, at.sigma))
    # A coefficient without signal or variance has the mean for its estimate.
    total = (alpha.square() * variance + sigma.square()).sqrt()
    return Distribution(mean, torch.where(total > 0, alpha * variance / total, 0.0))


def energy_distance(samples: Tensor, data: Tensor) -> float:
    """Return 2 E|X - Y| - E|X - X'| - E|Y - Y'| of samples X, without bias, and Y uniform on the rows of `data`.

    Being unbiased it may fall below 0 where the two distributions are close.
    """
    x, y = samples.double().flatten(1), data.double().flatten(1)
    n = len(x)
    within = torch.cdist(x, x).sum() / (n * (n - 1))
    return (2 * torch.cdist(x, y).mean() - within - torch.cdist(y, y).mean()).item()


def distance_to_nearest(samples: Tensor, data: Tensor) -> Tensor:
    """Return each sample's distance to the nearest row of `data`, (samples,)."""
    return torch.cdist(samples.double().flatten(1), data.double().flatten(1)).min(1).values
