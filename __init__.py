"""unmelt: linear-Gaussian forward processes for generative modelling.

A process destroys a signal by scaling its coefficients in some orthonormal basis and adding Gaussian
noise. From one small subclass follow exact marginals, transitions and posteriors, training losses and
samplers. Start at `unmelt.degradations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .training import LoadedRun as LoadedRun
    from .training import PretrainedModel as PretrainedModel
    from .training import load_run as load_run

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import what loads trained models when it is asked for: it needs what training needs."""
    if name in ("LoadedRun", "PretrainedModel", "load_run"):
        from . import training  # noqa: PLC0415

        return getattr(training, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
