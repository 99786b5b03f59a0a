"""The bound of a trained run on its held-out images, for every standard deviation of the reverse steps side by side.

For inverse heat dissipation, and wherever samples are drawn with a constant step: delta = sigma, the samples' own
delta, and the best one per coefficient and level, fitted on training images, under independent levels and as a Markov
chain. For Markov processes: the posterior's, the forward transition's and the fitted one on the sampler's grid, and the
limit of continuous time. (It stands on `unmelt.training`, and so on what the `recipes` extra installs.)
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import torch

from ..degradations import Deterministic, Independent, LinearGaussianProcess, Markov
from ..losses import (
    ELBO,
    ConstantStd,
    DegradedDataPrior,
    DiscretisedGaussianDecoder,
    ForwardStd,
    GaussianDecoder,
    KernelDivergence,
    PosteriorStd,
    Prior,
    Quantisation,
    SampledLevels,
    StandardNormalPrior,
)
from ..training import ImageSplits, LoadedRun, load_run
from .likelihood import LikelihoodReport, evaluate_bound

_STEPS = 200
_FITTED = "fitted"


def evaluate_run(
    folder: Path | str,
    *,
    images: int | None = None,
    fit_images: int = 1000,
    steps: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
    report: Callable[[str, LikelihoodReport], None] | None = None,
) -> dict[str, LikelihoodReport]:
    """Return the bounds of a run on its held-out images, by name, and write them into its folder.

    `likelihood.json` holds the figures, in nats and in bits per dimension; `fitted_bound.pt` the state of the fitted
    bound: its standard deviations and its decoder's. Both are written whole or not at all, and replace older ones.

    Args:
        folder: the run's folder.
        images: how many held-out images; all of them if None.
        fit_images: how many training images the fitted standard deviations are fitted on.
        steps: steps of the reverse process where it has no levels; the sampler's (or 200) if None.
        batch_size: images at a time.
        seed: of all random numbers.
        progress: show progress bars.
        report: called with each name and figure as they come.

    Raises:
        ConnectionError, FileNotFoundError, ValueError: as `load_run` and `LoadedRun.data`; or a count is below 1.
        FloatingPointError: the denoiser returned NaN or infinity; the level is named.
    """
    for name, count in (("images", images), ("fit_images", fit_images), ("batch_size", batch_size)):
        if count is not None and count < 1:
            msg = f"{name} must be at least 1, got {count}"
            raise ValueError(msg)
    loaded = load_run(folder)
    data = loaded.data()
    made = run_bounds(loaded, data, steps)
    training, generator = data.train.scaled(slice(0, fit_images)), torch.Generator().manual_seed(seed)
    first = next(iter(made.values()))
    made[_FITTED] = first.fitted(loaded.denoiser, training, batch_size=batch_size, generator=generator)
    if isinstance(first.coupling, Independent):
        # The same network and levels, no longer independent of each other.
        chain = ELBO(loaded.denoiser.process, prior=first.prior, decoder=first.decoder, coupling=Markov(), steps=steps)
        made[f"Markov levels, {_FITTED}"] = chain.fitted(
            loaded.denoiser, training, batch_size=batch_size, generator=generator
        )
    held_out, found = data.test.scaled(slice(0, images)), dict[str, LikelihoodReport]()
    for name, bound in made.items():
        found[name] = evaluate_bound(
            bound, loaded.denoiser, held_out, batch_size=batch_size, seed=seed, progress=progress
        )
        if report is not None:
            report(name, found[name])
    text = json.dumps({name: figures.to_json() for name, figures in found.items()}, indent=2) + "\n"
    _write(loaded.run.folder / "likelihood.json", lambda path: path.write_text(text))
    _write(loaded.run.folder / "fitted_bound.pt", lambda path: torch.save(made[_FITTED].state_dict(), path))
    return found


def run_bounds(loaded: LoadedRun, data: ImageSplits, steps: int | None) -> dict[str, ELBO]:
    """Return the bounds to report, by name: everything but the fitted one."""
    process, config, train = loaded.denoiser.process, loaded.config, data.train
    levels = Quantisation(levels=train.levels, low=train.data_range.low, high=train.data_range.high)
    coupling = config.sampling.coupling.build()
    if isinstance(coupling, Deterministic):
        # Samples may be drawn without noise, but a bound needs some: that of the chain with the same marginals.
        coupling = Markov()
    delta = config.sampling.delta
    if delta is not None or isinstance(coupling, Independent):
        sigma = process.sigma(1.0).max().item()
        widths = {"delta = sigma": sigma} | ({} if delta in (None, sigma) else {"the samples' delta": delta})
        return {
            f"{name} = {width:.4g}": ELBO(
                process,
                prior=_prior(process, data),
                decoder=GaussianDecoder(process, width, quantisation=levels),
                coupling=coupling,
                reverse_std=ConstantStd(width),
            )
            for name, width in widths.items()
        }
    decoder = DiscretisedGaussianDecoder(process, levels)
    grid = None if process.levels else steps or config.sampling.steps or _STEPS
    prior = _prior(process, data)
    made = {
        name: ELBO(process, prior=prior, decoder=decoder, coupling=coupling, steps=grid, reverse_std=width)
        for name, width in {"posterior's": PosteriorStd(), "forward's": ForwardStd()}.items()
    }
    continuous = ELBO(process, prior=prior, decoder=decoder, steps=math.inf, estimate=SampledLevels(draws=32))
    return made | {"continuous time": continuous}


def _prior(process: LinearGaussianProcess, data: ImageSplits) -> Prior:
    """Return standard normal noise where the process ends in it, else the kernel density with its closed-form bound."""
    try:
        return StandardNormalPrior(process)
    except ValueError:
        return DegradedDataPrior(process, data.train.scaled(), divergence=KernelDivergence.VARIATIONAL)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    temporary.replace(path)
