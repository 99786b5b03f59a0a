r"""Ancestral steps: the posterior with the data replaced by its estimate.

    z_s = c z_t + (1 - c alpha_{t|s}) alpha_s u_hat + stddev epsilon,    c = rho sigma_s / sigma_t,

per coefficient. The coupling chooses rho and with it the method: Markov is ancestral sampling as in DDPM,
Deterministic is DDIM (and cold diffusion's improved sampler where sigma is constant), Independent with a constant
standard deviation, delta, is the sampler of inverse heat dissipation. The standard deviation is the posterior's,
sigma_s sqrt(1 - rho^2), or any that the variational bound knows: the forward step's, a multiple of sigma_s, a constant,
a fitted one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_instance
from ...degradations import Coupling, Level, Markov, Step
from ...models import ConstantStd, FittedStd, MarginalStd, PosteriorStd, ReverseStd
from ..spectral import combine
from ..state import SamplerState
from ..stepper import PlannedStep, Problem, Stepper


class PosteriorShares(NamedTuple):
    """A step z_s = latent z_t + output y + stddev epsilon, per coefficient; y is the network's output.

    Attributes:
        latent: share of the latent.
        output: share of the network's output.
        stddev: standard deviation of the noise in the data's units; empty where steps add none.
    """

    latent: Float[Tensor, "steps ..."]
    output: Float[Tensor, "steps ..."]
    stddev: tuple[Float[Tensor, "steps ..."], ...]


@dataclass(frozen=True)
class Posterior(Stepper):
    """Steps through posteriors with the data replaced by the denoiser's estimate: one network call each.

    With `Markov()`, `Deterministic()`, `Eta` and `ReverseSDE`, and the posterior's own standard deviation, the
    distribution of latents converges to the process's marginals as the steps become many, with an error proportional
    to the step (an exact denoiser and prior granted, and up to a logarithm where the log-SNR is infinite at an end).
    With `Independent()` it does not: there z_s knows of z_t through the estimate alone, which varies less than the
    data; inverse heat dissipation makes up for it with a larger standard deviation, `MarginalStd(times_sigma=1.25)`.

    Attributes:
        coupling: correlation of consecutive noises.
        reverse_std: standard deviation of each step's noise, as in the ELBO; `ConstantStd(0.0)` adds none.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a deterministic coupling is given another standard deviation than its posterior's.
    """

    coupling: Coupling = field(default_factory=Markov)
    reverse_std: ReverseStd = field(default_factory=PosteriorStd)

    def __post_init__(self) -> None:
        check_instance("coupling", self.coupling, Coupling, "Markov() for example")
        check_instance("reverse_std", self.reverse_std, ReverseStd, "ForwardStd() for example")
        if self.coupling.deterministic and not isinstance(self.reverse_std, PosteriorStd):
            msg = (
                f"{self.coupling} steps add no noise, got reverse_std={self.reverse_std}: leave it out, or take another"
                " coupling"
            )
            raise ValueError(msg)  # of the right kinds, but not together

    @override
    def draws_noise(self, problem: Problem) -> bool:
        # Noise that is 0 is not drawn, and what is made of it is known to be the same every time.
        match self.reverse_std:
            case ConstantStd(delta):
                return delta > 0
            case MarginalStd(0.0):
                return False
            case PosteriorStd() | MarginalStd():
                # A compiled graph reads no values: it draws noise that may be 0.
                return not self.coupling.deterministic and (torch.compiler.is_compiling() or problem.has_noise)
            case _:
                return True

    @override
    def coefficients(self, problem: Problem, at_t: Level, at_s: Level, *older: Level) -> PosteriorShares:
        step = Step.between(at_s, at_t, self.coupling)
        # The step to the data takes the estimate itself: nothing of the latent, no noise, no degradation.
        # Converted to the degraded data alpha_s u at once: alpha_s / alpha_t may be well where 1 / alpha_t overflows.
        conversion = problem.prediction.conversion(at_t, problem.at_end(at_s, 0.0, at_s.log_alpha))
        share = problem.at_end(at_s, 1.0, step.posterior.signal)
        stddev = (problem.at_end(at_s, 0.0, self._stddev(step, problem)),) if self.draws_noise(problem) else ()
        return PosteriorShares(
            latent=problem.at_end(at_s, 0.0, step.posterior.latent) + share * conversion.latent,
            output=share * conversion.output,
            stddev=stddev,
        )

    @override
    def advance(self, state: SamplerState, step: PlannedStep) -> None:
        shares: PosteriorShares = step.coefficients
        latent, output = state.posterior_output(step.t)
        noise = (shares.stddev[0], state.draw) if shares.stddev and not step.denoises else None
        state.latent = combine((latent, shares.latent), (output, shares.output), noise=noise)

    def _stddev(self, step: Step, problem: Problem) -> Tensor:
        """Return the standard deviations of steps, 0 for those to the data, which fitted ones may know nothing of."""
        if not isinstance(self.reverse_std, FittedStd) or not problem.denoise_last:
            return self.reverse_std.stddev(step)
        process, s, t = problem.process, step.at_s.t.reshape(-1), step.at_t.t.reshape(-1)
        s, t = torch.broadcast_tensors(s, t)
        noisy = s > 0
        found = s.new_zeros(len(s), *process.shape)
        if bool(noisy.any()):
            inner = Step.between(process.at(s[noisy]), process.at(t[noisy]), self.coupling)
            found[noisy] = self.reverse_std.stddev(inner)
        return found
