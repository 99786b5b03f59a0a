r"""The abstract linear-Gaussian process.

With V orthonormal and u = V^T x, a process is

    q(z_t | x) = N(z_t | V diag(alpha_t) V^T x,  V diag(sigma_t^2) V^T),    t in [0, 1],

alpha_t and sigma_t being numbers >= 0 *per coefficient*. A subclass writes `log_alpha(t)` and `log_sigma(t)`
and names its basis. Transitions, posteriors, conversions, losses and samplers follow, all of them from
logarithms: with l_t = log alpha_t^2 - log sigma_t^2, non-increasing in t,

    alpha_{t|s}   = alpha_t / alpha_s                                = exp(log alpha_t - log alpha_s)
    sigma_{t|s}^2 = sigma_t^2 - alpha_{t|s}^2 sigma_s^2              = -sigma_t^2 expm1(l_t - l_s),

where log alpha and log sigma are subtracted apart and a difference of equal infinities is 0, so that sigma = 0 and
alpha = 0 are legal values (without any noise, l_t - l_s is 2 log alpha_{t|s}, the limit of a small constant noise).

A process may end in something known, y (a blurred image, a coarse field, a conditional mean). With `log_beta(t)`, too,

    z_t = V diag(alpha_t) V^T x + V diag(beta_t) V^T y + V diag(sigma_t) V^T noise,

and all of the above holds for z_t - beta_t y, which is a process of its own, `centred()`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.checks import check_signal, values_are_readable
from ..core.precision import to_compute_dtype
from ..core.randomness import white_noise
from ..core.rates import root
from .bases.base import is_isotropic
from .coefficients import SpectralCoefficients, Time
from .couplings import Coupling, Markov
from .gaussian import SpectralGaussian
from .level import Level, log_transition
from .step import PosteriorCoefficients, posterior_coefficients


class LinearGaussianProcess(SpectralCoefficients):
    """A forward process that is diagonal in an orthonormal basis. Subclass it to define a degradation.

    A subclass calls `super().__init__(basis)` and writes `log_alpha` and `log_sigma`, as `SpectralCoefficients` says;
    forgetting one fails at construction. What is asked of the two is what `unmelt.testing.check_process` says and
    tries. Times lie in [0, 1]: 0 is data, 1 is fully degraded. Constant tables are registered with `register_constant`,
    so that they follow the module to a device without losing precision and stay out of checkpoints.

    Args:
        basis: the basis the process is diagonal in; its shape is the shape of one signal.

    Attributes:
        levels: number K of levels the process is defined on (level k is time k / K), or None where time is
            continuous and a grid is the user's choice. Setting it to anything else is an error, in a class too.
    """

    def _repr_html_(self) -> str | None:
        """Show in a notebook what it does to a built-in example, and the log-SNR of every frequency over time."""
        # Imported here: figures are made of processes.
        from .drawing import draw_example  # noqa: PLC0415

        return draw_example(self)

    def posterior_coefficients(self, s: Time, t: Time, coupling: Coupling) -> PosteriorCoefficients:
        """Return the coefficients of q(z_s | z_t, x); see `posterior` for arguments and errors."""
        return posterior_coefficients(*self.ordered_levels(s, t), coupling)

    # ---- a known end --------------------------------------------------------------------------------------

    def check_given(self, given: Tensor | None, count: int) -> None:
        """Check that the known end y is given where this process has one, and not otherwise.

        Args:
            given: y, (count, *shape), or None.
            count: number of signals in the batch.

        Raises:
            TypeError: y is not a floating-point tensor.
            ValueError: it is missing or not wanted, or has another shape.
        """
        name = type(self).__name__
        if not self.known_end:
            if given is not None:
                msg = f"{name} has no known end, log_beta, and depends on nothing that is given: leave given out"
                raise ValueError(msg)
            return
        if given is None:
            msg = f"{name} ends in a known signal y, and needs it: pass given=y, one for each signal of the batch"
            raise ValueError(msg)
        check_signal("given", given, self.shape)
        if given.shape[0] != count:
            msg = f"given holds {given.shape[0]} known ends for {count} signals: give one for each"
            raise ValueError(msg)

    def require_no_end(self, whose: str) -> None:
        """Check that this process has no known end, for a part that would silently leave it out.

        Raises:
            ValueError: it has one; the message says `whose` part it is.
        """
        if self.known_end:
            msg = (
                f"{whose} cannot be made for {type(self).__name__}, whose latents depend on a known signal y: take a"
                " process without one, or process.centred(), the process of z_t - beta_t y"
            )
            raise ValueError(msg)

    def end_share(self, given: Float[Tensor, "batch ..."], t: Time) -> Float[Tensor, "batch ..."]:
        """Return the share of the known end in z_t, V diag(beta_t) V^T y, (batch, *shape).

        Args:
            given: y, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).
        """
        self.check_given(given, given.shape[0])
        return self.basis.combine((given, self.at(t, batch=given.shape[0]).beta))

    def centred(self) -> LinearGaussianProcess:
        """Return the process of z_t - beta_t y, which has no known end; this process itself if it has none."""
        if not self.known_end:
            return self
        # Imported here: it is one of these.
        from .centred import Centred  # noqa: PLC0415

        return Centred(self)

    # ---- distributions -----------------------------------------------------------------------------------------

    def marginal(
        self, x: Float[Tensor, "batch ..."], t: Time, *, given: Float[Tensor, "batch ..."] | None = None
    ) -> SpectralGaussian:
        """Return q(z_t | x) = N(alpha_t u, sigma_t^2).

        Args:
            x: data, (batch, *shape), floating-point.
            t: times in [0, 1], a number, () or (batch,).
            given: the known end y, (batch, *shape), of a process that has one: beta_t V^T y is added to the mean.

        Raises:
            TypeError: `x`, `t` or `given` is not floating-point.
            ValueError: a shape is wrong, a time lies outside [0, 1], or the known end is missing, or given to a process
                without one.
        """
        check_signal("x", x, self.shape)
        self.check_given(given, x.shape[0])
        # Not len(x), which torch.export takes for a constant of the batch that it is shown.
        at = self.at(t, batch=x.shape[0])
        return self._gaussian(_scaled(self.basis.forward(x), at.alpha), at.sigma, given, at)

    def transition(
        self, z_s: Float[Tensor, "batch ..."], s: Time, t: Time, *, given: Float[Tensor, "batch ..."] | None = None
    ) -> SpectralGaussian:
        """Return q(z_t | z_s) = N(alpha_{t|s} u_s, sigma_{t|s}^2) of the Markov chain, for s <= t.

        Args:
            z_s: latents at time s, (batch, *shape).
            s: the earlier times, a number, () or (batch,).
            t: the later times.
            given: the known end, as in `marginal`.

        Raises:
            TypeError: `z_s`, `s`, `t` or `given` is not floating-point.
            ValueError: a shape is wrong, a time lies outside [0, 1], s > t, the log-SNR rises, or `given` is wrong as
                in `marginal`.
        """
        check_signal("z_s", z_s, self.shape)
        self.check_given(given, z_s.shape[0])
        at_s, at_t = self.ordered_levels(s, t, z_s.shape[0])
        log_alpha, change = log_transition(at_s, at_t)
        scale, stddev = log_alpha.exp(), at_t.sigma * root(-torch.expm1(change))
        mean = _scaled(self.basis.forward(z_s), scale)
        return self._gaussian(mean, stddev, given, at_t, (scale, at_s))

    def posterior(
        self,
        z_t: Float[Tensor, "batch ..."],
        x: Float[Tensor, "batch ..."],
        s: Time,
        t: Time,
        coupling: Coupling | None = None,
        *,
        given: Float[Tensor, "batch ..."] | None = None,
    ) -> SpectralGaussian:
        """Return q(z_s | z_t, x) = N(alpha_s u + c (u_t - alpha_t u), sigma_s^2 (1 - rho^2)), for s <= t.

        Args:
            z_t: latents at time t, (batch, *shape).
            x: data, (batch, *shape).
            s: the earlier times, a number, () or (batch,).
            t: the later times.
            coupling: correlation of the noises of both levels; `Markov()` if None.
            given: the known end, as in `marginal`.

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, a time lies outside [0, 1], s > t, the log-SNR rises, or `given` is wrong as
                in `marginal`.
        """
        check_signal("z_t", z_t, self.shape)
        check_signal("x", x, self.shape)
        self.check_given(given, x.shape[0])
        at_s, at_t = self.ordered_levels(s, t, x.shape[0])
        latent, signal, stddev = posterior_coefficients(at_s, at_t, coupling or Markov())
        mean = _scaled(self.basis.forward(z_t), latent) + _scaled(self.basis.forward(x), signal * at_s.alpha)
        return self._gaussian(mean, stddev, given, at_s, (latent, at_t))

    def score(
        self,
        z_t: Float[Tensor, "batch ..."],
        x: Float[Tensor, "batch ..."],
        t: Time,
        *,
        given: Float[Tensor, "batch ..."] | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return the score of q(z_t | x) at z_t, -V diag(1 / sigma_t^2) (u_t - alpha_t u), (batch, *shape).

        Args:
            z_t: latents at time t, (batch, *shape).
            x: data, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).
            given: the known end, as in `marginal`.

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, a time lies outside [0, 1], `given` is wrong as in `marginal`, or sigma_t = 0
                somewhere, where q has no density (where values are readable; elsewhere the result is infinite or NaN).
        """
        # An override that knows of no end is asked for none.
        q = self.marginal(x, t) if given is None else self.marginal(x, t, given=given)
        return q.score(z_t)

    def sample_path(
        self,
        x: Float[Tensor, "batch ..."],
        times: Float[Tensor, " times"] | Sequence[float],
        coupling: Coupling | None = None,
        *,
        given: Float[Tensor, "batch ..."] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "times batch ..."]:
        """Draw (z_t1, z_t2, ...) given x from the joint distribution in which `coupling` ties each level to the next.

        q(z_tK | x) q(z_tK-1 | z_tK, x) ... (Song, Meng & Ermon, 2021), drawn through the noises: each level's
        noise is rho times the next one's plus sqrt(1 - rho^2) times fresh noise. With `Markov()` that is the forward
        chain; every coupling gives each z_t its marginal. For `Eta` strictly between 0 and 1 the joint
        distribution of two levels depends on the times between them.

        Args:
            x: data, (batch, *shape).
            times: times in [0, 1] that do not fall, at least one.
            coupling: correlation of the noises of neighbouring levels; `Markov()` if None.
            given: the known end, as in `marginal`.
            generator: source of randomness; torch's default if None.

        Returns:
            The path, (times, batch, *shape), float64 if `x` is and float32 otherwise.

        Raises:
            TypeError: `x` is not floating-point.
            ValueError: a shape is wrong, a time lies outside [0, 1], times fall, there are none, the log-SNR rises, or
                `given` is wrong as in `marginal`.
        """
        check_signal("x", x, self.shape)
        self.check_given(given, x.shape[0])
        grid = torch.as_tensor(times, dtype=torch.float64)
        if grid.ndim != 1 or len(grid) == 0:
            msg = f"times must be at least one time in a row, such as [0.0, 0.5, 1.0], got shape {tuple(grid.shape)}"
            raise ValueError(msg)
        grid = self.as_times(grid, name="times")
        if values_are_readable(grid) and bool((grid.diff() < 0).any()):
            msg = f"times must not fall, got {grid.tolist()}: a path goes from data to noise; flip the result instead"
            raise ValueError(msg)
        u = self.basis.forward(x)
        noise = white_noise(u.shape, like=u, generator=generator)
        path, later = [], None
        for t in grid.flip(0):
            here = self._level(t)
            if later is not None:
                log_rho = (coupling or Markov()).log_correlation(here, later)
                fresh = white_noise(u.shape, like=u, generator=generator)
                noise = _scaled(noise, log_rho.exp()) + _scaled(fresh, root(-torch.expm1(2 * log_rho)))
            z = self._gaussian(_scaled(u, here.alpha) + _scaled(noise, here.sigma), here.sigma, given, here)
            path.append(z.mean)
            later = here
        return torch.stack(path[::-1])

    # ---- fast paths of losses and samplers -----------------------------------------------------

    def degrade(
        self, x: Float[Tensor, "batch ..."], *times: Time | Level, given: Float[Tensor, "batch ..."] | None = None
    ) -> tuple[Float[Tensor, "batch ..."], ...]:
        """Return the noise-free degraded signals A_t x = V diag(alpha_t) V^T x, one for each of `times`.

        Args:
            x: data, (batch, *shape).
            times: each a level of this process, or a number, () or (batch,) in [0, 1]. They share one transform
                of `x`.
            given: the known end, whose share is added, as in `marginal`.
        """
        check_signal("x", x, self.shape)
        self.check_given(given, x.shape[0])
        levels = [t if isinstance(t, Level) else self.at(t, batch=x.shape[0]) for t in times]
        if not levels or (given is None and all(is_isotropic(at.alpha) for at in levels)):
            # A number for each example commutes with the basis.
            signal = to_compute_dtype(x)
            return tuple(_scaled(signal, at.alpha) for at in levels)
        u = self.basis.forward(x)
        return tuple(self._gaussian(_scaled(u, at.alpha), at.sigma, given, at).mean for at in levels)

    def corrupt(
        self,
        x: Float[Tensor, "batch ..."],
        noise: Float[Tensor, "batch ..."],
        t: Time,
        *,
        given: Float[Tensor, "batch ..."] | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return z_t = A_t x + V diag(sigma_t) V^T noise for white `noise` in the data's axes, (batch, *shape).

        The share of the known end is added, which is `given` as in `marginal`.
        """
        return self.at(t, batch=x.shape[0]).corrupt(x, noise, given=given)

    # ---- helpers ------------------------------------------------------------------------------------------

    def _gaussian(
        self, mean: Tensor, stddev: Tensor, given: Tensor | None, at: Level, seen: tuple[Tensor, Level] | None = None
    ) -> SpectralGaussian:
        """Return N(mean, stddev^2) with the known end's share at a level, less what a share of a latent has of it."""
        if given is not None:
            share = at.beta if seen is None else at.beta - seen[0] * seen[1].beta
            mean = mean + _scaled(self.basis.forward(given.to(mean.dtype)), share)
        return SpectralGaussian(self.basis, mean, stddev)


def _scaled(u: Tensor, coefficient: Tensor) -> Tensor:
    """Return coefficient * u in u's dtype: coefficients are computed in float64, signals mostly in float32."""
    return coefficient.to(u.dtype) * u
