r"""The trace of a denoiser's Jacobian, each coefficient weighted: exactly, or estimated from random signs.

For the output y of a denoiser, J = d (V^T y) / d (V^T z_t) its Jacobian in the process's basis, and weights b_k,

    tr(diag(b) J) = sum_k b_k J_kk = E[e^T diag(b) J e]        for random e with E[e e^T] = I      (Hutchinson, 1989).

The e drawn here are signs, +1 or -1 in each *coefficient*: e_k^2 = 1, so the Jacobian's diagonal adds no variance, and
a denoiser that is itself diagonal in the basis has its trace from a single e. What varies comes from pairs of
different coefficients. A product J^T diag(b) e costs one backward pass; all of them share one forward pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_count
from ...core.randomness import random_integers
from ...models.conditions import Condition
from ...models.denoiser import AbstractDenoiser, HasJacobianDiagonal

TraceRule = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Trace(ABC):
    """A way to find sum_k b_k J_kk."""

    @property
    def estimates(self) -> int:
        """How many independent estimates are made at once; 1 where the trace is exact."""
        return 1

    @abstractmethod
    def rule(
        self,
        denoiser: AbstractDenoiser,
        u: Float[Tensor, "batch ..."],
        condition: Condition | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> TraceRule:
        """Return the function to call along one trajectory, for which random signs are drawn here, once.

        Signs that stay the same make what is integrated a smooth function of time.

        Args:
            denoiser: the denoiser.
            u: spectra of latents, (batch, *shape), of the dtype and device that the function will be called with.
            condition: the network's condition, one row per latent; None if it takes none.
            generator: source of randomness; torch's default if None.

        Returns:
            A function of spectra u_t (batch, *shape), a checked time () and weights b broadcastable to (batch, *shape).
            It returns the spectrum of the denoiser's output, (batch, *shape), and the estimates of the trace,
            (estimates, batch), both in u's dtype.

        Raises:
            TypeError: the denoiser does not offer what this trace needs.
        """

    def standard_error(self, estimates: Float[Tensor, "estimates batch"]) -> Float[Tensor, " batch"]:
        """Return the standard error of the mean of independent estimates, (batch,); 0 where they are exact."""
        return torch.zeros_like(estimates[0])


@dataclass(frozen=True)
class ClosedFormTrace(Trace):
    """The diagonal from the denoiser's own formula; see `unmelt.models.denoiser.HasJacobianDiagonal`."""

    @override
    def rule(
        self,
        denoiser: AbstractDenoiser,
        u: Float[Tensor, "batch ..."],
        condition: Condition | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> TraceRule:
        if not isinstance(denoiser, HasJacobianDiagonal):
            msg = (
                f"{type(denoiser).__name__} has no method jacobian_diagonal, which ClosedFormTrace calls: write one,"
                " or use HutchinsonTrace() or, for small signals, ExactTrace()"
            )
            raise TypeError(msg)
        basis = denoiser.process.basis

        def evaluate(u_t: Tensor, t: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
            z_t = basis.inverse(u_t)
            trace = (weight * denoiser.jacobian_diagonal(z_t, t, condition)).flatten(1).sum(1)
            return basis.forward(denoiser.output(z_t, t, condition)), trace[None].to(u_t.dtype)

        return evaluate


@dataclass(frozen=True)
class ExactTrace(Trace):
    """All n diagonal entries, one backward pass each: for any denoiser of small signals."""

    @override
    def rule(
        self,
        denoiser: AbstractDenoiser,
        u: Float[Tensor, "batch ..."],
        condition: Condition | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> TraceRule:
        entries = torch.eye(u[0].numel(), dtype=u.dtype, device=u.device).reshape(-1, 1, *u.shape[1:])

        def evaluate(u_t: Tensor, t: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
            output, forms = _quadratic_forms(denoiser, condition, u_t, t, weight, entries)
            return output, forms.sum(0, keepdim=True)

        return evaluate


@dataclass(frozen=True)
class HutchinsonTrace(Trace):
    """Estimates from random signs, independent of each other and from one example to the next.

    Attributes:
        probes: how many. The standard error of their mean falls like 1 / sqrt(probes); one alone tells nothing of its
            own error. Each costs a backward pass.

    Raises:
        ValueError: probes < 1.
    """

    probes: int = 4

    def __post_init__(self) -> None:
        """Refuse an estimate without probes."""
        check_count("probes", self.probes)

    @property
    def estimates(self) -> int:
        """One for each probe."""
        return self.probes

    @override
    def rule(
        self,
        denoiser: AbstractDenoiser,
        u: Float[Tensor, "batch ..."],
        condition: Condition | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> TraceRule:
        bits = random_integers(0, 2, (self.probes, *u.shape), device=u.device, generator=generator)
        signs = (2 * bits - 1).to(u.dtype)

        def evaluate(u_t: Tensor, t: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
            return _quadratic_forms(denoiser, condition, u_t, t, weight, signs)

        return evaluate

    @override
    def standard_error(self, estimates: Float[Tensor, "estimates batch"]) -> Float[Tensor, " batch"]:
        # A single probe tells nothing of its error.
        if len(estimates) == 1:
            return torch.full_like(estimates[0], torch.nan)
        return estimates.std(0) / len(estimates) ** 0.5


def _quadratic_forms(
    denoiser: AbstractDenoiser,
    condition: Condition | None,
    u_t: Tensor,
    t: Tensor,
    weight: Tensor,
    directions: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the spectrum of the output, and e^T diag(weight) J e for each e of `directions`, (directions, batch).

    Backwards and not forwards: every operation of a network has a backward pass, while fused attention, for one, has
    no forward derivative.
    """
    basis = denoiser.process.basis
    with torch.enable_grad():
        u_t = u_t.detach().requires_grad_()
        output = basis.forward(denoiser.output(basis.inverse(u_t), t, condition))
    forms: list[Tensor] = []
    for direction in directions:
        # Networks treat examples apart, so one pass back serves the whole batch.
        product = _pull_back(denoiser, output, u_t, (weight.to(u_t.dtype) * direction).expand_as(output))
        forms.append((product * direction).flatten(1).sum(1))
    return output.detach(), torch.stack(forms)


def _pull_back(denoiser: AbstractDenoiser, output: Tensor, u_t: Tensor, cotangent: Tensor) -> Tensor:
    """Return J^T cotangent."""
    product = None
    if output.requires_grad:
        (product,) = torch.autograd.grad(output, u_t, cotangent, retain_graph=True, allow_unused=True)
    if product is None:
        msg = (
            f"the output of {type(denoiser).__name__} has no derivative with respect to the latent: it was computed"
            " under torch.no_grad or from a detached tensor; or, if it really does not depend on the latent, give the"
            " denoiser a method jacobian_diagonal that says so and use ClosedFormTrace()"
        )
        raise ValueError(msg)
    return product
