"""Hypothesis strategies for your tests: shapes, times, images, couplings, schedules, processes.

    from hypothesis import given
    from unmelt.testing.strategies import images, ordered_times, processes

    @given(process=processes((1, 8, 8)), times=ordered_times(2), x=images((1, 8, 8)))
    def test_my_sampler(process, times, x): ...

Images are drawn as a seed, so that a strategy of large ones costs nothing and a failing example is printed in a line.
Parameters are moderate (standard deviations from 0.005 to 5, log-SNRs up to 10 in size), so that a test may divide by
alpha or sigma inside (0, 1); at the ends either may be 0. Extremes deserve tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core import Shape
from ..degradations import (
    Basis,
    BlurringDiffusion,
    BlurSchedule,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    Coupling,
    Deterministic,
    DirectionalBlur,
    EDMSchedule,
    Eta,
    FourierBasis,
    GaussianBlur,
    GeometricNoise,
    GraphHeat,
    HaarBasis,
    HeatDissipation,
    HeatFlow,
    Independent,
    Interpolating,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LinearSchedule,
    LogSNRSchedule,
    Markov,
    PixelBasis,
    PowerBlur,
    RectifiedFlowSchedule,
    ReverseSDE,
    Schedule,
    SequentialMasking,
    SigmoidSchedule,
    SineBasis,
    SineBlur,
    SpectralDiffusion,
    VarianceExploding,
    VariancePreserving,
    VariancePreservingBlur,
    repeated_blur,
)

# The precisions that signals are computed in.
DTYPES = (torch.float32, torch.float64)


# ---- shapes, times, images ----------------------------------------------------------------------------------------


def dtypes() -> st.SearchStrategy[torch.dtype]:
    """Draw float32 or float64."""
    return st.sampled_from(DTYPES)


def shapes(smallest: int = 1, largest: int = 5, *, channels: int = 2, axes: int = 2) -> st.SearchStrategy[Shape]:
    """Draw shapes of one signal, (channels, size, ...).

    Args:
        smallest: the least size of an axis behind the channels.
        largest: the greatest size of such an axis.
        channels: the greatest number of channels.
        axes: number of axes behind the channels.
    """
    return st.tuples(st.integers(1, channels), *[st.integers(smallest, largest)] * axes)


def times(lowest: float = 0.0, highest: float = 1.0) -> st.SearchStrategy[float]:
    """Draw times in [lowest, highest], both ends often, which shrink to `lowest` and to hundredths."""
    hundredths = st.integers(0, 100).map(lambda percent: lowest + (highest - lowest) * percent / 100)
    return st.one_of(hundredths, st.floats(lowest, highest, allow_subnormal=False))


def ordered_times(count: int, lowest: float = 0.02, gap: float = 0.02) -> st.SearchStrategy[list[float]]:
    """Draw `count` times that rise by at least `gap`, the first at least `lowest`, the last at most 1.

    Raises:
        ValueError: so many times do not fit.
    """
    room = 1 - lowest - gap * (count - 1)
    if room < 0:
        msg = f"{count} times from {lowest} with gaps of {gap} do not fit below 1"
        raise ValueError(msg)

    def spread(parts: tuple[float, ...]) -> list[float]:
        total, so_far, drawn = sum(parts) or 1.0, 0.0, list[float]()
        for i, part in enumerate(parts[:-1]):
            so_far += part
            drawn.append(min(lowest + gap * i + room * so_far / total, 1.0))
        return drawn

    return st.tuples(*[st.floats(0.0, 1.0)] * (count + 1)).map(spread)


def images(shape: Sequence[int], *, batch: int = 2, dtype: torch.dtype = torch.float64) -> st.SearchStrategy[Tensor]:
    """Draw batches of images with pixels uniform in [0, 1), (batch, *shape); only a seed is drawn.

    Args:
        shape: shape of one image.
        batch: number of images.
        dtype: dtype of the images.
    """
    return st.builds(random_images, st.just(tuple(shape)), batch=st.just(batch), seed=seeds(), dtype=st.just(dtype))


def random_images(
    shape: Sequence[int], *, batch: int = 2, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "batch ..."]:
    """Return the images of one seed, (batch, *shape), with pixels uniform in [0, 1): no strategy, a function."""
    return torch.rand((batch, *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeds() -> st.SearchStrategy[int]:
    """Draw seeds of random tables and images."""
    return st.integers(0, 2**16)


# ---- couplings and schedules --------------------------------------------------------------------------------------


def couplings() -> st.SearchStrategy[Coupling]:
    """Draw couplings: `Markov`, `Deterministic`, `Independent`, and `Eta` and `ReverseSDE` of any share of noise."""
    named: st.SearchStrategy[Coupling] = st.sampled_from((Markov(), Deterministic(), Independent()))
    return st.one_of(named, st.floats(0.0, 1.0).map(Eta), st.floats(0.0, 2.0).map(ReverseSDE))


def _log_snr_schedules() -> st.SearchStrategy[Schedule]:
    """Draw straight lines of the log-SNR, under every convention."""
    conventions = st.sampled_from((VariancePreserving(), VarianceExploding(), Interpolating()))

    def straight(high: float, low: float) -> Callable[[Tensor], Tensor]:
        return lambda t: high - (high + low) * t

    lines = st.builds(straight, st.floats(1.0, 6.0), st.floats(1.0, 3.0))
    return st.builds(LogSNRSchedule, lines, conventions)


# One line for every schedule that ships; README's and the tests' processes draw from here.
SCHEDULES: dict[str, Callable[[], st.SearchStrategy[Schedule]]] = {
    "constant": lambda: st.builds(ConstantNoise, st.floats(0.005, 0.5)),
    "cosine": lambda: st.builds(CosineSchedule, st.floats(-6.0, -1.0), st.floats(1.0, 6.0), st.floats(-1.0, 1.0)),
    "edm": lambda: st.builds(EDMSchedule, st.floats(0.005, 0.1), st.floats(0.5, 5.0), st.floats(1.0, 8.0)),
    "geometric": lambda: st.builds(GeometricNoise, st.floats(0.005, 0.1), st.floats(0.5, 5.0)),
    "linear": lambda: st.builds(LinearSchedule, st.just(0.1), st.floats(0.5, 10.0)),
    "log-SNR": _log_snr_schedules,
    "rectified flow": lambda: st.builds(RectifiedFlowSchedule, st.floats(0.3, 3.0)),
    "sigmoid": lambda: st.builds(SigmoidSchedule, st.floats(-3.0, -1.0), st.floats(1.0, 3.0)),
}


def schedules() -> st.SearchStrategy[Schedule]:
    """Draw schedules of every kind that ships, with moderate parameters."""
    return st.one_of([strategy() for strategy in SCHEDULES.values()])


# ---- processes ----------------------------------------------------------------------------------------------------


class Anisotropic(LinearGaussianProcess):
    """A process with different numbers for every coefficient, signal and noise alike: no symmetry hides a mistake.

    log alpha_t falls and log sigma_t rises or falls along a straight line; the log-SNR falls.

    Args:
        basis: the basis.
        seed: seed of the numbers.
    """

    decay: Tensor
    floor: Tensor
    growth: Tensor

    def __init__(self, basis: Basis, seed: int = 0) -> None:
        super().__init__(basis)
        generator = torch.Generator().manual_seed(seed)
        draw = torch.rand((4, *basis.shape), generator=generator, dtype=torch.float64)
        self.register_constant("decay", 0.1 + 2 * draw[0])
        self.register_constant("floor", -2 + draw[1])
        # The noise may fall, but slower than the signal, so that the log-SNR still falls.
        self.register_constant("growth", -0.9 * self.decay + 3 * draw[2])

    @override
    def log_alpha(self, t: Float[Tensor, "*batch"] | float) -> Float[Tensor, "..."]:
        return -self.decay * self.expand_times(t)

    @override
    def log_sigma(self, t: Float[Tensor, "*batch"] | float) -> Float[Tensor, "..."]:
        return self.floor + self.growth * self.expand_times(t)


def processes_in(basis: Basis) -> st.SearchStrategy[Anisotropic]:
    """Draw processes in `basis`, one that you wrote say, with random numbers for every coefficient."""
    return st.builds(Anisotropic, st.just(basis), seeds())


def _heat(shape: Shape) -> st.SearchStrategy[LinearGaussianProcess]:
    def build(low: float, ratio: float, levels: int, sigma: float) -> HeatDissipation:
        return HeatDissipation(shape, blur_sigma_min=low, blur_sigma_max=low * ratio, levels=levels, sigma=sigma)

    return st.builds(build, st.floats(0.1, 0.6), st.floats(1.1, 4.0), st.integers(2, 40), st.floats(0.005, 0.5))


def _blurring(shape: Shape) -> st.SearchStrategy[LinearGaussianProcess]:
    def build(width: float, scale: float) -> BlurringDiffusion:
        return BlurringDiffusion(shape, blur_sigma_max=width, min_scale=scale, schedule=CosineSchedule(-5.0, 5.0))

    return st.builds(build, st.floats(0.0, 2.0), st.floats(0.01, 1.0))


def _blur(shape: Shape) -> st.SearchStrategy[LinearGaussianProcess]:
    """Draw blurs of every width schedule and boundary, along the axes unequally, under any noise."""
    blurs: st.SearchStrategy[BlurSchedule] = st.one_of(
        st.builds(SineBlur, st.floats(0.1, 1.0), st.sampled_from((1.0, 2.0))),
        st.builds(PowerBlur, st.floats(0.1, 1.0), st.floats(0.5, 3.0)),
        st.builds(repeated_blur, st.lists(st.floats(0.1, 0.4), min_size=2, max_size=5)),
    )
    return st.builds(
        GaussianBlur,
        st.just(shape),
        blurs,
        schedules(),
        anisotropy=st.tuples(*[st.floats(0.1, 1.0)] * CosineBasis(shape).axes),
        boundary=st.sampled_from((CosineBasis, SineBasis, FourierBasis)),
    )


def _directional(shape: Shape) -> st.SearchStrategy[LinearGaussianProcess]:
    """Draw blurs at any angle; where there is no plane to turn in, other blurs."""
    if len(shape) < 3:
        return _blur(shape)
    blurs = st.builds(SineBlur, st.floats(0.1, 1.0), st.sampled_from((1.0, 2.0)))
    angles, across = st.floats(-180.0, 180.0), st.floats(0.0, 1.0)
    return st.builds(DirectionalBlur, st.just(shape), angle=angles, across=across, blur=blurs, noise=schedules())


def _fading(shape: Shape) -> st.SearchStrategy[LinearGaussianProcess]:
    """Draw fading orders that leave something of every coefficient until t = 1."""

    def build(seed: int, noise: Schedule) -> SequentialMasking:
        return SequentialMasking(
            HaarBasis(shape), random_images(shape, batch=1, seed=seed)[0], duration=1.0, noise=noise
        )

    return st.builds(build, seeds(), schedules())


def _graph(shape: Shape) -> st.SearchStrategy[LinearGaussianProcess]:
    """Draw heat on random weighted graphs, one node for each place of the last axis."""

    def build(seed: int, time_max: float, noise: Schedule) -> GraphHeat:
        weights = random_images((shape[-1],) * 2, batch=1, seed=seed)[0].triu(1)
        weights = weights + weights.mT
        laplacian = torch.diag(weights.sum(0)) - weights
        return GraphHeat(shape, laplacian, time_max=time_max, time_min=time_max / 10, levels=10, noise=noise)

    return st.builds(build, seeds(), st.floats(0.1, 1.0), schedules())


def _spectral(shape: Shape) -> st.SearchStrategy[LinearGaussianProcess]:
    def build(exponent: float, schedule: Schedule) -> SpectralDiffusion:
        return SpectralDiffusion.power_law(shape, exponent, schedule=schedule)

    return st.builds(build, st.floats(-1.0, 1.0), schedules())


def _preserving(shape: Shape) -> st.SearchStrategy[LinearGaussianProcess]:
    def build(width: float, power: float, beta: float) -> VariancePreservingBlur:
        return VariancePreservingBlur(shape, blur=PowerBlur(width, power), schedule=LinearSchedule(0.1, beta))

    return st.builds(build, st.floats(0.1, 1.0), st.floats(0.5, 3.0), st.floats(0.5, 10.0))


# One line for every family that ships, where it leaves something to divide by inside (0, 1).
FAMILIES: dict[str, Callable[[Shape], st.SearchStrategy[LinearGaussianProcess]]] = {
    "blur": _blur,
    "blurring": _blurring,
    "directional": _directional,
    "fading": _fading,
    "graph": _graph,
    "heat": _heat,
    "heat flow": lambda shape: st.builds(HeatFlow, st.just(shape), rate=st.floats(0.0, 0.3)),
    "isotropic": lambda shape: st.builds(IsotropicDiffusion, st.just(shape), schedules()),
    "random, per cosine": lambda shape: processes_in(CosineBasis(shape)),
    "random, per pixel": lambda shape: processes_in(PixelBasis(shape)),
    "spectral": _spectral,
    "variance-preserving blur": _preserving,
}


def processes(shape: Sequence[int] | None = None) -> st.SearchStrategy[LinearGaussianProcess]:
    """Draw processes of every family that ships, with moderate parameters.

    Args:
        shape: shape of one signal, of one to four axes: (time,), (channels, rows, columns), (channels, frames, rows,
            columns); small ones are drawn if None.

    Raises:
        ValueError: the shape has no axis, or more than four: blurs have three axes behind the channels at most.
    """
    if shape is None:
        return shapes().flatmap(processes)
    if not 1 <= len(shape) <= 4:
        msg = (
            f"shape must have one to four axes, channels and up to three that can be blurred, got {tuple(shape)}: draw "
            "processes in a basis of such signals with processes_in(basis)"
        )
        raise ValueError(msg)
    return st.one_of([strategy(tuple(shape)) for strategy in FAMILIES.values()])
