r"""The same numbers on a device as on the CPU: every process, prediction, loss and coupling, from one seed.

Both sides draw their random numbers on the CPU from the same generator, so their results differ by rounding alone.
On the CPU itself float32 is compared with float64, fed with the same noise.

How far rounding may carry. Let u = 2^-24 be the unit roundoff of float32, N the longest axis and S the size (root mean
square) of the terms that are added up.

* There and back, a cosine transform sums N products along each of two axes, and a few more operations surround it: a
  number passes at most R = 4 N + 8 roundings, R = 8 where there is no transform. They are as good as independent and
  add up like a random walk (Higham & Mary, 2019), to a standard deviation of at most r = u sqrt(R) S.
* A loss is compared as the root-mean-square error of each example, sqrt(loss / n). A norm changes by no more than its
  argument does, and the norm of many rounding errors is their standard deviation: the tolerance is r, with S the sizes
  of target and output together, times the weighting's gain (1 where the network's own error is asked for).
* A term of the bound is compared in the same way, level by level, as the root of its mean over coefficients.
* A sampler makes a new error at each of its T steps and carries the older ones along. The denoiser here is the exact
  one of white Gaussian data of variance c, so a run is linear, and from z_t to its end no coefficient grows more than
  sqrt(c / v_t), v_t = alpha_t^2 c + sigma_t^2, under any coupling. With G the largest of these factors, 1 included, the
  errors have a standard deviation of at most G sqrt(T) r. No error in a million is six times that: the tolerance.

Each side that computes in float32 counts once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from unmelt.degradations import (
    BlurringDiffusion,
    CosineBasis,
    Coupling,
    Deterministic,
    Eta,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    Level,
    LinearGaussianProcess,
    LinearSchedule,
    Markov,
    PredictEpsilon,
    Prediction,
    PredictPreviousLevel,
    PredictScore,
    PredictV,
    PredictX,
    Step,
)
from unmelt.losses import (
    ELBO,
    BoundWeighting,
    DenoisingLoss,
    SimpleWeighting,
    Weighting,
)
from unmelt.losses.likelihood.terms import step_term
from unmelt.models import AbstractDenoiser, DegradedDataPrior, PosteriorStd
from unmelt.samplers import Posterior, Sampler, UniformGrid

_UNIT_ROUNDOFF = 2.0**-24
_DEVIATIONS = 6
_COUPLINGS: dict[str, Coupling] = {
    "Markov": Markov(),
    "Deterministic": Deterministic(),
    "Independent": Independent(),
    "Eta(0.5)": Eta(0.5),
}


class Check(NamedTuple):
    """One comparison.

    Attributes:
        process: name of the process.
        prediction: name of the prediction.
        quantity: what was compared: a loss, or samples under a coupling.
        difference: largest absolute difference of any number.
        tolerance: what rounding may do.
    """

    process: str
    prediction: str
    quantity: str
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Tell whether the difference is within the tolerance; NaN is not."""
        return self.difference <= self.tolerance


class Side(NamedTuple):
    """Where one side of a comparison computes, and in what precision."""

    device: torch.device
    dtype: torch.dtype


class Measured(NamedTuple):
    """One side's numbers, and the tolerance for computing them in float32."""

    numbers: Tensor
    tolerance: float


def compare(device: torch.device, *, size: int, batch: int, steps: int) -> list[Check]:
    """Return all comparisons of `device` with the CPU, or of float32 with float64 if it is the CPU.

    Args:
        device: where float32 is put to the test.
        size: height and width of the images.
        batch: examples in every comparison.
        steps: sampler steps.
    """
    tested = Side(device, torch.float32)
    reference = Side(torch.device("cpu"), torch.float64 if device.type == "cpu" else torch.float32)
    single_sides = 1 if reference.dtype == torch.float64 else 2
    checks: list[Check] = []
    for name, build in _processes((3, size, size)).items():
        for prediction in _predictions(build(), steps):
            theirs = _Subject(reference, build(), prediction, batch).results(steps)
            ours = _Subject(tested, build(), prediction, batch).results(steps)
            for quantity, (numbers, tolerance) in theirs.items():
                difference = (ours[quantity].numbers - numbers).abs().max().item()
                checks.append(Check(name, type(prediction).__name__, quantity, difference, single_sides * tolerance))
    return checks


