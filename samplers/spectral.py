"""Signals and their spectra, each made from the other only when it is asked for.

A network works on signals, a step per coefficient on spectra. A sum whose coefficients are one number for all of the
spectrum commutes with the basis: it is taken of signals or of spectra, whichever is asked for first, and needs no
further transform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..degradations import Basis
from ..degradations.bases.base import is_isotropic

Draw = Callable[[Tensor], Tensor]


class Spectral:
    """A batch of signals x and their spectra u = V^T x: one of them given, the other made once when asked for.

    Args:
        basis: the change of basis V.
        signal: x, (batch, *shape).
        spectrum: u instead, (batch, *shape).
        terms: instead, what they are the sum of, with one coefficient for all of a spectrum each.
    """

    def __init__(
        self,
        basis: Basis,
        *,
        signal: Float[Tensor, "batch ..."] | None = None,
        spectrum: Float[Tensor, "batch ..."] | None = None,
        terms: Sequence[Term] = (),
    ) -> None:
        self.basis = basis
        self._signal = signal
        self._spectrum = spectrum
        self._terms = terms

    @property
    def signal(self) -> Float[Tensor, "batch ..."]:
        """The signals, (batch, *shape)."""
        if self._signal is None and self._terms:
            self._signal, self._terms = _total([(each.signal, c) for each, c in self._terms]), ()
        elif self._signal is None:
            self._signal = self.basis.inverse(self.spectrum)
        return self._signal

    @property
    def spectrum(self) -> Float[Tensor, "batch ..."]:
        """Their spectra, (batch, *shape)."""
        if self._spectrum is None and self._terms:
            self._spectrum, self._terms = _total([(each.spectrum, c) for each, c in self._terms]), ()
        elif self._spectrum is None:
            self._spectrum = self.basis.forward(self.signal)
        return self._spectrum

    @property
    def either(self) -> Float[Tensor, "batch ..."]:
        """Whichever of the two exists already, to look at sizes and values."""
        return self.signal if self._spectrum is None else self._spectrum


Term = tuple[Spectral, Float[Tensor, "..."]]


def combine(*terms: Term, noise: tuple[Float[Tensor, "..."], Draw] | None = None) -> Spectral:
    """Return sum_i c_i u_i + stddev epsilon per coefficient, with as few transforms as it takes.

    Args:
        terms: signals and their coefficients, broadcastable to (batch, *shape).
        noise: standard deviation of white noise to add, likewise, and what draws it: a function that returns white
            noise, (batch, *shape), for a tensor of that shape, dtype and device.
    """
    basis = terms[0][0].basis
    plain = all(is_isotropic(c) for _, c in terms)
    if noise is None:
        return Spectral(basis, terms=terms) if plain else Spectral(basis, spectrum=_spectrum(terms))
    # Noise that is white in the basis is white in the data's axes, so the same draw serves either.
    stddev, draw = noise
    plain = plain and is_isotropic(stddev)
    total = _total([(each.signal, c) for each, c in terms]) if plain else _spectrum(terms)
    total = torch.addcmul(total, _in(total.dtype, stddev), draw(total))
    return Spectral(basis, signal=total) if plain else Spectral(basis, spectrum=total)


def white(like: Spectral, stddev: Float[Tensor, "..."], draw: Draw) -> Spectral:
    """Return white noise of this standard deviation per coefficient, for signals such as `like`."""
    drawn = _in(like.either.dtype, stddev) * draw(like.either)
    return Spectral(like.basis, signal=drawn) if is_isotropic(stddev) else Spectral(like.basis, spectrum=drawn)


def _spectrum(terms: Sequence[Term]) -> Tensor:
    return _total([(each.spectrum, c) for each, c in terms])


def _total(terms: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    (state, c), *rest = terms
    total = _in(state.dtype, c) * state
    for state, c in rest:
        total = torch.addcmul(total, _in(state.dtype, c), state)
    return total


def _in(dtype: torch.dtype, coefficient: Tensor) -> Tensor:
    # A conversion that converts nothing takes longer than to see that it does.
    return coefficient if coefficient.dtype == dtype else coefficient.to(dtype)
