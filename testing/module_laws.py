"""Laws of the process as a module: copies, rounding by .half(), and moves between devices."""

from __future__ import annotations

import copy
import io
import pickle

import torch
from torch import Tensor, nn

from ..degradations import ConstantNoise, IsotropicDiffusion, LinearGaussianProcess
from .advice import first_line
from .compare import require_equal
from .law import Example, Violation, law_at_once
from .plain import as_time, plain, signals

PROBES = (0.0, 0.25, 0.5, 0.75, 1.0)


@law_at_once(
    "copies agree with the original",
    "copy.deepcopy and pickle carry all of a process over: do not drop attributes in __getstate__ or __reduce__, and "
    "keep no state outside self.",
)
def copies(process: LinearGaussianProcess) -> None:
    """A copy has the same coefficients, and `agrees_with` knows. What cannot be pickled by name is left alone."""
    require_same(process, copy.deepcopy(process), "a deepcopy")
    if process.agrees_with(IsotropicDiffusion(process.shape, ConstantNoise(123.0))):
        msg = "process.agrees_with(other) is True for another process, an IsotropicDiffusion"
        raise Violation(msg, advice="It compares classes, tables and coefficients: do not override it.")
    try:
        stored = io.BytesIO()
        pickle.dump(process, stored)
    except (pickle.PicklingError, AttributeError):
        # Classes inside functions, and lambdas: Python has no name for them, which is not the process's fault.
        return
    stored.seek(0)
    require_same(process, pickle.load(stored), "a pickled copy")  # noqa: S301  (written two lines above)


def require_same(process: LinearGaussianProcess, other: LinearGaussianProcess, what: str) -> None:
    """Require two processes to have the same coefficients and to say so."""
    require_same_coefficients(process, other, what)
    if not process.agrees_with(other):
        msg = f"process.agrees_with({what}) is False"
        raise Violation(msg)


@law_at_once(
    "training mode leaves the process alone",
    "A process is the same in training and in use: do not look at self.training, and put no dropout or batch "
    "normalisation into log_alpha, log_sigma or the basis.",
)
def always_alike(process: LinearGaussianProcess) -> None:
    """Coefficients and transforms are the same after .train() and after .eval()."""
    x = signals(process, Example())
    for mode in (True, False):
        other, what = copy.deepcopy(process).train(mode), ".train()" if mode else ".eval()"
        for t in PROBES:
            for name, ours, theirs in zip(("log_alpha", "log_sigma"), plain(process, t), plain(other, t), strict=True):
                require_equal(f"{name}(t) after {what}", theirs, ours, rank=len(process.shape), times=(t,))
        theirs, ours = other.basis.forward(x.clone()), process.basis.forward(x.clone())
        require_equal(f"basis.forward(x) after {what}", theirs, ours, rank=len(process.shape))


def require_same_coefficients(process: LinearGaussianProcess, other: LinearGaussianProcess, what: str) -> None:
    """Require two processes to have the same coefficients at a few times."""
    for t in PROBES:
        for name, ours, theirs in zip(("log_alpha", "log_sigma"), plain(process, t), plain(other, t), strict=True):
            require_equal(f"{name}(t) of {what}", theirs, ours, rank=len(process.shape), times=(t,))


@law_at_once(
    "every tensor is a table",
    "A plain attribute stays behind when the process moves to a GPU: self.register_constant(name, tensor), or "
    "nn.Parameter for what is learned.",
)
def tables(process: LinearGaussianProcess) -> None:
    """No tensor hides in an attribute, a list or an object of the process or of its modules, nor in checkpoints."""
    saved = process.state_dict()
    for name, _ in process.named_buffers():
        if name in saved:
            msg = f"the buffer {name} is in the state_dict"
            advice = (
                "Use register_constant(name, tensor) for register_buffer(name, tensor): a constant keeps its precision "
                "under .half() and follows from the constructor's arguments, so that checkpoints need not hold it."
            )
            raise Violation(msg, advice=advice)
    for name, module in process.named_modules():
        for attribute, value in vars(module).items():
            if attribute in {"_parameters", "_buffers", "_modules"}:
                continue
            path = tensor_in(value, f"{name}.{attribute}".lstrip("."), set())
            if path:
                msg = f"the attribute {path} is a plain tensor"
                raise Violation(msg)


def tensor_in(value: object, path: str, seen: set[int]) -> str | None:
    """Return where in `value` there is a tensor, or None; modules look after their own."""
    if isinstance(value, Tensor):
        return path
    if isinstance(value, nn.Module) or id(value) in seen:
        return None
    seen.add(id(value))
    for inner_path, inner in insides(value, path):
        found = tensor_in(inner, inner_path, seen)
        if found:
            return found
    return None


def insides(value: object, path: str) -> list[tuple[str, object]]:
    """Return the parts of a container or of an object with attributes, with their paths."""
    if isinstance(value, dict):
        return [(f"{path}[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, list | tuple | set):
        return [(f"{path}[{i}]", part) for i, part in enumerate(value)]
    attributes = getattr(value, "__dict__", None)
    if isinstance(value, type) or callable(value) or not isinstance(attributes, dict):
        return []
    return [(f"{path}.{name}", part) for name, part in attributes.items()]


@law_at_once(
    "rounding a model leaves its process alone",
    "model.half() is meant for the network. Register tables with register_constant on the process or on a "
    "ConstantModule; a plain nn.Module inside rounds its buffers.",
)
def unrounded(process: LinearGaussianProcess) -> None:
    """.half() and .to(torch.float32) change no coefficient; learned parameters are rounded, and exempt."""
    if next(process.parameters(), None) is not None:
        return
    original = copy.deepcopy(process)
    for what, rounded in (
        ("the process after .half()", copy.deepcopy(process).half()),
        ("the process after .to(torch.float32)", copy.deepcopy(process).to(torch.float32)),
    ):
        if not isinstance(rounded, LinearGaussianProcess):  # pyright: ignore[reportUnnecessaryIsInstance]
            msg = f"{what} is {rounded!r}"
            raise Violation(msg, advice="Do not override to, half and float: torch moves what is registered.")
        require_same_coefficients(original, rounded, what)


@law_at_once(
    "the process moves to another device as a whole",
    "This was tried on torch's device 'meta', which has shapes but no values. Make every constant tensor a table "
    "(register_constant), make new tensors on t.device (torch.zeros_like(t)), and read no values (if t > ..., .item(), "
    "numpy): torch.where decides per element.",
)
def portable(process: LinearGaussianProcess) -> None:
    """On another device, coefficients and transforms are computed there, without a look at values."""
    moved = copy.deepcopy(process).to("meta")
    t = as_time(process, 0.25, 0.5).to("meta")
    x = torch.zeros(2, *process.shape, device="meta")
    for name, function, argument in (
        ("log_alpha(t)", moved.log_alpha, t),
        ("log_sigma(t)", moved.log_sigma, t),
        ("basis.forward(x)", moved.basis.forward, x),
        ("basis.inverse(u)", moved.basis.inverse, x),
    ):
        try:
            device = function(argument).device
        except Exception as error:
            msg = f"{name} raises {type(error).__name__} there: {first_line(error)}"
            raise Violation(msg, cause=error) from error
        if device.type != "meta":
            msg = f"{name} is on {device} when all else is on meta"
            raise Violation(msg)


LAWS = (copies, tables, unrounded, always_alike, portable)
