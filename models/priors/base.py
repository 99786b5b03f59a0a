r"""What every prior offers: draws, its log-density, and how far a marginal q(z_1 | x) is from it.

A prior p(z_1) stands for the marginal of the data at t = 1. Sampling starts from a draw of it, and the variational
bound ends in

    KL(q || p) = E_q[log q(z) - log p(z)] = -H(q) - E_q[log p(z)],    q = q(z_1 | x).
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ...core.checks import check_instance, check_signal
from ...core.constants import ConstantModule
from ...degradations import LinearGaussianProcess, SpectralGaussian
from ..denoiser import AbstractDenoiser
from ..grey_levels import GreyLevels

# Not `Self`, which beartype knows in whole classes only.
SomePrior = TypeVar("SomePrior", bound="Prior")


class Prior(ConstantModule, ABC):
    """A distribution of latents at t = 1. A subclass writes `sample` and `log_prob`.

    One that recipes can choose is made from a process and data by a classmethod `fit(process, data)`, and made again
    from what it left by `from_state_dict`: its `state_dict` holds all that was fitted, and no data are needed again.
    `tables` names the buffers that the constructor takes beside the process; one that is None is in no state.

    Its buffers keep their precision when the module is sent to another dtype. Densities and divergences are computed,
    and returned, in the precision of schedules: float64 where the device has it, whatever the latents' own.

    What was fitted to data stays as it was, while the process's own noise at t = 1 is asked for whenever it is needed:
    it may be learned, and densities and divergences have gradients by its parameters. Where the signal that is left at
    t = 1 is learned, fit the prior again.

    Of a process with a known end y it is the distribution of z_1 - beta_1 y, that of the process `centred()`.

    Args:
        process: the forward process whose last level it stands for.

    Attributes:
        process: that process, `centred()`.
        grey_levels: levels and range of the data it was fitted to; None where they are not known, or there are none.
    """

    tables: ClassVar[tuple[str, ...]] = ()
    grey_levels: GreyLevels | None = None

    def __init__(self, process: LinearGaussianProcess) -> None:
        super().__init__()
        check_instance("process", process, LinearGaussianProcess, "such as HeatDissipation((3, 32, 32))")
        self.process = process.centred()

    def given(self, end: Float[Tensor, "count ..."] | None) -> Prior:
        """Return this prior given the known end y of each latent, (count, *shape); the same for one that needs none."""
        del end
        return self

    @classmethod
    def from_state_dict(cls: type[SomePrior], process: LinearGaussianProcess, state: Mapping[str, Any]) -> SomePrior:
        """Return the prior whose `state_dict` this is; its `grey_levels`, which no state holds, are to be set again.

        Raises:
            ValueError: a table is missing, or they do not fit the process.
        """
        parameters = inspect.signature(cls).parameters
        needed = [name for name in cls.tables if parameters[name].default is inspect.Parameter.empty]
        missing = [name for name in needed if name not in state]
        if missing:
            msg = (
                f"not the state of a {cls.__name__}: it lacks {', '.join(missing)} and holds"
                f" {', '.join(state) or 'nothing'}"
            )
            raise ValueError(msg)
        prior = cls(process, **{name: state[name] for name in cls.tables if name in state})
        # What a `state_dict` keeps beside tensors, by torch's own mechanism.
        if "_extra_state" in state:
            prior.set_extra_state(state["_extra_state"])
        return prior

    @abstractmethod
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "count ..."]:
        """Draw `count` independent latents in float32 on the prior's device, (count, *shape)."""

    @abstractmethod
    def log_prob(self, z: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """Return the exact log-density at latents, in nats, (batch,), float64 where the device has it.

        Args:
            z: latents, (batch, *shape), floating-point.

        Raises:
            TypeError: `z` is not floating-point.
            ValueError: `z` has another shape, or the prior has no density.
        """

    def divergence(self, q: SpectralGaussian, *, generator: torch.Generator | None = None) -> Float[Tensor, " batch"]:
        """Return KL(q || prior) in nats, or an unbiased estimate of it, (batch,), float64 where the device has it.

        This one is an estimate, log q(z) - log p(z) for one draw z of q, whose noise is in both and cancels where they
        are alike; a subclass that knows better overrides it.

        Args:
            q: a batch of Gaussians such as `process.marginal(x, 1.0)`.
            generator: source of an estimate's randomness; torch's default if None. Closed forms need none.

        Raises:
            TypeError: `q` is not a `SpectralGaussian`.
            ValueError: `q` is over signals of another shape, or `q` or the prior has no density.
        """
        q = self._widened(q)
        z = q.rsample(generator=generator)
        return q.log_prob(z) - self.log_prob(z)

    def require_fits(self, denoiser: AbstractDenoiser) -> None:
        """Check that this is a prior of the denoiser's process, and of data in the range it was made for.

        Raises:
            ValueError: it is not.
        """
        denoiser.process.centred().require_same(self.process, whose="the prior", where="the denoiser")
        ours, theirs = self.grey_levels, denoiser.grey_levels
        if ours is not None and theirs is not None and (ours.low, ours.high) != (theirs.low, theirs.high):
            msg = (
                f"the prior is one of data in [{ours.low:g}, {ours.high:g}], the denoiser of data in"
                f" [{theirs.low:g}, {theirs.high:g}]: scale the images to the range that the network was trained on"
                " before anything is fitted to them"
            )
            raise ValueError(msg)

    @override
    def agrees_with(self, other: nn.Module) -> bool:
        # The tables alone may be those of two processes.
        return self is other or (
            isinstance(other, Prior) and super().agrees_with(other) and self.process.agrees_with(other.process)
        )

    def _widened(self, q: SpectralGaussian) -> SpectralGaussian:
        """Return `q`, checked, in the schedule dtype on the prior's device."""
        check_instance("q", q, SpectralGaussian, "process.marginal(x, 1.0) makes one")
        if tuple(q.event_shape) != self.process.shape:
            msg = f"q must be over signals of the prior's shape {self.process.shape}, got {tuple(q.event_shape)}"
            raise ValueError(msg)
        wide = self.process.to_schedule_dtype
        return SpectralGaussian(q.basis, wide(q.spectral_mean), wide(q.spectral_stddev))

    def _latent(self, z: Tensor) -> Tensor:
        """Return latents `z`, checked, in the schedule dtype on the prior's device."""
        check_signal("z", z, self.process.shape)
        return self.process.to_schedule_dtype(z)