class GaussianDenoiser(AbstractDenoiser):
    """The exact denoiser of white Gaussian data, asked for any prediction.

    Args:
        process: the forward process.
        prediction: what it predicts.
        variance: the data's variance.
    """

    def __init__(self, process: LinearGaussianProcess, prediction: Prediction, variance: float) -> None:
        super().__init__(process)
        self.prediction, self.variance = prediction, variance

    def forward(self, z_t: Tensor, t: Any, condition: Any = None, given: Any = None) -> Tensor:
        return self._estimates(z_t, self.process.at(t))[0]

    def output(self, z_t: Tensor, t: Tensor, condition: Any = None, given: Any = None) -> Tensor:
        """Return the prediction's target at the estimates of data and noise, which it is linear in."""
        at = self.process.at(t)
        return self.prediction.target(at, *self._estimates(z_t, at))

    def _estimates(self, z_t: Tensor, at: Level) -> tuple[Tensor, Tensor]:
        """Return E[x | z_t] and E[epsilon | z_t]."""
        total = at.alpha.square() * self.variance + at.sigma.square()
        basis = self.process.basis
        return basis.combine((z_t, at.alpha * self.variance / total)), basis.combine((z_t, at.sigma / total))


class _Echo(AbstractDenoiser):
    """Puts out its input, whatever is asked for: a loss then depends on latent and target alone."""

    def __init__(self, process: LinearGaussianProcess, prediction: Prediction) -> None:
        super().__init__(process)
        self.prediction = prediction

    def forward(self, z_t: Tensor, t: Any, condition: Any = None, given: Any = None) -> Tensor:
        return z_t


