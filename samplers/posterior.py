r"""The posterior sampler: from level to level by q(z_s | z_t, x_hat), under any coupling.

    z_s = c u_t + (1 - c alpha_{t|s}) alpha_s u_hat + sigma_s sqrt(1 - rho^2) epsilon,    c = rho sigma_s / sigma_t

per coefficient. The coupling chooses rho and thereby the method: Markov is ancestral sampling as in DDPM,
Deterministic is DDIM (and cold diffusion's improved sampler where sigma is constant), Independent with a constant
standard deviation delta is the sampler of inverse heat dissipation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import Coupling, Deterministic, Markov
from ..degradations.agreement import check_same_process
from ..degradations.bases.base import compute_precision, is_isotropic
from ..degradations.checks import check_signal
from ..degradations.coefficients import couple
from ..degradations.process import Time
from ..degradations.randomness import white_noise
from ..losses import Prior, StandardNormalPrior
from ..models import AbstractDenoiser

_DEFAULT_STEPS = 50
# Numbers in one table of coefficients: 16 MiB in float32.
_TABLE_NUMBERS = 2**22


class Trajectory(NamedTuple):
    """A sampling run, level by level from t = 1 to t = 0.

    Attributes:
        times: the grid, (steps + 1,), falling from 1 to 0.
        states: latents at each time, (steps + 1, count, *shape); the last is the sample.
        predictions: the denoiser's estimates of the data at each time but the last, (steps, count, *shape).
    """

    times: Float[Tensor, " times"]
    states: Float[Tensor, "times count ..."]
    predictions: Float[Tensor, "steps count ..."]


class StepCoefficients(NamedTuple):
    """What a step is made of, per coefficient: z_s = latent z_t + output y + stddev epsilon, y the network's output."""

    latent: Float[Tensor, "steps ..."]
    output: Float[Tensor, "steps ..."]
    stddev: Float[Tensor, "steps ..."]


