"""One small process of every family, and the plain arithmetic that their tests share."""

import numpy as np
import pytest
import torch
from support import SHAPE, draw, seeded

from unmelt.degradations import (
    BlurringDiffusion,
    BrownianBridge,
    ChangedBasis,
    ChannelGroups,
    ColdBlur,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    DiffusionBridge,
    DirectionalBlur,
    DiscreteSchedule,
    EDMSchedule,
    FourierBasis,
    GaussianBlur,
    GeometricNoise,
    GraphHeat,
    HeatBridge,
    HeatDissipation,
    HeatFlow,
    Interpolating,
    IsotropicDiffusion,
    LinearSchedule,
    LogSNRSchedule,
    LogSpacedBlur,
    MatrixBasis,
    OrnsteinUhlenbeck,
    Pixelation,
    PixelMask,
    PowerBlur,
    ProductBasis,
    RectifiedFlowSchedule,
    ResidualShift,
    SchrodingerBridge,
    SequentialMasking,
    SigmoidSchedule,
    SineBasis,
    SineBlur,
    SoftDiffusion,
    SpectralDiffusion,
    TabulatedBlur,
    TowardsMean,
    VariancePreservingBlur,
    WithNoise,
    opponent_colours,
)

__all__ = [
    "EVERY_PROCESS",
    "KNOWN_ENDS",
    "SHAPE",
    "draw",
    "every_process",
    "heat_rates",
    "isotropic",
    "onsets",
    "path_laplacian",
]


def heat_rates(*sizes):
    """The cosine basis's eigenvalues, sum over axes of (pi n / N)^2, typed once more in numpy."""
    total = np.zeros(())
    for size in sizes:
        total = total[..., None] + (np.pi * np.arange(size) / size) ** 2
    return total


def path_laplacian(nodes):
    """The Laplacian of a path graph: each node but the ends has two neighbours."""
    adjacency = torch.diag(torch.ones(nodes - 1, dtype=torch.float64), 1)
    adjacency = adjacency + adjacency.mT
    return torch.diag(adjacency.sum(0)) - adjacency


def colour_groups(sizes=(4, 5)):
    """Luminance melts slowly, the two differences of colours fast and under another noise."""
    basis = ProductBasis(MatrixBasis((3,), opponent_colours()), CosineBasis(sizes, axes=len(sizes)))
    slow = HeatDissipation((1, *sizes), blur_sigma_max=2.0, levels=8, sigma=0.05)
    fast = BlurringDiffusion((2, *sizes), blur_sigma_max=3.0, schedule=CosineSchedule(-5.0, 5.0))
    return ChannelGroups(basis, [slow, fast])


def isotropic(schedule):
    return IsotropicDiffusion(SHAPE, schedule)


def onsets():
    return torch.rand(SHAPE, generator=seeded(3), dtype=torch.float64)


EVERY_PROCESS = {
    "heat": HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=20, sigma=0.03),
    "anisotropic heat": HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=20, anisotropy=(1.0, 0.2)),
    "blurring": BlurringDiffusion(SHAPE, blur_sigma_max=3.0),
    "soft": SoftDiffusion(SHAPE, blur=PowerBlur(3.0, 1.0)),
    "cold": ColdBlur(SHAPE),
    "variance preserving blur": VariancePreservingBlur(SHAPE),
    "variance preserving even blur": VariancePreservingBlur(SHAPE, blur=PowerBlur(2.0, 0.5)),
    "sine edges": GaussianBlur(SHAPE, SineBlur(2.0), GeometricNoise(0.01, 1.0), boundary=SineBasis),
    "directional": DirectionalBlur(SHAPE, angle=30.0, across=0.3, blur=LogSpacedBlur(0.3, 3.0, 20)),
    "tabulated": GaussianBlur(SHAPE, TabulatedBlur([0.3, 0.5, 1.1]), LinearSchedule(), min_scale=0.01),
    "power law": SpectralDiffusion.power_law(SHAPE),
    "heat flow": HeatFlow(SHAPE, rate=0.3, noise_scale=1.5),
    "pixelation": Pixelation(SHAPE),
    "mask": PixelMask(SHAPE),
    "ordered": SequentialMasking(FourierBasis(SHAPE), onsets(), duration=0.3, noise=CosineSchedule()),
    "graph": GraphHeat((2, 5), path_laplacian(5), time_max=10.0, levels=12),
    "cosine": isotropic(CosineSchedule()),
    "unbounded cosine": isotropic(CosineSchedule(-np.inf, np.inf)),
    "linear": isotropic(LinearSchedule()),
    "linear from 0": isotropic(LinearSchedule(0.0, 20.0)),
    "sigmoid": isotropic(SigmoidSchedule()),
    "discrete": isotropic(DiscreteSchedule([0.1, 0.3, 0.5])),
    "discrete to no signal": isotropic(DiscreteSchedule([0.1, 0.3, 0.5, 1.0])),
    "geometric": isotropic(GeometricNoise(0.01, 50.0, until=0.5)),
    "edm": isotropic(EDMSchedule()),
    "rectified flow": isotropic(RectifiedFlowSchedule()),
    "shifted flow": isotropic(RectifiedFlowSchedule(shift=3.0)),
    "log-snr": isotropic(LogSNRSchedule(lambda t: 8 - 16 * t, Interpolating())),
    "renoised": WithNoise(HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=20), RectifiedFlowSchedule()),
    "in basis": ChangedBasis(BlurringDiffusion(SHAPE, blur_sigma_max=3.0), FourierBasis(SHAPE)),
    "groups": colour_groups(),
    "no noise": GaussianBlur(SHAPE, PowerBlur(2.0), ConstantNoise(0.0)),
}

# What ends in a known signal, and has to be given it.
KNOWN_ENDS = {
    "Brownian bridge": BrownianBridge(SHAPE, sigma=0.7),
    "Schroedinger bridge": SchrodingerBridge(SHAPE),
    "heat bridge": HeatBridge(SHAPE, blur=PowerBlur(2.0)),
    "bridge": DiffusionBridge(BlurringDiffusion(SHAPE, blur_sigma_max=1.0)),
    "mean": TowardsMean(BlurringDiffusion(SHAPE, blur_sigma_max=2.0)),
    "residual shift": ResidualShift(SHAPE),
    "Ornstein-Uhlenbeck": OrnsteinUhlenbeck(SHAPE),
}

# What a law is proved on all day. The others repeat it over the whole cross product.
REPRESENTATIVE = {"heat", "blurring", "mask", "power law", "graph", "unbounded cosine", "groups", "no noise"}


def every_process(names=tuple(EVERY_PROCESS)):
    """Parametrise a test over the names of processes, all but the representative ones marked as `full`."""
    marks = {name: () if name in REPRESENTATIVE else pytest.mark.full for name in names}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in marks.items()])