class SingleNoise(TorchFunctionMode):
    """Has normal numbers drawn in float32 whatever is asked for: a float64 run then meets a float32 run's noise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is not torch.randn:
            return func(*args, **kwargs)
        dtype = kwargs.pop("dtype", None) or torch.float32
        return func(*args, **kwargs, dtype=torch.float32).to(dtype)


class _Subject:
    """A process and a prediction on one side."""

    def __init__(self, side: Side, process: LinearGaussianProcess, prediction: Prediction, batch: int) -> None:
        self.process, self.prediction, self.side = process.to(side.device), prediction, side
        # Data as faint as the noise at t = 1: then a deterministic run has little to grow from that noise, nor errors.
        deviation = process.sigma(1.0).max().item()
        self.variance = deviation**2
        self.x = (deviation * torch.randn(batch, *process.shape, generator=_seeded(0))).to(*side)
        roundings = 8 + (4 * max(process.shape) if isinstance(process.basis, CosineBasis) else 0)
        self.rounding = _UNIT_ROUNDOFF * math.sqrt(roundings)

    @torch.no_grad()
    def results(self, steps: int) -> dict[str, Measured]:
        """Return what is compared, by name."""
        with SingleNoise():
            results = {"loss": self._loss(SimpleWeighting()), "loss of the bound": self._loss(BoundWeighting())}
            # What an error of a less degraded signal means for the data has no bound.
            if not isinstance(self.prediction, (PredictX, PredictPreviousLevel)):
                results["loss in x"] = self._loss(SimpleWeighting(in_terms_of=PredictX()))
            for name, coupling in _COUPLINGS.items():
                results[name] = self._samples(coupling, steps)
                if not isinstance(coupling, Deterministic):
                    results[f"bound, {name}"] = self._bound(coupling, steps)
        return results

    def _loss(self, weighting: Weighting) -> Measured:
        """Return the root-mean-square error of each example."""
        process, x = self.process, self.x
        loss = DenoisingLoss(_Echo(process, self.prediction), weighting=weighting)
        value = loss(x, generator=_seeded(1))

        # The same times and noise again, for the size of the terms.
        generator = _seeded(1)
        at = process.at(loss.times.sample(len(x), device=x.device, generator=generator))
        noise = torch.randn(x.shape, generator=generator).to(x)
        z_t, target = self.prediction.training_pair(at, x, noise)
        terms = [_size(z) + _size(y) for z, y in zip(z_t, target, strict=True)]
        scales = weighting.error_scale(self.prediction, at).expand(len(x), *process.shape)
        terms = [_size(scale) * term for scale, term in zip(scales, terms, strict=True)]
        return Measured((value / x[0].numel()).sqrt().cpu().double(), self.rounding * max(terms))

    def _bound(self, coupling: Coupling, steps: int) -> Measured:
        """Return the root of each level's term of the bound per coefficient, for the exact denoiser."""
        process, x = self.process, self.x
        denoiser = GaussianDenoiser(process, self.prediction, self.variance)
        bound = ELBO(denoiser, prior=DegradedDataPrior.fit(process, x), coupling=coupling, steps=steps, first=1 / steps)
        found = bound(x, generator=_seeded(3))

        terms: list[float] = []
        times = process.to_schedule_dtype(torch.cat([torch.tensor([1 / steps]), found.times[0].cpu()]))
        for s, t in pairwise(times):
            at = process.at(t)
            term = step_term(Step.between(process.at(s), at, coupling), PosteriorStd())
            latent, output = self.prediction.conversion(at, term.log_alpha)
            z = process.corrupt(x, torch.randn(x.shape, generator=_seeded(4)).to(x), t)
            made = _size(latent) * _size(z) + _size(output) * _size(denoiser.output(z, t))
            terms.append(_size(term.scale) * (_size(term.log_alpha.exp()) * _size(x) + made))
        return Measured((found.terms / x[0].numel()).sqrt().cpu().double(), self.rounding * max(terms))

    def _samples(self, coupling: Coupling, steps: int) -> Measured:
        """Return samples of the exact denoiser."""
        process = self.process
        denoiser = GaussianDenoiser(process, self.prediction, self.variance)
        prior = DegradedDataPrior.fit(process, self.x)
        sampler = Sampler(denoiser, Posterior(coupling), grid=UniformGrid(steps), prior=prior)
        generator = _seeded(2)
        initial = prior.sample(len(self.x), generator=generator).to(self.side.dtype)
        path = sampler.run(len(self.x), generator=generator, initial=initial).trajectory
        assert path is not None

        times = process.to_schedule_dtype(path.times)
        growth = 1.0
        sizes: list[float] = []
        for t, s, z in zip(times[:-1], times[1:], path.states[:-1], strict=True):
            at, at_s = process.at(t), process.at(s)
            least = (at.alpha.square() * self.variance + at.sigma.square()).min().item()
            growth = max(growth, math.sqrt(self.variance / least))
            latent, output = self.prediction.conversion(at, at_s.log_alpha)
            sizes.append(_size(latent) * _size(z) + _size(output) * _size(denoiser.output(z, t)))
        deviation = growth * math.sqrt(steps) * self.rounding * max(sizes)
        return Measured(path.states[-1].cpu().double(), _DEVIATIONS * deviation)


def _processes(shape: tuple[int, int, int]) -> dict[str, Callable[[], LinearGaussianProcess]]:
    """Return the constructors of all processes, by name."""
    return {
        "heat": lambda: HeatDissipation(shape, blur_sigma_max=0.75 * shape[1]),
        "isotropic, cosine": lambda: IsotropicDiffusion(shape),
        "isotropic, linear": lambda: IsotropicDiffusion(shape, LinearSchedule()),
        "blurring": lambda: BlurringDiffusion(shape),
    }


def _predictions(process: LinearGaussianProcess, steps: int) -> Iterator[Prediction]:
    """Yield the predictions that `process` allows."""
    levels = PredictPreviousLevel() if process.levels else PredictPreviousLevel(levels=steps)
    for prediction in (PredictX(), PredictEpsilon(), PredictV(), PredictScore(), levels):
        try:
            prediction.require_stable(process)
        except ValueError:
            continue
        yield prediction


def _seeded(seed: int) -> torch.Generator:
    """Return a generator on the CPU, whose numbers are the same on every machine."""
    return torch.Generator().manual_seed(seed)


def _size(tensor: Tensor) -> float:
    """Return the root mean square."""
    return tensor.double().square().mean().sqrt().item()
