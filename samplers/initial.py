r"""Where runs start: latents at t = 1, from a prior, or from a denoiser that knows more of them.

Samples of p(x) start from p(z_1). Samples of p(x | y) start from p(z_1 | y), which a prior does not know: a denoiser
that is given y draws it.
"""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_instance
from ..models import AbstractDenoiser, Condition, Prior
from ..models.clipped_denoiser import unclipped
from ..models.priors.default import default_prior
from .noise import GeneratorNoise, SeedNoise
from .spectral import Draw


@runtime_checkable
class DrawsInitialLatents(Protocol):
    """A denoiser that draws what its runs start from; samplers of it take no prior."""

    def initial_latents(self, given: Condition | None, draw: Draw) -> Float[Tensor, "batch ..."]:
        """Draw latents at t = 1, (batch, *shape), in float32.

        Args:
            given: what the denoiser is given of each sample, one entry for each.
            draw: makes white noise like a tensor with one row for each sample.
        """
        ...


class InitialLatents:
    """The distribution that a sampler's runs start from.

    Args:
        denoiser: the sampler's denoiser.
        prior: p(z_1); standard normal if None, or that of a known end, unless the denoiser draws its own latents.

    Attributes:
        prior: the prior; None where the denoiser draws.

    Raises:
        TypeError: `prior` is not a `Prior`.
        ValueError: the prior is one of another process or data range, the process needs another prior than a standard
            normal, or the denoiser takes none.
    """

    def __init__(self, denoiser: AbstractDenoiser, prior: Prior | None) -> None:
        if prior is not None:
            check_instance("prior", prior, Prior, "DegradedDataPrior.fit(process, images) for example")
        # Clipping estimates does not change where runs start.
        self.denoiser = denoiser = unclipped(denoiser)
        if isinstance(denoiser, DrawsInitialLatents):
            if prior is not None:
                msg = (
                    f"{type(denoiser).__name__} draws its first latents itself, given what was observed, and a prior"
                    f" knows nothing of that: leave prior={type(prior).__name__} out, or give runs `initial` latents"
                )
                raise ValueError(msg)
            self.prior = None
            return
        if prior is not None:
            prior.require_fits(denoiser)
        self.prior = prior or default_prior(denoiser.process)

    def sample(
        self, count: int, *, given: Condition | None, source: torch.Generator | SeedNoise | None
    ) -> Float[Tensor, "count ..."]:
        """Draw latents, (count, *shape), from one generator or from one for each of them.

        Those of a process with a known end are centred.
        """
        if self.prior is None:
            noise = source if isinstance(source, SeedNoise) else GeneratorNoise(source)
            return cast("DrawsInitialLatents", self.denoiser).initial_latents(given, noise.stream(slice(None)))
        # Checked by the sampler.
        end = cast("Tensor | None", given) if self.denoiser.process.known_end else None
        if isinstance(source, SeedNoise):
            rows = (None if end is None else end[k : k + 1] for k in range(count))
            pairs = zip(rows, source.generators, strict=True)
            return torch.cat([self.prior.given(row).sample(1, generator=each) for row, each in pairs])
        return self.prior.given(end).sample(count, generator=source)
