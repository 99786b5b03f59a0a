"""Draws the figures of the documentation: python docs/drawing/family_figures.py (or `make figures`), about a minute.

forward.png: the three founding processes, for README.
families/NAME.png: what each family does to a photograph (scikit-image's cat), from t = 0 to t = 1.
own/NAME.png: the same for the examples of how_to/write_your_own.md and start_here.md, made by the code on those pages.
log_snr.png: the log-SNR of a few frequencies over time, for each family.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import skimage.data
import torch
from figure_parts import IMAGES, SHAPE, SIZE, photograph, save
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from unmelt.degradations import (
    BlurringDiffusion,
    BrownianBridge,
    ChannelGroups,
    ColdBlur,
    CosineBasis,
    DataSpectrum,
    DirectionalBlur,
    EqualSNR,
    FlippedSNR,
    FourierBasis,
    GraphHeat,
    HeatBridge,
    HeatDissipation,
    HeatFlow,
    IsotropicDiffusion,
    LinearGaussianProcess,
    LinearSchedule,
    MatrixBasis,
    Pixelation,
    PixelMask,
    PowerBlur,
    PowerLaw,
    ProductBasis,
    ResidualShift,
    SoftDiffusion,
    SpectralDiffusion,
    VariancePreservingBlur,
    estimate_spectrum,
    opponent_colours,
)
from unmelt.degradations.bands import log_snr_bands
from unmelt.degradations.drawing import example_end

COLUMNS = 8
# Noise that grows by more than this has times of its own, between these logarithms of signal over noise (nats).
_GROWS, _RATIOS = 2.0, (-4.0, 5.0)
# Half of the range that 98 % of pixels may exceed it by.
_CLIPPED = 1.5


class Entry(NamedTuple):
    """A family to draw.

    Attributes:
        title: what it is.
        make: makes the process.
        low: what black is to it, white being 1: each paper's own range of data.
        spectrum: of the data that it is made for; its log-SNR is drawn with it.
    """

    title: str
    make: Callable[[], LinearGaussianProcess]
    low: float = 0.0
    spectrum: DataSpectrum | None = None


def spectrum() -> DataSpectrum:
    """Return the Fourier spectrum of crops of scikit-image's photographs, scaled to [-1, 1]."""
    crops: list[Tensor] = []
    for picture in (skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()):
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1).double() / 127.5 - 1
        tiles = pixels.unfold(1, SIZE, 12).unfold(2, SIZE, 12)
        crops.append(tiles.permute(1, 2, 0, 3, 4).flatten(0, 1))
    return estimate_spectrum(FourierBasis(SHAPE), crops)


def colour_first() -> LinearGaussianProcess:
    """Return heat that takes colour long before luminance."""
    basis = ProductBasis(MatrixBasis((3,), opponent_colours()), CosineBasis((SIZE, SIZE), axes=2))
    luminance = HeatDissipation((1, SIZE, SIZE), blur_sigma_max=8.0)
    return ChannelGroups(basis, [luminance, HeatDissipation((2, SIZE, SIZE), blur_sigma_max=200.0)])


def families() -> dict[str, Entry]:
    """Return what is drawn, by file name."""
    data = spectrum()
    return {
        "isotropic": Entry(
            "IsotropicDiffusion, linear schedule", lambda: IsotropicDiffusion(SHAPE, LinearSchedule()), -1
        ),
        "heat": Entry("HeatDissipation", lambda: HeatDissipation(SHAPE)),
        "anisotropic_heat": Entry(
            "HeatDissipation, anisotropy=(1, 0.1)", lambda: HeatDissipation(SHAPE, anisotropy=(1, 0.1))
        ),
        "directional_blur": Entry("DirectionalBlur, angle=45", lambda: DirectionalBlur(SHAPE, angle=45)),
        "blurring": Entry("BlurringDiffusion", lambda: BlurringDiffusion(SHAPE), -1),
        "soft": Entry("SoftDiffusion", lambda: SoftDiffusion(SHAPE)),
        "cold": Entry("ColdBlur", lambda: ColdBlur(SHAPE)),
        "variance_preserving_blur": Entry("VariancePreservingBlur", lambda: VariancePreservingBlur(SHAPE), -1),
        "power_law": Entry("SpectralDiffusion, PowerLaw(-1.0)", lambda: SpectralDiffusion(SHAPE, PowerLaw(-1.0)), -1),
        "equal_snr": Entry("SpectralDiffusion, EqualSNR", lambda: SpectralDiffusion(SHAPE, EqualSNR(data)), -1, data),
        "flipped_snr": Entry(
            "SpectralDiffusion, FlippedSNR", lambda: SpectralDiffusion(SHAPE, FlippedSNR(data)), -1, data
        ),
        "heat_flow": Entry("HeatFlow", lambda: HeatFlow(SHAPE), -1),
        "pixelation": Entry("Pixelation", lambda: Pixelation(SHAPE)),
        "pixel_mask": Entry("PixelMask", lambda: PixelMask(SHAPE)),
        "brownian_bridge": Entry("BrownianBridge, sigma=0.5", lambda: BrownianBridge(SHAPE, sigma=0.5), -1),
        "heat_bridge": Entry("HeatBridge", lambda: HeatBridge(SHAPE, blur=PowerBlur(SIZE / 12, 1.0)), -1),
        "residual_shift": Entry("ResidualShift", lambda: ResidualShift(SHAPE), -1),
        "colour_first": Entry("ChannelGroups, colour before luminance", colour_first),
    }


