r"""What an observation says of Gaussian data: the model of the data, and the equations of conditioning.

The data is taken to be Gaussian with a covariance C that is diagonal in the process's basis V. An observation
y = H x + s n moves its mean by

    C H^T S^-1 r,    S = H C H^T + s^2,    r = y - H E[x].

Where H is diagonal in a basis W, and W is V or C one number times the identity, this is a sum over coefficients of W,

    (H^T S^-1 r)_k = h_k r_k / (h_k^2 c_k + s^2).

Otherwise, with G = C^(1/2) H^T, it is C^(1/2) (G G^T + s^2)^-1 G r, found by conjugate gradients.

Without noise (s = 0) observed coefficients are fitted as well as the observation's own precision allows: y is a rounded
number, and its rounding is noise of standard deviation eps rms(y), eps belonging to the coarser dtype of y and the
latents and the mean square being over observed coefficients. That is added to s in quadrature, always. It makes S
invertible, matters for s below eps rms(y) only, and keeps coefficients that a blur has faded below the rounding from
being amplified into nonsense. For the same reason the equations are solved to eps, and no further.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import broadcast_to, check_instance
from ...core.precision import schedule_dtype
from ...degradations import Basis, DataSpectrum, LinearGaussianProcess
from ...degradations.bases.base import is_isotropic
from .least_squares import damped_least_squares
from .observation import Observation

# In exact arithmetic conjugate gradients take one iteration per coefficient at most. Rounding delays them, most where a
# blur is to be sharpened that was observed in double precision under hardly any noise: seven times as many were seen.
_PER_COEFFICIENT = 10
_LEAST = 1000


def solve(
    basis: Basis,
    observation: Observation,
    y: Float[Tensor, "batch ..."],
    residual: Float[Tensor, "batch ..."],
    variance: Float[Tensor, "..."],
    *,
    dtype: torch.dtype,
    iterations: int | None,
) -> Float[Tensor, "batch ..."]:
    """Return the spectrum of C^(1/2) H^T S^-1 r, (batch, *shape).

    Args:
        basis: the basis V in which C is diagonal.
        observation: H and s.
        y: the observations, (batch, *observed_shape).
        residual: r, as `observation.residual` returns it, 0 where nothing is observed.
        variance: the diagonal of C, broadcastable to (batch, *shape); one number per row is C for any basis.
        dtype: dtype of the signals that y is compared with.
        iterations: how many are allowed where there is no closed form; ten per coefficient, and 1000 at least, if None.

    Raises:
        RuntimeError: the equations were not solved in the iterations allowed.
    """
    stddev, diagonal = variance.sqrt(), observation.diagonal
    eps = max(torch.finfo(y.dtype).eps, torch.finfo(dtype).eps)
    noise = _noise_variance(observation, y, eps)
    shared = diagonal is not None and diagonal[0].agrees_with(basis)
    if diagonal is not None and (shared or is_isotropic(variance)):
        theirs, gain = diagonal
        total = gain.square() * variance + noise.reshape(-1, *(1,) * len(basis.shape))
        # Without variance and noise the data is known, and there is nothing to correct.
        solution = torch.where(total == 0, 0.0, stddev * gain * residual / total)
        return solution if shared else basis.forward(theirs.inverse(solution))
    return damped_least_squares(
        lambda w: observation.project(basis.inverse(stddev * w)),
        lambda r: stddev * basis.forward(observation.back_project(r)),
        residual,
        noise,
        size=observation.largest * stddev.flatten(1).amax(1),
        tolerance=eps,
        iterations=iterations or max(_LEAST, _PER_COEFFICIENT * math.prod(basis.shape)),
    )


def require_same_shape(process: LinearGaussianProcess, observation: Observation) -> None:
    """Check that what is observed are a process's signals.

    Raises:
        ValueError: they have another shape.
    """
    if observation.shape != process.shape:
        msg = (
            f"the observation is one of signals of shape {observation.shape}, but the denoiser's process has shape"
            f" {process.shape}: build both for one shape"
        )
        raise ValueError(msg)


def variance_table(
    process: LinearGaussianProcess, variance: DataSpectrum | Float[Tensor, "..."] | float
) -> Float[Tensor, "..."]:
    """Return the data's variances in the schedule dtype, checked: of the process's shape, or () if they are a number.

    Raises:
        TypeError: `variance` is of another kind.
        ValueError: it does not fit the shape, is negative or not finite, or the spectrum is in another basis.
    """
    if isinstance(variance, DataSpectrum):
        if not process.basis.agrees_with(variance.basis):
            msg = (
                f"the spectrum is one of {type(variance.basis).__name__}{variance.basis.shape}, but the process is"
                f" diagonal in {type(process.basis).__name__}{process.shape}: use estimate_spectrum(process.basis, x)"
            )
            raise ValueError(msg)
        variance = variance.variance
    check_instance("variance", variance, (Tensor, float, int), "or a DataSpectrum")
    value = variance if isinstance(variance, Tensor) else torch.tensor(float(variance), dtype=torch.float64)
    if not bool(((value >= 0) & value.isfinite()).all()):
        msg = f"variance must be finite and at least 0, got values from {value.min()} to {value.max()}"
        raise ValueError(msg)
    table = process.to_schedule_dtype(value.detach())
    whole = broadcast_to("variance", table, process.shape, "the process's")
    return (table if table.ndim == 0 else whole).clone()


def _noise_variance(observation: Observation, y: Float[Tensor, "batch ..."], eps: float) -> Float[Tensor, " batch"]:
    """Return s^2 and the share of rounding, (eps rms(y))^2, (batch,), in float64 where the device has it."""
    square = observation.mean_square(observation.coefficients(y.to(schedule_dtype(y.device))))
    return observation.noise_std**2 + eps**2 * square
