"""What `unmelt evaluate` has measured of a run, with what makes its figures comparable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .figures import Facts, Panel
from .stored_figures import LIKELIHOOD, MEMORISATION, SAMPLES, Stored, bits_per_dim, stored
from .subject import Subject

TITLE = "Measured by unmelt evaluate"
ABOUT = (
    "Figures that lie in the run's folder, of the checkpoint shown here. Those of other counts, other features or other"
    " data do not compare; a floor is what training examples have among themselves."
)


def measured(subject: Subject) -> Panel:
    """Return the figures that a run's folder holds."""
    run = subject.run
    makers = {LIKELIHOOD: _likelihood, SAMPLES: _samples, MEMORISATION: _memorisation}
    try:
        found = [_read(make, file) for pattern, make in makers.items() for file in stored(run, pattern)]
    except ValueError as error:
        # A page that is handed on names no folders.
        told = str(error).replace(f"{run.folder.path}/", "")
        return Panel(missing=f"Left out: {told}")
    if not found:
        return Panel(missing=f"Left out: no figures of {run.checkpoint.name} are there; unmelt evaluate makes them.")
    return Panel(found)


def _read(make: Callable[[Stored], Facts], file: Stored) -> Facts:
    """Return what a file holds; of one that lacks something, that it does."""
    try:
        return make(file)
    except (AttributeError, KeyError, TypeError) as error:
        return Facts(file.name, [("not shown", f"it is not whole ({error}): unmelt evaluate writes it anew")])


def _likelihood(file: Stored) -> Facts:
    own = file.told.get("model_s_own")
    rows = [
        (f"{name}, the model's" if name == own else name, f"{bound['mean']:.4f} ± {bound['stderr']:.4f}")
        for name, bound in bits_per_dim(file.told).items()
    ]
    counts = sorted({str(bound["count"]) for bound in file.told["bounds"].values()})
    says = f"{file.name}: upper bounds on the bits per dimension of {', '.join(counts)} held-out examples, mean ± SE."
    return Facts("Bits per dimension", rows, f"{says} Seed {file.told['seed']}.")


def _samples(file: Stored) -> Facts:
    told = file.told
    rows = [("energy distance over pixels", _with_floor(told["energy"]))]
    features, classes = told["features"], told["classes"]
    if features is not None:
        by = features["network"]
        rows += [(f"Frechet distance, {by}", _with_floor(features["frechet"]))]
        shares = {name: share for name, share in features["manifold"].items() if isinstance(share, float)}
        rows += [(f"{name}, {by}", f"{share:.3f}") for name, share in shares.items()]
    if classes is not None:
        rows += [("recognised", f"{classes['recognised']:.1%} (held-out examples {classes['real']:.1%})")]
        if classes["as_asked"] is not None:
            rows += [("as the class asked for", f"{classes['as_asked']:.1%}")]
    network = "no features" if told["network"] is None else f"features of {told['network']}"
    says = f"{file.name}: {told['samples']} samples and {told['real_images']} training examples, {network}."
    return Facts("Samples beside training examples", rows, f"{says} {_drawn_by(told)}")


def _memorisation(file: Stored) -> Facts:
    told = file.told
    rows = [
        ("median distance to the nearest", f"{told['median']:.4g} (held-out examples {told['held_out_median']:.4g})"),
        (f"nearer than {told['quantile']:.0%} of those", f"{told['share']:.1%} ± {told['share_error']:.1%}"),
        ("copies", f"{told['copies']:.1%} (held-out examples {told['held_out_copies']:.1%})"),
    ]
    says = (
        f"{file.name}: {told['samples']} samples, {told['held_out']} held-out examples, {told['training_images']}"
        f" training examples. Seed {told['seed']}."
    )
    return Facts("Copies of training examples", rows, says)


def _with_floor(distance: Mapping[str, Any]) -> str:
    return f"{distance['value']:.4g} (floor {distance['floor']:.4g}, of {distance['floor_count']} and as many)"


def _drawn_by(told: Mapping[str, Any]) -> str:
    return f"Drawn by {told['sampler']}, {told['steps']} steps, guidance {told['guidance']:g}, seed {told['seed']}."