def draw_strip(process: LinearGaussianProcess, low: float) -> Figure:
    """Return the photograph at eight times.

    Where noise grows, times are those at which signal over noise has fallen by equal parts. Where noise would leave
    hardly anything but pure colours it is shown smaller, around grey, by a factor that is told.
    """
    figure = Figure(figsize=(COLUMNS * 1.05, 1.2), layout="constrained")
    draw_at_told_times(list(figure.subplots(1, COLUMNS)), process, low)
    return figure


def draw_at_told_times(axes: list[Axes], process: LinearGaussianProcess, low: float) -> None:
    """Draw the photograph on each of the axes, as `draw_strip` says."""
    x, middle = low + (1 - low) * photograph()[None], (1 + low) / 2
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    for axis, t in zip(axes, told_times(process, x, len(axes)), strict=True):
        z = process.corrupt(x, noise, t, given=example_end(process, x))[0]
        beyond = (z - middle).abs().flatten().quantile(0.98).item() / (1 - middle)
        factor = 1 / beyond if beyond > _CLIPPED else 1.0
        shown = ((middle + (z - middle) * factor - low) / (1 - low)).clamp(0, 1)
        axis.imshow(shown.permute(1, 2, 0))
        axis.set_axis_off()
        smaller = "" if factor == 1 else f", \N{MULTIPLICATION SIGN} {factor:.1g}"
        axis.set_title(f"t = {t:.2g}{smaller}", fontsize=8, color="0.3")


