"""Draws the figures of docs/concepts: python docs/drawing/concept_figures.py (or `make figures`), half a minute.

bases.png: the first functions of five bases.
motion_blur.png: a motion blur along a diagonal, in a basis that holds it and in one that cannot.
couplings.png, posterior.png: how noises of two levels are correlated, and what the posterior is made of.
targets.png, errors.png: what a network has to put out over time, and how much an error of it counts.
"""

import math
from collections.abc import Callable

import torch
from figure_parts import IMAGES, SHAPE, photograph, save
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from unmelt.degradations import (
    BlurringDiffusion,
    CosineBasis,
    Coupling,
    Deterministic,
    DirectionalBlur,
    Eta,
    FourierBasis,
    HaarBasis,
    HartleyBasis,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LaplacianBasis,
    LinearGaussianProcess,
    Markov,
    PowerBlur,
    PredictEpsilon,
    Prediction,
    PredictPreviousLevel,
    PredictScore,
    PredictV,
    PredictX,
    RandomWalk,
    ReverseSDE,
    SineBasis,
)
from unmelt.degradations.predictions import LARGEST_GAIN

FOLDER = IMAGES / "concepts"
LATE = 0.7
# Coefficients of 32 x 32 cosines, by (vertical, horizontal) frequency.
FREQUENCIES = {"low": (0, 1), "middle": (3, 3), "high": (10, 10)}
COUPLINGS: dict[str, Coupling] = {
    "Markov": Markov(),
    "Deterministic": Deterministic(),
    "Independent": Independent(),
    "Eta(0.5)": Eta(0.5),
    "ReverseSDE(0.5)": ReverseSDE(0.5),
    "RandomWalk": RandomWalk(),
}


class SlantedProduct(LinearGaussianProcess):
    """Meant as a motion blur along 45 degrees, in a basis that cannot hold it: the example of bases.md."""

    along: Tensor

    def __init__(self, width: float) -> None:
        """Take the width along the diagonal, in pixels."""
        basis = FourierBasis(SHAPE)
        super().__init__(basis)
        rows, columns = (axis.sqrt() for axis in basis.axis_eigenvalues())
        self.width = width
        self.register_constant("along", (columns - rows[:, None]) * math.sqrt(0.5))

    def log_alpha(self, t: Tensor) -> Tensor:
        """Fade each wave by its slope along the diagonal."""
        return -(self.along * self.width * self.expand_times(t)).square() / 2

    def log_sigma(self, t: Tensor) -> Tensor:
        """Leave noise out."""
        return torch.full_like(self.expand_times(t), -torch.inf)


def first_functions(basis: LaplacianBasis | HaarBasis, count: int) -> Tensor:
    """Return the functions that fade last, (count, height, width)."""
    if isinstance(basis, HaarBasis):
        order = basis.scale_index().flatten().argsort(descending=True, stable=True)
    else:
        order = basis.laplacian_eigenvalues().flatten().argsort(stable=True)
    spectrum = torch.zeros(count, *basis.shape).flatten(1)
    spectrum[torch.arange(count), order[:count]] = 1.0
    return basis.inverse(spectrum.unflatten(1, basis.shape))[:, 0]


def draw_bases() -> Figure:
    """Return eight functions of each of five bases."""
    shape = (1, 16, 16)
    bases: dict[str, LaplacianBasis | HaarBasis] = {
        "cosine": CosineBasis(shape),
        "sine": SineBasis(shape),
        "Fourier": FourierBasis(shape),
        "plane waves\n(Hartley)": HartleyBasis(shape),
        "Haar": HaarBasis(shape),
    }
    figure = Figure(figsize=(7.6, 4.7), layout="constrained")
    for row, (name, basis) in zip(figure.subplots(len(bases), 8), bases.items(), strict=True):
        for axis, function in zip(row, first_functions(basis, 8), strict=True):
            # Their largest values differ: shown is their form.
            axis.imshow(function / function.abs().max(), cmap="RdBu", vmin=-1.15, vmax=1.15)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    return figure


