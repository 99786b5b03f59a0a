"""Hypothesis strategies: processes of every family with random parameters, times, images, couplings."""

import torch
from hypothesis import strategies as st

from unmelt.degradations import (
    BlurringDiffusion,
    CosineBasis,
    CosineSchedule,
    Deterministic,
    Eta,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LinearSchedule,
    Markov,
    PixelBasis,
)

DTYPES = (torch.float32, torch.float64)


class Anisotropic(LinearGaussianProcess):
    """A process with numbers of its own for every coefficient, signal and noise alike: no symmetry hides a mistake."""

    def __init__(self, basis, seed=0):
        super().__init__(basis)
        generator = torch.Generator().manual_seed(seed)
        draw = torch.rand((4, *basis.shape), generator=generator, dtype=torch.float64)
        self.register_table("decay", 0.1 + 2 * draw[0])
        self.register_table("floor", -2 + draw[1])
        # The noise may fall, but slower than the signal, so that the log-SNR still falls.
        self.register_table("growth", -0.9 * self.table("decay") + 3 * draw[2])

    def log_alpha(self, t):
        return -self.table("decay") * self.expand_times(t)

    def log_sigma(self, t):
        return self.table("floor") + self.table("growth") * self.expand_times(t)


def dtypes():
    return st.sampled_from(DTYPES)


@st.composite
def shapes(draw, smallest=1, largest=5):
    side = st.integers(smallest, largest)
    return (draw(st.integers(1, 2)), draw(side), draw(side))


@st.composite
def processes(draw, shape=None):
    shape = draw(shapes()) if shape is None else shape
    seed = draw(st.integers(0, 2**16))
    return draw(
        st.one_of(
            st.builds(
                lambda low, ratio, levels, sigma: HeatDissipation(
                    shape, blur_sigma_min=low, blur_sigma_max=low * ratio, levels=levels, sigma=sigma
                ),
                st.floats(0.1, 0.6),
                st.floats(1.1, 4.0),
                st.integers(2, 40),
                st.floats(0.005, 0.5),
            ),
            st.builds(
                lambda width, scale: BlurringDiffusion(
                    shape, blur_sigma_max=width, min_scale=scale, schedule=CosineSchedule(-5.0, 5.0)
                ),
                st.floats(0.0, 2.0),
                st.floats(0.01, 1.0),
            ),
            st.builds(
                lambda low, high: IsotropicDiffusion(shape, CosineSchedule(-low, high)),
                st.floats(1.0, 6.0),
                st.floats(1.0, 6.0),
            ),
            st.builds(lambda high: IsotropicDiffusion(shape, LinearSchedule(0.1, high)), st.floats(0.5, 10.0)),
            st.sampled_from([CosineBasis, PixelBasis]).map(lambda basis: Anisotropic(basis(shape), seed)),
        )
    )


def couplings():
    return st.one_of(st.sampled_from([Markov(), Deterministic(), Independent()]), st.floats(0.0, 1.0).map(Eta))


@st.composite
def ordered_times(draw, count, lowest=0.02, gap=0.02):
    """Times that rise by at least `gap`, the first at least `lowest`."""
    parts = [draw(st.floats(0.0, 1.0)) for _ in range(count + 1)]
    room = 1 - lowest - gap * (count - 1)
    total = sum(parts) or 1.0
    times, t = [], lowest
    for part in parts[:-1]:
        t += room * part / total
        times.append(min(t, 1.0))
        t += gap
    return times


def images(shape, *, batch=2, seed=0, dtype=torch.float64):
    return torch.rand((batch, *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)