def told_times(process: LinearGaussianProcess, x: Tensor, count: int) -> list[float]:
    """Return `count` times from 0 to 1: even ones, or where noise grows those of even falls of signal over noise."""
    times = torch.linspace(0, 1, 401, dtype=torch.float64)
    power = process.basis.forward(x.double() - x.double().mean((2, 3), keepdim=True)).square()
    sigma = torch.stack([process.sigma(t).square().expand(x.shape).mean() for t in times.tolist()])
    # Noise of a bridge comes and goes.
    if process.known_end or float(sigma.max()) <= _GROWS * float(sigma[len(sigma) // 8]):
        return torch.linspace(0, 1, count).tolist()
    signal = torch.stack([(process.alpha(t).square() * power).mean() for t in times.tolist()])
    ratio = (signal.log() - sigma.log()).clamp(*_RATIOS)
    marks = torch.linspace(ratio[0], ratio[-1], count, dtype=torch.float64)[1:-1]
    return [0.0, *(float(times[(ratio <= mark).int().argmax()]) for mark in marks), 1.0]


def draw_founders() -> Figure:
    """Return the photograph under heat dissipation, blurring diffusion and isotropic diffusion, a row each."""
    rows = [
        ("heat dissipation", HeatDissipation(SHAPE), 0.0),
        ("blurring diffusion", BlurringDiffusion(SHAPE), -1.0),
        ("isotropic diffusion", IsotropicDiffusion(SHAPE), -1.0),
    ]
    # Few columns: it opens the documentation, on phones, too.
    columns = 5
    figure = Figure(figsize=(columns * 1.05, len(rows) * 1.35), layout="constrained")
    places = figure.add_gridspec(len(rows), 1)
    for i, (name, process, low) in enumerate(rows):
        row = figure.add_subfigure(places[i])
        draw_at_told_times(list(row.subplots(1, columns)), process, low)
        row.suptitle(name, fontsize=9)
    return figure


def own_examples() -> dict[str, LinearGaussianProcess]:
    """Return the processes of two pages, by the name of the file that each one's code begins with."""
    pages = ("how_to/write_your_own.md", "start_here.md")
    code_of_pages = "".join((Path(__file__).parents[1] / page).read_text() for page in pages)
    made: dict[str, LinearGaussianProcess] = {}
    for name, code in re.findall(r"```python\n# (\w+)\.py\n(.*?)```", code_of_pages, re.DOTALL):
        if "(LinearGaussianProcess)" not in code:
            continue
        names: dict[str, object] = {"__name__": name}
        exec(compile(code, f"{name}.py", "exec"), names)  # noqa: S102
        (cls,) = (c for c in names.values() if isinstance(c, type) and c.__module__ == name)
        made[name] = cls(SHAPE)
    return made


def points_with_a_gap() -> Tensor:
    """Return random points in the unit square, none in a strip that is open at one end, (points, 2)."""
    points = torch.rand(500, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return points[((points[:, 0] - 0.55).abs() > 0.05) | (points[:, 1] < 0.25)]


def graph_heat() -> GraphHeat:
    """Return heat on the graph that joins points close to each other."""
    points = points_with_a_gap()
    weights = (torch.cdist(points, points) < 0.085).double().fill_diagonal_(0)
    return GraphHeat((1, len(points)), torch.diag(weights.sum(1)) - weights, time_max=60.0, time_min=0.02)


def draw_graph() -> Figure:
    """Return two warm spots spreading over the graph."""
    points, process = points_with_a_gap(), graph_heat()
    generator = torch.Generator().manual_seed(0)
    x = (((points - 0.28).norm(dim=1) < 0.16) | ((points - 0.8).norm(dim=1) < 0.13)).double()[None, None]
    figure = Figure(figsize=(COLUMNS * 1.05, 1.2), layout="constrained")
    for axis, t in zip(figure.subplots(1, COLUMNS), torch.linspace(0, 1, COLUMNS).tolist(), strict=True):
        values = process.marginal(x, t).sample(generator=generator)[0, 0]
        axis.scatter(*points.T, c=values, s=3, cmap="inferno", vmin=0, vmax=1.25, linewidths=0)
        axis.set_aspect("equal")
        axis.set_axis_off()
        axis.set_title(f"t = {t:.2g}", fontsize=8, color="0.3")
    return figure


def draw_log_snr(entries: dict[str, Entry]) -> Figure:
    """Return small multiples: log-SNR over time, one line for each of a few bands of frequencies."""
    figure = Figure(figsize=(7.2, 12.5), layout="constrained")
    columns = 3
    grid = figure.subplots(-(-len(entries) // columns), columns, sharex=True, sharey=True)
    for axis, entry in zip(grid.flat, entries.values(), strict=False):
        draw_bands(axis, entry)
    for axis in list(grid.flat)[len(entries) :]:
        axis.set_axis_off()
    for axis in list(grid.flat)[len(entries) - columns : len(entries)]:
        axis.set_xlabel("t", fontsize=8)
        axis.tick_params(labelbottom=True)
    for axis in grid[:, 0]:
        axis.set_ylabel("log-SNR (nats)", fontsize=8)
    scale = colormaps["viridis"]
    marks = [Line2D([], [], color=scale(c)) for c in (0.0, 0.45, 0.9)]
    names = ["lowest frequency (or most durable)", "middle", "highest"]
    figure.legend(marks, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def draw_bands(axis: Axes, entry: Entry) -> None:
    """Draw eight bands of one family, lowest frequency dark, highest bright."""
    times = torch.linspace(0, 1, 401, dtype=torch.float64)
    bands = log_snr_bands(entry.make(), times, entry.spectrum)
    chosen = torch.linspace(0, len(bands.positions) - 1, min(8, len(bands.positions))).round().long().tolist()
    for place, band in enumerate(chosen):
        colour = colormaps["viridis"](0.9 * place / max(1, len(chosen) - 1))
        line = bands.log_snr[band]
        # Cut off beyond the frame, lest a fall to minus infinity be left out altogether.
        axis.plot(times, line.clamp(-40, 40), color=colour, linewidth=1.3)
    if bool((bands.log_snr == torch.inf).all()):
        axis.text(0.5, 2, "no noise:\ninfinite", ha="center", fontsize=8, color="0.4")
    axis.axhline(0, color="0.7", linewidth=0.7, zorder=0)
    axis.set_ylim(-22, 22)
    axis.set_xlim(0, 1)
    of_data = "" if entry.spectrum is None else ", of its data"
    axis.set_title(f"{entry.title}{of_data}".replace(", ", ",\n", 1), fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=7)


def main() -> None:
    """Write the figures."""
    entries, own = families(), own_examples()
    for folder in ("families", "own"):
        (IMAGES / folder).mkdir(exist_ok=True)
    for name, entry in entries.items():
        save(draw_strip(entry.make(), entry.low), IMAGES / "families" / f"{name}.png")
    save(draw_founders(), IMAGES / "forward.png")
    save(draw_graph(), IMAGES / "families" / "graph_heat.png")
    for name, process in own.items():
        save(draw_strip(process, 0.0), IMAGES / "own" / f"{name}.png")
    save(draw_log_snr({**entries, "graph": Entry("GraphHeat", graph_heat)}), IMAGES / "log_snr.png")
    print(f"wrote {len(entries) + len(own) + 1} strips and log_snr.png to {IMAGES}")


if __name__ == "__main__":
    main()
