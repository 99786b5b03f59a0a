"""A denoiser of a process with a known end, seen from where that end has drawn its latents."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..core.checks import check_instance
from ..degradations.process import Time
from .conditions import Condition
from .denoiser import AbstractDenoiser, check_end, known_end


class CentredDenoiser(AbstractDenoiser):
    r"""The same denoiser for latents z_t - beta_t y, whose process, `process.centred()`, has no known end.

    What it predicts is the same, since every prediction is a share of the data and of what noise makes of the *centred*
    latent, so that losses, bounds and steppers made for processes without an end serve those that have one. The
    end y is `given` all the same: the latents that the denoiser itself sees are z_t.

    Args:
        denoiser: a denoiser of a process with a known end.
        end: y, (batch, *shape) or one for all, (1, *shape), for one that is to be given nothing any more: a denoiser of
            a process without an end, which guidance by observations takes, too.

    Raises:
        TypeError: `denoiser` is none.
    """

    def __init__(self, denoiser: AbstractDenoiser, end: Float[Tensor, "batch ..."] | None = None) -> None:
        check_instance("denoiser", denoiser, AbstractDenoiser, "Denoiser(network, process, prediction=...) for example")
        super().__init__(denoiser.process.centred())
        self.denoiser, self.prediction, self.grey_levels = denoiser, denoiser.prediction, denoiser.grey_levels
        self.end, self.needs_given = end, end is None

    @property
    @override
    def classes(self) -> int | None:
        return self.denoiser.classes

    @override
    def forward(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Time,
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        t, given = self.process.as_times(t, batch=z_t.shape[0]), self._given(given, z_t.shape[0])
        return self.denoiser(self._uncentred(z_t, t, given), t, condition, given)

    @override
    def output(
        self,
        z_t: Float[Tensor, "batch ..."],
        t: Float[Tensor, "*batch"],
        condition: Condition | None = None,
        given: Condition | None = None,
    ) -> Float[Tensor, "batch ..."]:
        given = self._given(given, z_t.shape[0])
        return self.denoiser.output(self._uncentred(z_t, t, given), t, condition, given)

    @override
    def network_calls(self, t: Float[Tensor, "*batch"], condition: Condition | None = None) -> int:
        return self.denoiser.network_calls(t, condition)

    def _given(self, given: Condition | None, count: int) -> Condition | None:
        if given is not None or self.end is None:
            return given
        return self.end.expand(count, *self.end.shape[1:]) if len(self.end) == 1 else self.end

    def _uncentred(self, z: Tensor, t: Tensor, given: Condition | None) -> Tensor:
        return moved_from_end(self, z, t, given, back=True)


def moved_from_end(
    denoiser: AbstractDenoiser, z: Float[Tensor, "batch ..."], t: Time, given: Condition | None, *, back: bool = False
) -> Float[Tensor, "batch ..."]:
    """Return latents z_t of a centred denoiser's process less the share of its known end, or `back` with it again.

    Latents of other denoisers are what they are.

    Args:
        denoiser: a denoiser.
        z: latents, (batch, *shape).
        t: their time.
        given: the known end y of each, (batch, *shape).
        back: whether the share is to be added instead.

    Raises:
        TypeError, ValueError: as `LinearGaussianProcess.check_given`.
    """
    if not isinstance(denoiser, CentredDenoiser):
        return z
    process = denoiser.denoiser.process
    end = known_end(process, given, z.shape[0])
    if end is None:
        return z
    share = process.end_share(end.to(z.dtype), t).to(z.device)
    return z + share if back else z - share


def check_tied(denoiser: AbstractDenoiser, given: Tensor | None, count: int) -> Tensor | None:
    """Check the known ends that a centred denoiser is given, and return them; others are to be given none.

    Raises:
        TypeError, ValueError: as `check_end`, for the denoiser inside.
    """
    return check_end(denoiser.denoiser if isinstance(denoiser, CentredDenoiser) else denoiser, given, count)


def tied_to(denoiser: AbstractDenoiser, given: Tensor | None, count: int) -> AbstractDenoiser:
    """Return a centred denoiser that has been given the known end of each of so many latents; others as they are.

    Raises:
        TypeError, ValueError: as `check_tied`.
    """
    end = check_tied(denoiser, given, count)
    return CentredDenoiser(denoiser.denoiser, end) if isinstance(denoiser, CentredDenoiser) else denoiser


def centred(denoiser: AbstractDenoiser) -> AbstractDenoiser:
    """Return a denoiser of centred latents; the one given if its process has no known end."""
    return CentredDenoiser(denoiser) if denoiser.process.known_end else denoiser