def draw_motion_blur() -> Figure:
    """Return the photograph and a point of light, and both under the right blur and under the wrong one."""
    width = 6.0
    point = torch.zeros(1, *SHAPE)
    point[..., SHAPE[1] // 2, SHAPE[2] // 2] = 1.0
    blurs: dict[str, Callable[[Tensor], Tensor]] = {
        "as it is": lambda x: x,
        "meant: along one diagonal\n(plane waves)": lambda x: DirectionalBlur(
            SHAPE, angle=45, blur=PowerBlur(width, 1.0)
        ).degrade(x, 1.0)[0],
        "drawn: along both diagonals\n(a product of waves)": lambda x: SlantedProduct(width).degrade(x, 1.0)[0],
    }
    figure = Figure(figsize=(7.2, 5.3), layout="constrained")
    above, below = figure.subplots(2, 3)
    for upper, lower, (name, blur) in zip(above, below, blurs.items(), strict=True):
        upper.imshow(blur(photograph()[None])[0].clamp(0, 1).permute(1, 2, 0))
        middle = blur(point)[0, 0, 28:69, 28:69]
        lower.imshow(middle / middle.max(), cmap="gray", vmin=0, vmax=1)
        upper.set_title(name, fontsize=10)
        upper.set_axis_off()
        lower.set_axis_off()
    return figure


def draw_couplings() -> Figure:
    """Return the correlation of noises over s, a panel for each coupling and a line for each frequency."""
    process = BlurringDiffusion((1, 32, 32))
    times = torch.linspace(0, LATE, 141, dtype=torch.float64)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    for axis, (name, coupling) in zip(grid.flat, COUPLINGS.items(), strict=True):
        correlations = coupling.log_correlation(process.at(times), process.at(LATE)).exp().expand(len(times), 1, 32, 32)
        for (label, place), share in zip(FREQUENCIES.items(), (0.0, 0.45, 0.85), strict=True):
            # All frequencies alike would hide one another.
            style = {"low": "-", "middle": "--", "high": ":"}[label]
            colour = colormaps["viridis"](share)
            axis.plot(times, correlations[:, 0, *place], style, color=colour, label=f"{label} frequency", linewidth=2)
        _plain(axis, name)
    for axis in grid[1]:
        axis.set_xlabel("s")
    for axis in grid[:, 0]:
        axis.set_ylabel(f"correlation with t = {LATE}", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return figure


def draw_posterior() -> Figure:
    """Return the shares of latent, data and fresh noise in the posterior over s, a panel for each coupling."""
    process = BlurringDiffusion((1, 32, 32))
    place = FREQUENCIES["middle"]
    times = torch.linspace(0, LATE, 141, dtype=torch.float64)
    at_s, at_t = process.at(times), process.at(LATE)
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for axis, name in zip(grid.flat, ("Markov", "Eta(0.5)", "Deterministic", "Independent"), strict=True):
        rho = COUPLINGS[name].log_correlation(at_s, at_t).exp().expand(at_s.alpha.shape)
        latent = rho * at_s.sigma / at_t.sigma
        lines = {
            r"latent: $c$": (latent, "-"),
            r"data: $1 - c\,\alpha_{t|s}$": (1 - latent * at_t.alpha / at_s.alpha, "--"),
            r"fresh noise: $\sqrt{1 - \rho^2}$": ((1 - rho.square()).clamp(min=0).sqrt(), ":"),
        }
        for (label, (values, style)), colour in zip(lines.items(), ("tab:blue", "tab:orange", "0.3"), strict=True):
            axis.plot(times, values[:, 0, *place], style, color=colour, label=label, linewidth=2)
        _plain(axis, name)
    for axis in grid[1]:
        axis.set_xlabel(f"s, from t = {LATE}")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return figure


def draw_targets() -> Figure:
    """Return latents of a diffusion and of heat over time, and what networks are to put out for them."""
    times = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
    x = photograph()[None]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    diffusion, heat = IsotropicDiffusion(SHAPE), HeatDissipation(SHAPE, levels=20)
    rows: list[tuple[str, LinearGaussianProcess, Prediction | None]] = [
        ("diffusion:\nlatent", diffusion, None),
        ("x", diffusion, PredictX()),
        ("noise", diffusion, PredictEpsilon()),
        ("v", diffusion, PredictV()),
        ("heat:\nlatent", heat, None),
        ("step to the\nprevious level,\n\N{MULTIPLICATION SIGN} 5", heat, PredictPreviousLevel()),
    ]
    figure = Figure(figsize=(7.6, 7.3), layout="constrained")
    for row, (name, process, prediction) in zip(figure.subplots(len(rows), len(times)), rows, strict=True):
        data = x if process is heat else 2 * x - 1
        for axis, t in zip(row, times, strict=True):
            z_t = process.corrupt(data, noise, t)
            shown = z_t if prediction is None else prediction.target(process.at(t), data, noise)
            if isinstance(prediction, PredictPreviousLevel):
                shown = 5 * shown + 0.5
            elif process is diffusion:
                shown = (shown + 1) / 2
            axis.imshow(shown[0].clamp(0, 1).permute(1, 2, 0))
            axis.set(xticks=[], yticks=[])
            if prediction is None:
                axis.set_title(f"t = {t:g}", fontsize=9)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    return figure


def draw_errors() -> Figure:
    """Return the factor of an error of each prediction over time, for a diffusion and a frequency of heat."""
    times = torch.linspace(0, 1, 401, dtype=torch.float64)
    predictions = {
        "x": PredictX(),
        "noise": PredictEpsilon(),
        "v": PredictV(),
        "score": PredictScore(),
        "previous level": PredictPreviousLevel(),
    }
    panels = {
        "diffusion, cosine schedule": IsotropicDiffusion((1, 32, 32)),
        "heat, a middle frequency": HeatDissipation((1, 32, 32)),
    }
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    for axis, (title, process) in zip(figure.subplots(1, 2, sharey=True), panels.items(), strict=True):
        at = process.at(times)
        for (name, prediction), style in zip(predictions.items(), ("-", "--", "-.", ":", (0, (6, 2))), strict=True):
            if isinstance(prediction, PredictPreviousLevel) and process.levels is None:
                continue
            factor = prediction.conversion(at).output.abs().expand(len(times), 1, 32, 32)
            axis.plot(times, factor[:, 0, *FREQUENCIES["middle"]], linestyle=style, label=name, linewidth=2)
        axis.axhline(LARGEST_GAIN, color="0.5", linewidth=1)
        axis.text(0.02, 1.6 * LARGEST_GAIN, "refused above", fontsize=8, color="0.4")
        axis.set(yscale="log", ylim=(1e-5, 1e9), xlim=(0, 1), xlabel="t")
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("error in x per error of the prediction", fontsize=9)
    handles, labels = figure.axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def _plain(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set(xlim=(0, LATE), ylim=(-0.03, 1.08))
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def main() -> None:
    """Write the figures."""
    FOLDER.mkdir(exist_ok=True)
    drawings = {
        "bases": draw_bases,
        "motion_blur": draw_motion_blur,
        "couplings": draw_couplings,
        "posterior": draw_posterior,
        "targets": draw_targets,
        "errors": draw_errors,
    }
    for name, draw in drawings.items():
        save(draw(), FOLDER / f"{name}.png")
    print(f"wrote {len(drawings)} figures to {FOLDER}")


if __name__ == "__main__":
    main()
