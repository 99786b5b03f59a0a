r"""The hierarchy of samples: a path that branches, and branches again.

A sampler with noise in its steps goes from the prior down to a time t_1 and arrives at one state. From it n_1 children
go on to t_2, each with noise of its own; from each of these n_2 to t_3; and so on, until those born at the last
branching time arrive at data. What is decided at which time is seen at once: with heat dissipation brothers of an
early branching share coarse forms, those of a late one differ in detail alone (a picture of Rissanen et al.,
2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...core.checks import check_instance
from ...core.evaluation_mode import evaluating
from ...core.randomness import draw_seeds
from ..base import Sampler
from .repeating import repeated


@dataclass(frozen=True, eq=False)
class Generation:
    """The states of a tree at one of its branching times, or at its end.

    Attributes:
        time: the time; 0 in the last generation.
        states: latents at that time, brothers side by side, (count, *shape); in the last generation the samples.
        predictions: the denoiser's estimates of the data from these states, (count, *shape): the mean of all that may
            still come of each. In the last generation the samples themselves.
        parents: index of each state's parent in the generation before, (count,), rising; 0 in the first one, which has
            none.
    """

    time: float
    states: Float[Tensor, "count ..."]
    predictions: Float[Tensor, "count ..."]
    parents: Int[Tensor, " count"]


@dataclass(frozen=True)
class Tree:
    """A path that branched.

    Attributes:
        generations: what there was at each branching time and at the end, the single state at the first one first.
    """

    generations: tuple[Generation, ...]

    @property
    def samples(self) -> Float[Tensor, "count ..."]:
        """The samples, (count, *shape)."""
        return self.generations[-1].states

    def line(self, sample: int) -> list[int]:
        """Return the indices of a sample and its forefathers in their generations, the first one's first.

        Args:
            sample: index of the sample.

        Raises:
            ValueError: there is none of that index.
        """
        if not 0 <= sample < len(self.samples):
            msg = f"sample must lie in 0..{len(self.samples) - 1}, got {sample}"
            raise ValueError(msg)
        line = [sample]
        for generation in reversed(self.generations[1:]):
            line.append(int(generation.parents[line[-1]]))
        return line[::-1]


def branch(
    sampler: Sampler,
    *,
    times: Sequence[float],
    children: Sequence[int],
    initial: Float[Tensor, "one ..."] | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Tree:
    """Return a tree of samples that share their paths down to the times at which it branches.

    Args:
        sampler: a sampler whose steps add noise.
        times: branching times, falling, in (0, 1]; they need not lie on the sampler's grid. 1 branches the initial
            state itself.
        children: how many children each state has at each of these times, at least 1.
        initial: the latent at t = 1, (1, *shape); drawn from the prior if None.
        generator: source of randomness; torch's default if None. The tree does not depend on `batch_size`.
        batch_size: most states at a time; a whole generation if None.

    Returns:
        The tree, with one generation more than there are branching times.

    Raises:
        ValueError: the steps add no noise, times do not fall within (0, 1], or there are not as many numbers of
            children as times, each at least 1.
    """
    check_instance("sampler", sampler, Sampler, "PosteriorSampler(denoiser) for example")
    if not sampler.draws_noise:
        msg = (
            f"the steps of this {type(sampler).__name__} add no noise, so that all children of a state would be the"
            " same: take a coupling with noise, such as Markov() or Eta(0.5)"
        )
        raise ValueError(msg)
    ends = _checked([float(t) for t in times], list(children))
    if initial is not None and len(initial) != 1:
        msg = f"initial must be the one latent that the tree grows from, (1, *shape), got {len(initial)}"
        raise ValueError(msg)
    (first,) = draw_seeds(1, generator)
    if initial is None:
        initial = sampler.prior.sample(1, generator=torch.Generator().manual_seed(first))
    states, parents = initial.to(sampler.process.device), torch.zeros(1, dtype=torch.int64)
    if ends[0] < 1:
        states = sampler.sample(1, initial=states, stop=ends[0], generator=draw_seeds(1, generator))
    generations = [_generation(sampler, ends[0], states, parents, batch_size)]
    for (t, s), number in zip(pairwise(ends), children, strict=True):
        parents = torch.arange(len(states)).repeat_interleave(number)
        # Labels and observations of a guided denoiser come along with the states.
        states = repeated(sampler, torch.zeros_like(parents)).sample(
            len(parents),
            initial=states[parents.to(states.device)],
            start=t,
            stop=s,
            generator=draw_seeds(len(parents), generator),
            batch_size=batch_size,
        )
        generations.append(_generation(sampler, s, states, parents, batch_size))
    return Tree(tuple(generations))


def _generation(sampler: Sampler, t: float, states: Tensor, parents: Tensor, batch_size: int | None) -> Generation:
    predictions = states
    if t > 0:
        with torch.no_grad(), evaluating(sampler.denoiser):
            batches = states.split(batch_size or len(states))
            denoiser = repeated(sampler, torch.zeros(len(batches[0]), dtype=torch.int64)).denoiser
            predictions = torch.cat([denoiser.select(slice(0, len(batch)))(batch, t) for batch in batches])
    return Generation(t, states, predictions, parents)


def _checked(times: list[float], children: list[int]) -> list[float]:
    """Return the branching times and the end."""
    ends = [*times, 0.0]
    if not times or ends[0] > 1 or not all(t > s for t, s in pairwise(ends)):
        msg = f"times must fall within (0, 1], such as (0.6, 0.3), got {times}"
        raise ValueError(msg)
    if len(children) != len(times) or min(children) < 1:
        msg = f"children must give a number, at least 1, for each of the {len(times)} branching times, got {children}"
        raise ValueError(msg)
    return ends
