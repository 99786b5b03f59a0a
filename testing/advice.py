"""What to do about a mistake whose kind is known: an exception inside log_alpha or log_sigma, or what they return."""

from __future__ import annotations

import re

SHAPES = (
    "Multiply tables with self.expand_times(t), which is t with an axis of size 1 for each axis of a signal; the batch "
    "comes first."
)
VALUES = (
    "t may hold one time per example, so that there is no single number to read or to decide by: write torch.where "
    "for `if t < 0.5`, and tensor operations (torch.exp, torch.log) for .item(), float(t) and the module math."
)
TENSORS = (
    "Return a tensor: torch.full_like(t, number) for a constant, tensor operations (torch.exp, torch.log) on "
    "self.expand_times(t) for all else; neither numpy nor the module math."
)
DEVICES = (
    "Make every constant tensor a table (self.register_constant(name, tensor) in __init__) and new tensors on t.device "
    "(torch.zeros_like(t)), so that all of them are where t is."
)

LEVELS = (
    "Levels are 0 to K, at the times k / K, and t = 1 is level K, so a table needs K + 1 entries, level 0 among them; "
    "an interpolation that looks at the entry behind must stop one earlier: level = (t * K).floor().clamp(max=K - 1)."
)
INDICES = (
    "A time is no index: level k of K is the time k / K, so that the place in a table is t * K. Interpolate between "
    "the entries below and above it, (t * K).floor().long() and the next."
)
KERNELS = (
    "For blurs, the kernel must be point-symmetric with eigenvalues >= 0, and alpha_t is an eigenvalue: box kernels "
    "are observations (unmelt.samplers.guidance.LinearObservation), not processes, and one-sided ones have to be "
    "centred."
)

# The first kind whose words are found in the exception's message or type.
KINDS = (
    (INDICES, "used as indices"),
    (LEVELS, "out of (bounds|range)"),
    (
        VALUES,
        "truth value|boolean value|only one element|converted to scalar|item\\(\\)|math domain|real number|-1 arrays",
    ),
    (TENSORS, "numpy|ndarray|must be tensor, not|'float' object|'int' object|'float' and|expected tensor"),
    (DEVICES, "same device|on (device|cpu|cuda|meta)|device type|meta tensor"),
    (SHAPES, "size of tensor|broadcast|shape|expanded size|dimension|sizes? "),
)


def first_line(error: BaseException) -> str:
    """Return what an exception says, in a line."""
    return (str(error).strip() or "no message").splitlines()[0]


def advice_on(error: BaseException) -> str | None:
    """Return what to do about an exception inside `log_alpha` or `log_sigma`, None if its kind is not known."""
    said = first_line(error)
    return next((advice for advice, words in KINDS if re.search(words, said, re.IGNORECASE)), None)


def raising_coefficient(error: BaseException) -> str | None:
    """Return which of `log_alpha` and `log_sigma` an exception comes from, None if from neither."""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_name
        if name in {"log_alpha", "log_sigma"}:
            return name
        trace = trace.tb_next
    return None
