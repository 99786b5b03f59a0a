r"""What a process is made of: a basis, and alpha, sigma and beta per coefficient at every time, with their rates.

In continuous time the process is the linear stochastic differential equation du = f_t u dt + g_t dw, per coefficient,
with

    f_t   = d log alpha_t / dt,
    g_t^2 = d sigma_t^2 / dt - 2 f_t sigma_t^2                       = -sigma_t^2 dl_t / dt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from ..core.checks import Shape, check_count, check_instance, check_order, check_times
from ..core.constants import ConstantModule
from ..core.precision import schedule_dtype
from ..core.rates import nudged_inside, rate, with_limits
from .bases import Basis
from .level import Level

if TYPE_CHECKING:
    from .process import LinearGaussianProcess

Time = Float[Tensor, "*batch"] | float


class SpectralCoefficients(ConstantModule, ABC):
    """alpha_t, sigma_t and beta_t of a process per coefficient of a basis; `LinearGaussianProcess` makes distributions.

    Args:
        basis: the basis; its shape is the shape of one signal.

    Attributes:
        levels: number K of levels (level k is time k / K), or None where time is continuous.
    """

    levels: int | None = None

    def __init__(self, basis: Basis) -> None:
        super().__init__()
        check_instance("basis", basis, Basis, "super().__init__(CosineBasis(shape)) for example")
        self.basis = basis

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _check_levels(cls.__dict__.get("levels"))

    @override
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "levels":
            _check_levels(value)
        super().__setattr__(name, value)

    @property
    def shape(self) -> Shape:
        """Shape of one signal, without batch axis."""
        return self.basis.shape

    @property
    def called(self) -> str:
        """What messages call it: its class."""
        return type(self).__name__

    @property
    def device(self) -> torch.device:
        """The device that the process's tables are on."""
        return self.basis.device

    @override
    def extra_repr(self) -> str:
        return f"shape={self.shape}" + ("" if self.levels is None else f", levels={self.levels}")

    # ---- what a subclass writes ---------------------------------------------------------------------------

    @abstractmethod
    def log_alpha(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
        """Return log alpha_t per coefficient; minus infinity where no signal is left.

        Args:
            t: times in [0, 1], () or (batch,), float64 where the device has it.

        Returns:
            A tensor that broadcasts to (batch, *shape). A result of t's own shape (batch,) is taken as one
            number per example; `self.expand_times(t)` gives (batch, 1, ..., 1) to multiply tables with.
        """

    @abstractmethod
    def log_sigma(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
        """Return log sigma_t per coefficient; minus infinity where there is no noise. Shapes as in `log_alpha`."""

    def log_beta(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
        """Return log beta_t, the share of a known end y, per coefficient; minus infinity where z_t has nothing of it.

        Only a process that ends in something known writes it. Shapes as in `log_alpha`.
        """
        raise NotImplementedError

    @property
    def known_end(self) -> bool:
        """Whether z_t has a share of a known signal y, which has to be `given` wherever x or z_t is."""
        return type(self).log_beta is not SpectralCoefficients.log_beta

    # ---- times and coefficients ---------------------------------------------------------------------------

    def as_times(self, t: Time, *, name: str = "t", batch: int | None = None) -> Float[Tensor, "*batch"]:
        """Return `t` as a checked tensor of times in the schedule dtype on the process's device.

        Args:
            t: a number, or a tensor of shape () or (batch,), in [0, 1].
            name: what error messages call it.
            batch: size that a one-axis `t` must have.

        Raises:
            TypeError: `t` is an integer tensor, or neither number nor tensor.
            ValueError: `t` has another shape, or lies outside [0, 1] (where values are readable;
                on an accelerator and in compiled graphs such a time becomes NaN instead).
        """
        if not isinstance(t, Tensor):
            if not hasattr(t, "__float__"):
                msg = f"{name} must be a number or a tensor of times in [0, 1], got {t!r:.60}: torch.tensor makes one"
                raise TypeError(msg)
            # A number is checked where it is: making it a tensor on an accelerator first would hide it.
            t = torch.tensor(float(t), dtype=torch.float64)
        return self.to_schedule_dtype(check_times(name, t, batch))

    def at(self, t: Time, *, name: str = "t", batch: int | None = None) -> Level:
        """Return the level at `t`: the process at that time, with its coefficients.

        Args:
            t: times in [0, 1], a number, () or (batch,).
            name: what error messages call it.
            batch: size that a one-axis `t` must have.

        Raises:
            TypeError, ValueError: as `as_times`.
            ValueError: the subclass returned a shape that does not broadcast to (batch, *shape).
        """
        t = self.as_times(t, name=name, batch=batch)
        return self._level(t)

    def ordered_levels(self, s: Time, t: Time, batch: int | None = None) -> tuple[Level, Level]:
        """Return the levels at two times, s <= t; arguments and errors as in `at`.

        Raises:
            ValueError: s > t (where values are readable; elsewhere such an s becomes NaN).
        """
        s, t = self.as_times(s, name="s", batch=batch), self.as_times(t, batch=batch)
        return self._level(check_order(s, t)), self._level(t)

    def _level(self, t: Tensor) -> Level:
        return Level(cast("LinearGaussianProcess", self), t, self.batched_log_alpha(t), self.batched_log_sigma(t))

    def to_schedule_dtype(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return times known to be right on the process's device, in the precision schedules are computed in."""
        return t.to(self.device, schedule_dtype(self.device))

    def expand_times(self, t: Time) -> Float[Tensor, "..."]:
        """Return times of shape (batch,) as (batch, 1, ..., 1) in the schedule dtype, to multiply tables with."""
        t = self._as_tensor(t)
        return t.reshape(*t.shape, *(1,) * len(self.shape)) if t.ndim else t

    def batched_log_alpha(self, t: Time) -> Float[Tensor, "..."]:
        """Return log alpha_t at checked times, a number, () or (batch,), with a batch axis and all axes of a signal."""
        t = self._as_tensor(t)
        return self._batched("log_alpha", self.log_alpha(t), t)

    def batched_log_sigma(self, t: Time) -> Float[Tensor, "..."]:
        """Return log sigma_t alone, as `batched_log_alpha` does log alpha_t."""
        t = self._as_tensor(t)
        return self._batched("log_sigma", self.log_sigma(t), t)

    def batched_log_beta(self, t: Time) -> Float[Tensor, "..."]:
        """Return log beta_t, as `batched_log_alpha` does log alpha_t; minus infinity without a known end."""
        t = self._as_tensor(t)
        if not self.known_end:
            return t.new_full((1,) * (1 + len(self.shape)), -torch.inf)
        return self._batched("log_beta", self.log_beta(t), t)

    def _as_tensor(self, t: Time) -> Tensor:
        return self.to_schedule_dtype(t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64))

    def _batched(self, name: str, value: Tensor, t: Tensor) -> Tensor:
        """Give what a subclass returned a batch axis and all axes of a signal."""
        if not isinstance(value, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            what = f"what {type(self).__name__}.{name}(t) returns"
            check_instance(what, value, Tensor, "such as torch.full_like(t, number)")
        rank = len(self.shape)
        if t.ndim and value.shape == t.shape:
            if value.shape == self.shape and len(t) > 1:
                msg = (
                    f"{type(self).__name__}.{name}(t) returned shape {tuple(value.shape)} for as many times as a signal"
                    " has coefficients, so that it may be one number per example or per coefficient: return (batch, 1)"
                    ", as self.expand_times(t) gives, or (1, coefficients)"
                )
                raise ValueError(msg)
            value = self.expand_times(value)
        elif value.ndim <= rank:
            value = value.reshape(*(1,) * (rank + 1 - value.ndim), *value.shape)
        allowed = (t.shape[0] if t.ndim else 1, *self.shape)
        if value.ndim != rank + 1 or any(v not in (1, a) for v, a in zip(value.shape, allowed, strict=True)):
            msg = (
                f"{type(self).__name__}.{name}(t) returned shape {tuple(value.shape)} for t of shape {tuple(t.shape)}; "
                f"it must broadcast to {('batch', *self.shape)}: use self.expand_times(t) before multiplying tables"
            )
            raise ValueError(msg)
        return value

    def agrees_with(self, other: nn.Module) -> bool:
        """Tell whether `other` is this process, or one of the same class, basis and coefficients (a copy, say)."""
        if self is other:
            return True
        if not (
            isinstance(other, SpectralCoefficients)
            and super().agrees_with(other)
            and self.basis.agrees_with(other.basis)
            and self.levels == other.levels
        ):
            return False
        probes = torch.linspace(0, 1, 5, dtype=torch.float64)
        ours, theirs = self.at(probes), other.at(probes)
        pairs = [(ours.log_alpha, theirs.log_alpha), (ours.log_sigma, theirs.log_sigma), (ours.beta, theirs.beta)]
        return all(torch.equal(a, b.to(a.device)) for a, b in pairs)

    def require_same(self, other: SpectralCoefficients, *, whose: str, where: str) -> None:
        """Check that `other` is this process, or a copy of it.

        Args:
            other: the process of a part that was given.
            whose: what that part is, such as "the denoiser".
            where: what it was given to, such as "this loss".

        Raises:
            ValueError: it is another one; the message says which.
        """
        if not self.agrees_with(other):
            msg = (
                f"{whose} was made for another process ({other.called} of shape {other.shape}) than {where}"
                f" ({self.called} of shape {self.shape}), or with other settings: build both from one process"
            )
            raise ValueError(msg)

    def alpha(self, t: Time) -> Float[Tensor, "..."]:
        """Return alpha_t per coefficient, broadcastable to (batch, *shape); times and errors as in `as_times`."""
        return self.at(t).alpha

    def sigma(self, t: Time) -> Float[Tensor, "..."]:
        """Return sigma_t per coefficient in the data's units, broadcastable to (batch, *shape)."""
        return self.at(t).sigma

    def beta(self, t: Time) -> Float[Tensor, "..."]:
        """Return beta_t, the share of the known end, per coefficient, broadcastable to (batch, *shape); 0 without."""
        return self.at(t).beta

    def log_snr(self, t: Time) -> Float[Tensor, "..."]:
        """Return l_t = log alpha_t^2 - log sigma_t^2 per coefficient, broadcastable to (batch, *shape).

        It is minus infinity where no signal is left, with or without noise.
        """
        return self.at(t).log_snr

    # ---- rates in continuous time --------------------------------------------------------------------------

    def drift(self, t: Time) -> Float[Tensor, "..."]:
        """Return f_t = d log alpha_t / dt per coefficient (Song et al., 2021, per coefficient).

        By automatic differentiation of `log_alpha`; a subclass may override it by a closed form (likewise
        `log_snr_rate` and `diffusion`), which `unmelt.testing.check_process` holds equal to this one.

        Args:
            t: times in [0, 1], a number, () or (batch,).

        Returns:
            Rates per unit of time, broadcastable to (batch, *shape); minus infinity where the signal vanishes.
        """
        return rate(self.batched_log_alpha, self.as_times(t))

    def log_snr_rate(self, t: Time) -> Float[Tensor, "..."]:
        """Return dl_t / dt <= 0 per coefficient; arguments and shapes as in `drift`.

        Where signal and noise vanish at once it is the limit from within [0, 1].
        """

        def change(t: Tensor) -> Tensor:
            return 2 * (self.drift(t) - rate(self.batched_log_sigma, t))

        return with_limits(change, self.as_times(t))

    def diffusion(self, t: Time) -> Float[Tensor, "..."]:
        """Return g_t^2 = -sigma_t^2 dl_t / dt >= 0 per coefficient, in squared data units per unit of time.

        Where sigma_t = 0 and the log-SNR falls infinitely fast, as diffusions do at t = 0, this is the limit from
        within [0, 1]. Arguments and shapes as in `drift`.
        """
        t = self.as_times(t)
        at_rest = self.batched_log_sigma(t) == -torch.inf

        def squared(t: Tensor) -> Tensor:
            # 0 - y rather than -y: a coefficient at rest has the rate 0, not -0.
            return 0.0 - (2 * self.batched_log_sigma(t)).exp() * self.log_snr_rate(t)

        # Without noise at t its square is 0, whatever finite or infinite rate that is multiplied by.
        return torch.where(at_rest, squared(nudged_inside(t)), squared(t))


def _check_levels(levels: object) -> None:
    """Check what a class or its constructor sets as `levels`; a property is tried by `check_process`."""
    if levels is not None and not isinstance(levels, property):
        check_count("levels", cast("int", levels), hint="level k is time k / levels; None where time is continuous")
