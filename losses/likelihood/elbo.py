r"""The evidence lower bound (here: an upper bound on -log p(x), in nats), one path for every process and coupling.

    -log p(x) <= KL(q(z_1 | x) || p(z_1))                                                       prior
                 + sum_k KL(q(z_{k-1} | z_k, x) || p(z_{k-1} | z_k))                            diffusion, per level
                 + E[-log p(x | z_first)]                                                       reconstruction

p(z_s | z_t) is the posterior with the data replaced by the denoiser's estimate, and any standard deviation; the
coupling says which posterior. It is the bound of Ho et al. (2020) and Kingma et al. (2021) for isotropic Markov
processes, of Hoogeboom & Salimans (2023) per frequency, of Rissanen et al. (2023) for heat with `Independent` levels.
Its limit of infinitely many steps, `steps=math.inf`, is an integral over time (Kingma et al., 2021).

Of a process with a known end y it is a bound on -log p(x | y), of latents z_t - beta_t y (see `CentredDenoiser`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ...core.checks import check_count, check_instance, check_not_empty
from ...core.evaluation_mode import evaluating
from ...core.precision import schedule_dtype
from ...core.randomness import white_noise
from ...degradations import Coupling, LinearGaussianProcess, Markov, SpectralGaussian, Step
from ...models import AbstractDenoiser
from ...models.centred_denoiser import centred, check_tied
from ...models.conditions import Batch, Condition, batches_with_conditions, check_rows, select_rows
from ...models.decoders import Decoder, GaussianDecoder
from ...models.off_levels import warn_off_levels
from ...models.priors import Prior
from ...models.priors.blocks import rows_of
from ...models.priors.default import default_prior
from ...models.reverse_std import FittedStd, PosteriorStd, ReverseStd
from .bound import Bound, mean_of
from .finite_terms import check_continuum, check_grid
from .latent_times import checked_grid, discrete_grid, start_of_continuum
from .summation import AllTerms, Draws, FullSum, MonteCarlo, SomeTerms, Summation
from .terms import Term, rate_term, step_term

# Most rows of one network call: few examples are evaluated at many levels at once.
_ROWS = 64
# What a fitted bound's state holds.
_FITTED = ("reverse_std.times", "reverse_std.log_stddev", "decoder.stddev")


class _Seeing(NamedTuple):
    """What a denoiser is called with beside latents and times: one row for each example."""

    condition: Condition | None
    given: Tensor | None

    def rows(self, rows: Tensor) -> _Seeing:
        """Return those of some examples."""
        given = self.given
        return _Seeing(select_rows(self.condition, rows), None if given is None else given[rows.to(given.device)])


class _Seen(NamedTuple):
    """What a fit takes note of.

    Attributes:
        sums: squared errors of alpha_s u, summed over the rows of each level, (levels, *shape).
        counts: how many rows, (levels,).
        pairs: data and its estimate from the first latent, both (batch, *shape), on the CPU.
    """

    sums: Tensor
    counts: Tensor
    pairs: list[tuple[Tensor, Tensor]]

    def add(self, errors: Tensor, levels: Tensor) -> None:
        """Add the errors of rows at these levels, counted from 1."""
        self.sums.index_add_(0, levels - 1, errors.to(self.sums.dtype).square())
        self.counts.index_add_(0, levels - 1, torch.ones_like(levels, dtype=self.counts.dtype))


class ELBO(nn.Module):
    """An upper bound on -log p(x) for a denoiser, a prior, a decoder and a reverse standard deviation.

    Args:
        denoiser: the denoiser, which says what the process is; in evaluation mode when the bound is called, unless the
            bound is what it is trained by.
        prior: distribution of the last latent; if None standard normal, where the process ends in it, or what a known
            end says.
        decoder: distribution of the data given the first latent; `GaussianDecoder(process)` if None.
        coupling: correlation of the noises of neighbouring levels; `Markov()` if None.
        reverse_std: standard deviation of the reverse steps; the posterior's if None.
        steps: number T of steps, or `math.inf` for continuous time; None takes the process's levels, or continuous time
            where it has none.
        times: the grid instead, rising from the first latent's time to 1.
        first: time of the first latent. None is level 1 where the process has levels, 0 where it has none but has
            noise there, 1 / T where it has neither; continuous time without noise at t = 0 needs a number.
        summation: all levels, or an estimate from some; `FullSum()` if None, in continuous time `MonteCarlo()`.
        rows: most rows in one call of the network, where there are fewer examples than that; None takes 64, or as many
            as fit a tensor of 2^22 numbers.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a part was made for another process, the coupling has no variance (`Deterministic`), a standard
            deviation makes a term infinite, continuous time is asked for without `Markov` and `PosteriorStd`, or a
            number is out of range. The message says which.
    """

    def __init__(  # noqa: PLR0913  # each is a part of the bound
        self,
        denoiser: AbstractDenoiser,
        *,
        prior: Prior | None = None,
        decoder: Decoder | None = None,
        coupling: Coupling | None = None,
        reverse_std: ReverseStd | None = None,
        steps: int | float | None = None,  # noqa: PYI041  # checked at run time, where an int is no float
        times: Float[Tensor, " times"] | None = None,
        first: float | None = None,
        summation: Summation | None = None,
        rows: int | None = None,
    ) -> None:
        super().__init__()
        check_instance("denoiser", denoiser, AbstractDenoiser, "Denoiser(network, process, prediction=...) for example")
        self.denoiser = centred(denoiser)
        process = self.denoiser.process
        self.prior = prior if prior is not None else default_prior(denoiser.process)
        self.decoder = decoder if decoder is not None else GaussianDecoder(process)
        self.coupling = coupling if coupling is not None else Markov()
        self.reverse_std = reverse_std if reverse_std is not None else PosteriorStd()
        self._check_parts()
        if steps is not None:
            check_instance("steps", steps, (int, float), "math.inf for continuous time")
        if times is not None:
            check_instance("times", times, Tensor, "torch.tensor([0.1, 0.5, 1.0]) for example")
        self.times, self.first = _times(process, None if steps is None else float(steps), times, first)
        self.summation = summation or (FullSum() if self.times is not None else MonteCarlo())
        check_instance("summation", self.summation, Summation, "FullSum() or MonteCarlo(draws=16) for example")
        if rows is not None:
            check_count("rows", rows)
        self.rows = min(_ROWS, rows_of(math.prod(process.shape))) if rows is None else rows
        expect = "a looser bound. Take one step for each level, steps={levels}, or train a network that predicts x"
        warn_off_levels(denoiser, self.times, expect=expect)
        self.term_sampler = self.summation.bind(process, self.steps)
        if self.times is None:
            check_continuum(process, self.first, self.coupling, self.reverse_std)
        else:
            check_grid(process, self.times, self.coupling, self.reverse_std)

    @property
    def process(self) -> LinearGaussianProcess:
        """The denoiser's process."""
        return self.denoiser.process

    @property
    def steps(self) -> int | None:
        """Number of divergences in the diffusion part; None in continuous time."""
        return None if self.times is None else len(self.times) - 1

    def __repr__(self) -> str:
        """Show the settings in a line, without the network that torch would list."""
        of = f"{type(self.denoiser).__name__} of {self.process.called}"
        return f"ELBO({of}, {self.extra_repr()}, {type(self.prior).__name__}, {type(self.decoder).__name__})"

    def extra_repr(self) -> str:
        """Show the bound's settings."""
        module = isinstance(self.reverse_std, nn.Module)
        reverse = f", reverse_std={type(self.reverse_std).__name__ if module else self.reverse_std}"
        steps = "continuous time" if self.steps is None else f"steps={self.steps}"
        return f"coupling={self.coupling}{reverse}, {steps}, first={self.first:g}, summation={self.summation}"

    def forward(
        self,
        x: Shaped[Tensor, "batch ..."],
        *,
        condition: Condition | None = None,
        given: Float[Tensor, "batch ..."] | None = None,
        generator: torch.Generator | None = None,
    ) -> Bound:
        """Return the bound for each example, in nats.

        Args:
            x: data, (batch, *shape), floating-point; or integer levels where the decoder declares them.
            condition: the network's condition, one row per example; None if it takes none.
            given: the known end y of each example, (batch, *shape), where the denoiser's process has one.
            generator: source of all randomness; torch's default if None.

        Raises:
            FloatingPointError: the denoiser returned NaN or infinity; the level is named.
            TypeError: `x` holds integers and the decoder declares no levels.
            ValueError: a shape is wrong, data lie outside the declared range, or a known end is missing or not wanted.
        """
        check_not_empty("x", x, "a bound")
        check_rows("condition", condition, len(x))
        check_tied(self.denoiser, given, len(x))
        replicates = []
        for _ in range(self.summation.replicates):
            draws = self.term_sampler.draw(len(x), device=self.process.device, generator=generator)
            replicates.append(self._replicate(x, _Seeing(condition, given), draws, generator, None))
        return mean_of(replicates, same_terms=isinstance(self.summation, FullSum))

    def update(self, found: Bound) -> None:
        """Let the times of `MonteCarlo` learn from the terms that a bound found, where they do (`LossAwareTimes`)."""
        if isinstance(self.term_sampler, SomeTerms):
            self.term_sampler.times.update(found.fractions.flatten(), found.terms.detach().flatten())

    @torch.no_grad()
    def fitted(
        self,
        data: Shaped[Tensor, "count ..."] | Iterable[Batch],
        *,
        batch_size: int = 128,
        generator: torch.Generator | None = None,
    ) -> ELBO:
        """Return this bound with the best standard deviations for a data set, per level and coefficient.

        The denoiser is put into evaluation mode meanwhile. The reverse steps get a `FittedStd`, and the decoder the
        best it can have: one per coefficient for a `GaussianDecoder`. On these data, with these latents, no other
        choice gives a lower bound. `fitted_state` stores both.

        Args:
            data: all of the data in one tensor, (count, *shape), or batches of it one after the other, alone, in
                pairs with their condition, or in triples with that, or None, and their known ends; data that the
                bound is then reported for should not be among them.
            batch_size: examples at a time, where `data` is one tensor.
            generator: source of all randomness; torch's default if None.

        Raises:
            ValueError: in continuous time, where the best is the posterior's; or there is no data.
            FloatingPointError, TypeError: as for the bound itself.
        """
        if self.times is None:
            msg = "in continuous time the best standard deviation is the posterior's, nothing is fitted: give steps=..."
            raise ValueError(msg)
        shape, device = self.process.shape, self.process.device
        seen = _Seen(
            sums=torch.zeros((len(self.times) - 1, *shape), dtype=schedule_dtype(device), device=device),
            counts=torch.zeros(len(self.times) - 1, dtype=schedule_dtype(device), device=device),
            pairs=[],
        )
        draws = AllTerms(len(self.times) - 1).draw(1, device=device)
        with evaluating(self.denoiser):
            for batch, condition, given in batches_with_conditions(data, batch_size):
                for _ in range(self.summation.replicates if len(batch) else 0):
                    self._replicate(batch, _Seeing(condition, given), draws, generator, seen)
        if not seen.pairs:
            msg = "no data to fit standard deviations to: got no example"
            raise ValueError(msg)
        best = copy.copy(self)
        best._modules = self._modules.copy()  # noqa: SLF001  # copy.copy shares the table of submodules
        best.reverse_std = FittedStd(self.times, self._best_log_stddev(seen)).to(device)
        best.decoder = self.decoder.fitted(*(torch.cat(parts).to(device) for parts in zip(*seen.pairs, strict=True)))
        return best

    def fitted_state(self) -> dict[str, Tensor]:
        """Return what `fitted` found, without the network: to be stored, for `load_fitted_state`.

        Raises:
            ValueError: nothing was fitted.
        """
        width, stddev = self.reverse_std, self.decoder.stddev
        if not isinstance(width, FittedStd) or stddev is None:
            msg = "nothing was fitted: bound.fitted(data) returns a bound whose standard deviations can be stored"
            raise ValueError(msg)
        return dict(zip(_FITTED, (width.times, width.log_stddev, stddev), strict=True))

    def load_fitted_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the standard deviations that `fitted_state` of a bound on the same grid returned.

        Raises:
            ValueError: the state is another one, or of another grid or process.
        """
        if set(state) != {*_FITTED}:
            msg = f"a fitted bound's state holds {', '.join(_FITTED)}, got {', '.join(state) or 'nothing'}"
            raise ValueError(msg)
        times, log_stddev, stddev = (state[name] for name in _FITTED)
        if self.times is None or not torch.equal(times.to(self.times), self.times):
            grid = "continuous time" if self.steps is None else f"{self.steps} steps from t = {self.first:g}"
            msg = f"the state is one of {len(times) - 1} steps from t = {times[0].item():g}, this bound has {grid}"
            raise ValueError(msg)
        if log_stddev.shape[1:] != self.process.shape:
            msg = f"the state is one of signals of shape {tuple(log_stddev.shape[1:])}, not {self.process.shape}"
            raise ValueError(msg)
        self.reverse_std = FittedStd(times, log_stddev).to(self.process.device)
        self.decoder = self.decoder.with_stddev(stddev)

    # ---- the parts ----------------------------------------------------------------------------------------

    def _replicate(
        self,
        x: Tensor,
        seeing: _Seeing,
        draws: Draws,
        generator: torch.Generator | None,
        seen: _Seen | None,
    ) -> Bound:
        """Return one independent estimate, all of its noise new."""
        process = self.process
        x = self.decoder.prepare(x, generator=generator).to(process.device)
        if not torch.compiler.is_compiling() and not bool(x.isfinite().all()):
            msg = "x holds NaN or infinity, which have no likelihood: look at the data"
            raise ValueError(msg)
        u = process.basis.forward(x)
        last = process.at(1.0)
        q = SpectralGaussian(process.basis, last.alpha.to(u.dtype) * u, last.sigma)
        # Sums over many coefficients and levels: in the widest precision that the device has.
        prior = process.to_schedule_dtype(self.prior.given(seeing.given).divergence(q, generator=generator))
        reconstruction = process.to_schedule_dtype(self._reconstruction(x, seeing, generator, seen))
        terms, times = self._diffusion(u, seeing, draws, generator, seen)
        weights = draws.weights.expand_as(terms) * (1 - self.first if self.times is None else 1)
        return Bound(
            prior=prior,
            diffusion=(weights * terms).sum(1),
            reconstruction=reconstruction,
            terms=terms,
            times=times.expand_as(terms),
            fractions=process.to_schedule_dtype(draws.fractions).expand_as(terms),
            weights=weights,
            stderr=torch.full_like(prior, torch.nan),
            dimensions=u[0].numel(),
            grey_levels=self.decoder.grey_levels,
        )

    def _reconstruction(
        self, x: Tensor, seeing: _Seeing, generator: torch.Generator | None, seen: _Seen | None
    ) -> Tensor:
        at = self.process.at(self.first)
        t, noise = at.t, white_noise(x.shape, like=x, generator=generator)
        estimate = self.denoiser(at.corrupt(x, noise), t, *seeing)
        self._check_finite(estimate, t, len(estimate))
        if seen is not None:
            seen.pairs.append((x.cpu(), estimate.cpu()))
        return self.decoder.negative_log_likelihood(x, estimate, t)

    def _diffusion(
        self,
        u: Tensor,
        seeing: _Seeing,
        draws: Draws,
        generator: torch.Generator | None,
        seen: _Seen | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the terms of each example, (batch, draws), and their times, (batch or 1, draws)."""
        process, batch, steps = self.process, len(u), self.steps
        columns = max(1, self.rows // max(1, batch))
        terms: list[Tensor] = []
        times: list[Tensor] = []
        for fractions in draws.fractions.split(columns, dim=1):
            level = None if steps is None else (fractions * steps).round().long()
            # One level of a whole batch needs one table of coefficients, not one for each example.
            alone = fractions.numel() == 1
            place = fractions if level is None else level
            rows = place.reshape(()) if alone else rearrange(place.expand(batch, -1), "b c -> (b c)")
            term = self._term(rows)
            t, examples = term.at_t.t, torch.arange(batch, device=u.device).repeat_interleave(fractions.shape[1])
            error = self._error(u[examples], seeing.rows(examples), term, batch, generator)
            if seen is not None:
                seen.add(error, rows.expand(len(error)))
            squares = (term.scale.to(u.dtype) * error).square() + term.excess.to(u.dtype)
            sums = process.to_schedule_dtype(squares.flatten(1)).sum(1)
            terms.append(rearrange(sums, "(b c) -> b c", b=batch))
            times.append(t.reshape(fractions.shape) if alone or len(fractions) == batch else t.reshape(batch, -1)[:1])
        return torch.cat(terms, 1), torch.cat(times, 1)

    def _term(self, place: Tensor) -> Term:
        """Return the terms of levels of the grid, or in continuous time of fractions of the way to t = 1."""
        process = self.process
        if self.times is None:
            return rate_term(process.at(self.first + (1 - self.first) * place))
        grid = process.to_schedule_dtype(self.times)
        step = Step.between(process.at(grid[place - 1]), process.at(grid[place]), self.coupling)
        return step_term(step, self.reverse_std)

    def _error(self, u: Tensor, seeing: _Seeing, term: Term, batch: int, generator: torch.Generator | None) -> Tensor:
        """Return alpha u - alpha u_hat for fresh latents, (rows, *shape), alpha being the term's."""
        basis, at = self.process.basis, term.at_t
        noise = white_noise(u.shape, like=u, generator=generator)
        u_t = at.alpha.to(u.dtype) * u + at.sigma.to(u.dtype) * noise
        output = self.denoiser.output(basis.inverse(u_t), at.t, *seeing)
        self._check_finite(output, at.t, batch)
        latent, factor = self.denoiser.prediction.conversion(at, term.log_alpha)
        estimate = latent.to(u.dtype) * u_t + factor.to(u.dtype) * basis.forward(output)
        return term.log_alpha.exp().to(u.dtype) * u - estimate

    def _best_log_stddev(self, seen: _Seen) -> Tensor:
        """Return the log of sqrt(s_q^2 + signal^2 E[(alpha_s u - alpha_s u_hat)^2]), level by level."""
        assert self.times is not None
        best: list[Tensor] = []
        grid = self.process.to_schedule_dtype(self.times)
        for k, (squares, count) in enumerate(zip(seen.sums, seen.counts, strict=True)):
            posterior = self.process.posterior_coefficients(grid[k], grid[k + 1], self.coupling)
            variance = posterior.stddev.square() + posterior.signal.square() * (squares / count)
            best.append((variance[0].log() / 2).expand(self.process.shape))
        return torch.stack(best)

    # ---- checks -------------------------------------------------------------------------------------------

    def _check_parts(self) -> None:
        check_instance("prior", self.prior, Prior, "GaussianPrior(process, spectrum) for example")
        check_instance("decoder", self.decoder, Decoder, "GaussianDecoder(process) for example")
        check_instance("coupling", self.coupling, Coupling, "Markov() for example")
        check_instance("reverse_std", self.reverse_std, ReverseStd, "PosteriorStd() or MarginalStd(1.25) for example")
        for name, part in (("prior", self.prior), ("decoder", self.decoder)):
            self.process.require_same(part.process, whose=f"the {name}", where="this bound")

    def _check_finite(self, output: Tensor, t: Tensor, batch: int) -> None:
        """Refuse an output that would make the bound NaN, naming its level."""
        if torch.compiler.is_compiling() or bool(output.isfinite().all()):
            return
        bad = int((~output.isfinite()).flatten(1).any(1).int().argmax())
        time = t.expand(len(output))[bad].item()
        level = ""
        if self.times is not None:
            # A first latent after t = 0 is level 1: level 0 is the data.
            number = int((self.times - time).abs().argmin()) + (self.first > 0)
            level = f"level {number} of {len(self.times) - (self.first == 0)}, "
        msg = (
            f"the denoiser returned NaN or infinity at {level}t = {time:.6g}, for example {bad * batch // len(output)}"
            f" of {batch}: no bound can be had from it; look at its parameters and at its input there"
        )
        raise FloatingPointError(msg)


def _times(
    process: LinearGaussianProcess, steps: float | None, times: Tensor | None, first: float | None
) -> tuple[Tensor | None, float]:
    """Return the grid, or None for continuous time, and the time of the first latent."""
    if times is not None:
        if steps is not None or first is not None:
            msg = f"times are the whole grid: leave out steps and first, got steps={steps} and first={first}"
            raise ValueError(msg)
        grid = checked_grid(times)
        return grid, float(grid[0])
    if steps is None:
        steps = process.levels if process.levels is not None else math.inf
    if steps == math.inf:
        return None, start_of_continuum(process, first)
    if math.isnan(steps) or steps != int(steps):
        msg = f"steps must be a whole number or math.inf, got {steps}"
        raise ValueError(msg)
    grid = discrete_grid(process, int(steps), first)
    return grid, float(grid[0])