class PosteriorSampler:
    """Draws samples by stepping through posteriors with the data replaced by the denoiser's estimate.

    The last step, to t = 0, returns the denoiser's estimate itself: the mean of the decoder p(x | z).

    Args:
        denoiser: estimates the data from latents of its process.
        steps: number of steps on a uniform grid; None takes the process's own levels, or 50 where it has none.
        times: the grid instead, falling from 1 to 0, (steps + 1,).
        coupling: how consecutive noises hang together; `Markov()` if None.
        delta: constant standard deviation of each step's noise in the data's units, as in inverse heat dissipation;
        None
            takes the posterior's own.
        prior: law of the first latent; standard normal if None, where the process ends in it.

    Raises:
        ValueError: the grid does not fall from 1 to 0, steps < 1, delta < 0, a delta is given to a Deterministic
            coupling, or the process needs another prior than a standard normal.
    """

    def __init__(
        self,
        denoiser: AbstractDenoiser,
        *,
        steps: int | None = None,
        times: Float[Tensor, " times"] | None = None,
        coupling: Coupling | None = None,
        delta: float | None = None,
        prior: Prior | None = None,
    ) -> None:
        self.denoiser = denoiser
        self.process = denoiser.process
        self.coupling = coupling or Markov()
        self.times = _grid(steps, times, self.process.levels)
        if delta is not None and (not 0 <= delta < math.inf or isinstance(self.coupling, Deterministic)):
            msg = (
                f"delta must be a standard deviation >= 0, got {delta}"
                if not isinstance(self.coupling, Deterministic)
                else f"Deterministic steps add no noise, got delta={delta}: leave it out, or take Independent()"
            )
            raise ValueError(msg)
        self.delta = delta
        if prior is not None:
            check_same_process(self.process, prior.process, whose="the prior", where="the denoiser")
        self.prior = prior or StandardNormalPrior(self.process)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        initial: Float[Tensor, "count ..."] | None = None,
    ) -> Float[Tensor, "count ..."]:
        """Draw samples.

        Args:
            count: how many.
            generator: source of randomness; torch's default if None.
            initial: latents at t = 1 to start from, (count, *shape); drawn from the prior if None.

        Returns:
            Samples in the data's range, not clipped, float32, (count, *shape).

        Raises:
            ValueError: count < 1, or `initial` has another shape.
        """
        state = self._start(count, initial, generator)
        for state, _ in self._run(state, generator):  # noqa: B007, B020
            pass
        return state

    @torch.no_grad()
    def trajectory(
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        initial: Float[Tensor, "count ..."] | None = None,
    ) -> Trajectory:
        """Draw samples and keep every level; arguments and errors as in `sample`."""
        z = self._start(count, initial, generator)
        states, predictions = [z], []
        for t, (state, output) in zip(self.times, self._run(z, generator), strict=False):
            latent, factor = self.denoiser.prediction.conversion(self.process, self.process.in_schedule_dtype(t))
            predictions.append(self.process.basis.combine((states[-1], latent), (output, factor)))
            states.append(state)
        return Trajectory(self.times.clone(), torch.stack(states), torch.stack(predictions))

    @torch.no_grad()
    def step(
        self, z_t: Float[Tensor, "batch ..."], t: Time, s: Time, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Take one step from latents at `t` to the earlier time `s`.

        Args:
            z_t: latents, (batch, *shape).
            t: their time, a number, () or (batch,).
            s: the time to go to, s <= t; at s = 0 the estimate of the data is returned.
            generator: source of randomness; torch's default if None.

        Raises:
            TypeError: `z_t` is not floating-point.
            ValueError: a shape is wrong, a time lies outside [0, 1], or s > t.
        """
        check_signal("z_t", z_t, self.process.shape)
        times_s, times_t = self.process.as_ordered_times(s, t, len(z_t))
        z_t = compute_precision(z_t)
        coefficients = StepCoefficients(*(c.to(z_t.dtype) for c in self._coefficients(times_s, times_t)))
        return self._advance(z_t, None, self.denoiser.output(z_t, times_t), coefficients, generator)[0]

    # ---- the loop -----------------------------------------------------------------------------------------

    def _start(self, count: int, initial: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if count < 1:
            msg = f"count must be at least 1, got {count}"
            raise ValueError(msg)
        if initial is None:
            return self.prior.sample(count, generator=generator)
        check_signal("initial", initial, self.process.shape)
        if len(initial) != count:
            msg = f"initial holds {len(initial)} latents, but {count} samples were asked for: make both equal"
            raise ValueError(msg)
        return compute_precision(initial).to(self.process.device)

    def _run(self, z: Tensor, generator: torch.Generator | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the state and the network's output at every level after the first."""
        times = self.process.in_schedule_dtype(self.times)
        # Coefficients are made for many steps at once, as many as fit in a bounded table, so that a step is only sums.
        chunk = max(1, _TABLE_NUMBERS // math.prod(self.process.shape))
        spectrum = None
        for t, s in zip(times[:-1].split(chunk), times[1:].split(chunk), strict=True):
            tables = [_collapsed(table.to(z.dtype)) for table in self._coefficients(s, t)]
            for i, time in enumerate(t):
                output = self.denoiser.output(z, time)
                coefficients = StepCoefficients(*(table[i : i + 1] for table in tables))
                z, spectrum = self._advance(z, spectrum, output, coefficients, generator)
                yield z, output

    def _coefficients(self, s: Tensor, t: Tensor) -> StepCoefficients:
        """Return the coefficients of steps from `t` to `s`, one for each."""
        process = self.process
        start, end = process.log_coefficients(s), process.log_coefficients(t)
        posterior = couple(start, end, self.coupling)
        stddev = posterior.stddev if self.delta is None else torch.full_like(posterior.stddev, self.delta)
        last = process.expand_times(s) == 0
        # The step to the data takes the estimate itself: nothing of the latent, no noise, no degradation.
        log_alpha = torch.where(last, 0.0, start.log_alpha)
        conversion = self.denoiser.prediction.conversion(process, t, log_alpha, at=end)
        share = torch.where(last, 1.0, posterior.signal)
        return StepCoefficients(
            latent=torch.where(last, 0.0, posterior.latent) + share * conversion.latent,
            output=share * conversion.output,
            stddev=torch.where(last, 0.0, stddev),
        )

    def _advance(
        self,
        z: Tensor,
        spectrum: Tensor | None,
        output: Tensor,
        coefficients: StepCoefficients,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the next state, and its spectrum where that was made on the way (to spare a transform next time)."""
        latent, factor, stddev = coefficients
        basis = self.process.basis
        if not all(is_isotropic(c) for c in coefficients):
            spectrum = basis.forward(z) if spectrum is None else spectrum
            spectrum = latent * spectrum + factor * basis.forward(output)
            return basis.inverse(self._with_noise(spectrum, stddev, generator)), spectrum
        return self._with_noise(latent * z + factor * output, stddev, generator), None

    def _with_noise(self, mean: Tensor, stddev: Tensor, generator: torch.Generator | None) -> Tensor:
        """Add white noise of this standard deviation in place; a Deterministic coupling draws none."""
        if isinstance(self.coupling, Deterministic):
            return mean
        # Noise that is white in the basis is white in the data's axes, so the same draw serves either.
        return mean.add_(stddev * white_noise(mean.shape, like=mean, generator=generator))


def _collapsed(table: Tensor) -> Tensor:
    """Return a table of (steps, ...) with one number per step where all of a step's numbers are equal.

    Such a step commutes with the basis and needs no transform. This reads values, once per run, before its steps.
    """
    first = table.flatten(1)[:, :1].reshape(-1, *(1,) * (table.ndim - 1))
    return first if bool((table == first).all()) else table


def _grid(steps: int | None, times: Tensor | None, levels: int | None) -> Tensor:
    """Return the falling grid of times in float64, on the CPU."""
    if times is None:
        count = levels or _DEFAULT_STEPS if steps is None else steps
        if count < 1:
            msg = f"steps must be at least 1, got {count}"
            raise ValueError(msg)
        return torch.arange(count, -1, -1, dtype=torch.float64) / count
    if steps is not None:
        msg = f"give steps or times, not both: got steps={steps} and a grid of {len(times)} times"
        raise ValueError(msg)
    grid = times.detach().to("cpu", torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or grid[0] != 1 or grid[-1] != 0 or not bool((grid.diff() < 0).all()):
        msg = f"times must fall strictly from 1 to 0, at least two of them, got {grid.tolist()}"
        raise ValueError(msg)
    return grid
