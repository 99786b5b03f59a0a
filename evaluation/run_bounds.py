"""The bound of a trained run on its held-out images, for every standard deviation of the reverse steps side by side.

For inverse heat dissipation, and wherever samples are drawn with a constant step: delta = sigma, the samples' own
delta, and the best one per coefficient and level, fitted on training images, under independent levels and as a Markov
chain. For Markov processes: the posterior's, the forward transition's and the fitted one on the sampler's grid, and the
limit of continuous time. (It needs `unmelt.training`, and so what the `recipes` extra installs.)
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import torch

from .. import __version__
from ..core.checks import check_count
from ..core.files import write_atomically
from ..core.tensor_files import read_state, write_state
from ..degradations import (
    Coupling,
    Independent,
    LinearGaussianProcess,
    Markov,
)
from ..losses import ELBO, MonteCarlo
from ..models import (
    ConstantStd,
    Decoder,
    DiscretisedGaussianDecoder,
    FittedStd,
    ForwardStd,
    GaussianDecoder,
    MarginalStd,
    PosteriorStd,
    ReverseStd,
)
from ..samplers import Posterior, UniformGrid
from ..training import LoadedRun, Splits, load_run
from .bound_report import LikelihoodReport, evaluate_bound
from .run_facts import training_facts

_STEPS = 200
_FITTED = "fitted"
# Whose reverse steps are as wide as they should be: the name of the bound that is the model's, whatever its sampler.
MODEL_S_OWN = _FITTED


def evaluate_run(  # noqa: PLR0913  # each is a choice
    folder: Path | str,
    *,
    images: int | None = None,
    fit_images: int = 1000,
    steps: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
    report: Callable[[str, LikelihoodReport], None] | None = None,
    place: Path | str | None = None,
    trust_code: bool = False,
) -> dict[str, LikelihoodReport]:
    """Return the bounds of a run on its held-out images, by name, and write them into its folder.

    `likelihood.json` holds the figures, in nats and in bits per dimension, and what they are figures of;
    `fitted_bounds.safetensors` the states of the fitted bounds, for `load_fitted_bound`. With `images` both names end
    in their number: a first try overwrites no result. Files are written whole or not at all.

    Args:
        folder: the run's folder.
        images: how many held-out images; all of them if None.
        fit_images: how many training images the fitted standard deviations are fitted on.
        steps: steps of the reverse process where it has no levels; the sampler's (or 200) if None.
        batch_size: images at a time.
        seed: of all random numbers.
        progress: show progress bars.
        report: called with each name and figure as they come.
        place: folder or file where the data lie now; None looks where they were.
        trust_code: as for `load_run`.

    Raises:
        ConnectionError, FileNotFoundError, ValueError: as `load_run` and `LoadedRun.data`; a count is below 1; `steps`
            are given to a process with levels; the process has no bound; or the network was never without labels.
        FloatingPointError: the denoiser returned NaN or infinity; the level is named.
        OSError: the folder cannot be written to.
    """
    for name, count in (("images", images), ("fit_images", fit_images), ("batch_size", batch_size)):
        if count is not None:
            check_count(name, count)
    loaded = load_run(folder, trust_code=trust_code).require_nothing_known("an evaluation")
    # Before an hour of computing, not after it.
    loaded.folder.check_writable()
    if loaded.denoiser.classes is not None and loaded.config.training.label_dropout == 0:
        msg = (
            f"{loaded.folder.path} was trained with labels alone (label_dropout = 0), and the likelihood here is that"
            " of images without them: train with --training.label-dropout 0.1, or give condition=labels to a bound of"
            " your own"
        )
        raise ValueError(msg)
    data = loaded.data(place)
    made = run_bounds(loaded, data, steps)
    training, generator = (
        data.train.fetch(range(min(fit_images, len(data.train)))).x,
        torch.Generator().manual_seed(seed),
    )
    fitted = [name for name, bound in made.items() if isinstance(bound.reverse_std, FittedStd)]
    held_out, found = data.test.first(images), dict[str, LikelihoodReport]()
    for name in made:
        if name in fitted:
            made[name] = made[name].fitted(training, batch_size=batch_size, generator=generator)
        found[name] = evaluate_bound(made[name], held_out, batch_size=batch_size, seed=seed, progress=progress)
        if report is not None:
            report(name, found[name])
    end = "" if images is None else f"_{images}"
    figures = {
        "unmelt": __version__,
        **training_facts(loaded),
        "data": data.test.fingerprint(),
        "split": "held-out images",
        "batch_size": batch_size,
        "seed": seed,
        "fit_images": fit_images,
        "model_s_own": MODEL_S_OWN,
        "bounds": {name: {"bound": _description(made[name]), **found[name].to_json()} for name in made},
    }
    text = json.dumps(figures, indent=2) + "\n"
    states = {name: made[name].fitted_state() for name in fitted}
    write_atomically(loaded.folder.path / f"likelihood{end}.json", text)
    write_state(loaded.folder.path / f"fitted_bounds{end}.safetensors", states)
    return found


def load_fitted_bound(
    folder: Path | str,
    name: str = _FITTED,
    *,
    steps: int | None = None,
    place: Path | str | None = None,
    trust_code: bool = False,
) -> ELBO:
    """Return a fitted bound that `evaluate_run` left in a run's folder.

    Args:
        folder: the run's folder.
        name: its name in the report.
        steps: as it was given to `evaluate_run`.
        place: folder or file where the data lie now; None looks where they were.
        trust_code: as for `load_run`.

    Raises:
        ConnectionError, FileNotFoundError, ValueError: as `evaluate_run`; or there is no such bound.
    """
    loaded = load_run(folder, trust_code=trust_code)
    path = loaded.folder.path / "fitted_bounds.safetensors"
    if not path.is_file():
        msg = f"{loaded.folder.path} holds no fitted bounds (no {path.name}): unmelt evaluate makes them"
        raise FileNotFoundError(msg)
    states = read_state(path)
    if name not in states:
        msg = f"{path} holds no bound {name!r}: there is {' and '.join(map(repr, states))}"
        raise ValueError(msg)
    bound = run_bounds(loaded, loaded.data(place), steps)[name]
    bound.load_fitted_state(states[name])
    return bound


def run_bounds(loaded: LoadedRun, data: Splits, steps: int | None = None) -> dict[str, ELBO]:
    """Return the bounds to report of a run, by name; those to be fitted start from the posterior's standard deviation.

    Args:
        loaded: the run.
        data: its images.
        steps: steps of the reverse process where it has no levels; the sampler's (or 200) if None.

    Raises:
        ValueError: `steps` are given to a process with levels, or the process has no bound (no noise).
    """
    denoiser, process, config = loaded.denoiser, loaded.denoiser.process, loaded.parts
    if steps is not None and process.levels is not None:
        msg = f"steps={steps} are for processes without levels, and {process.called} has {process.levels}"
        raise ValueError(msg)
    own = config.grid.steps if isinstance(config.grid, UniformGrid) else None
    grid = None if process.levels else steps or own or _STEPS
    grey_levels = data.train.grey_levels
    if grey_levels is None:
        msg = "bits per dimension are those of data with grey levels, and these have none: build an ELBO of your own"
        raise ValueError(msg)
    integers = DiscretisedGaussianDecoder(process, grey_levels)

    def made(coupling: Coupling, width: ReverseStd, decoder: Decoder) -> ELBO:
        return ELBO(denoiser, prior=loaded.prior, decoder=decoder, coupling=coupling, reverse_std=width, steps=grid)

    chain = made(Markov(), PosteriorStd(), integers)
    chain_fitted = made(Markov(), _unfitted(chain, Markov()), DiscretisedGaussianDecoder(process, grey_levels, 1.0))
    stepper = config.sampler
    if isinstance(stepper, Posterior) and isinstance(stepper.coupling, Independent):
        bounds: dict[str, ELBO] = {}
        for name, (reverse_std, delta) in _constant(process, stepper.reverse_std).items():
            density = GaussianDecoder(process, delta, grey_levels=grey_levels)
            bounds[f"{name} = {delta:.4g}"] = made(Independent(), reverse_std, density)
        density = GaussianDecoder(process, torch.ones(process.shape), grey_levels=grey_levels)
        bounds[_FITTED] = made(Independent(), _unfitted(chain, Independent()), density)
        return bounds | {f"Markov levels, {_FITTED}": chain_fitted}
    bounds = {"posterior's": chain, "forward's": made(Markov(), ForwardStd(), integers)}
    if process.levels is None:
        bounds["continuous time"] = ELBO(
            denoiser,
            prior=loaded.prior,
            decoder=integers,
            steps=math.inf,
            first=chain.first,
            summation=MonteCarlo(draws=32),
        )
    return bounds | {_FITTED: chain_fitted}


def _constant(process: LinearGaussianProcess, drawn_with: ReverseStd) -> dict[str, tuple[ReverseStd, float]]:
    """Return standard deviations that are one number, by name: sigma where it is one, and that of the samples."""
    found = process.sigma(torch.linspace(0, 1, 9, dtype=torch.float64))
    constant = found.max().item() - found.min().item() <= 1e-9 * found.max().item()
    sigma = found.max().item() if constant else 0.0
    match drawn_with:
        case ConstantStd(delta):
            pass
        case MarginalStd(times_sigma):
            delta = times_sigma * sigma
        case _:
            delta = 0.0
    deltas: dict[str, tuple[ReverseStd, float]] = {"delta = sigma": (MarginalStd(1.0), sigma)}
    if not math.isclose(delta, sigma):
        deltas["the samples' delta"] = (drawn_with, delta)
    return {name: pair for name, pair in deltas.items() if pair[1] > 0}


def _unfitted(bound: ELBO, coupling: Coupling) -> FittedStd:
    """Return the posterior's standard deviation for this bound's steps under a coupling, as a table to be fitted."""
    assert bound.times is not None
    grid = bound.process.to_schedule_dtype(bound.times)
    steps = [bound.process.posterior_coefficients(s, t, coupling) for s, t in itertools.pairwise(grid)]
    return FittedStd(bound.times, torch.stack([step.stddev[0].log().expand(bound.process.shape) for step in steps]))


def _description(bound: ELBO) -> dict[str, object]:
    """Return what a bound is made of, in words and numbers for a reader."""
    width = bound.reverse_std
    return {
        "coupling": str(bound.coupling),
        "reverse_std": type(width).__name__ if isinstance(width, FittedStd) else str(width),
        "decoder": repr(bound.decoder).splitlines()[0].rstrip("("),
        "prior": repr(bound.prior).splitlines()[0].rstrip("("),
        "summation": str(bound.summation),
        "first": bound.first,
    }
