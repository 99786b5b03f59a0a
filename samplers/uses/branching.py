r"""The hierarchy of samples: a path that branches, and branches again.

A sampler with noise in its steps goes from the prior down to a time t_1 and arrives at one state. From it n_1 children
go on to t_2, each with its own noise; from each of these n_2 to t_3; and so on, until those born at the last
branching time arrive at data. What is decided at which time is seen at once: with heat dissipation siblings of an
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
from ...models.conditions import Condition, check_rows, select_rows
from ..sampler import Sampler


@dataclass(frozen=True, eq=False)
class Generation:
    """The states of a tree at one of its branching times, or at its end.

    Attributes:
        time: the time; 0 in the last generation.
        states: latents at that time, siblings side by side, (count, *shape); in the last generation the samples.
        predictions: the denoiser's estimates of the data from these states, (count, *shape): the mean of all that may
            still come of each. In the last generation the samples themselves.
        parents: index of each state's parent in the generation before, (count,), rising; 0 in the first one, which has
            none.
    """

    time: float
    states: Float[Tensor, "count ..."]
    predictions: Float[Tensor, "count ..."]
    parents: Int[Tensor, " count"]

    def __repr__(self) -> str:
        """Show time and shape, not numbers."""
        return f"Generation(t = {self.time:g}, states {tuple(self.states.shape)})"


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

    def ancestry(self, sample: int) -> list[int]:
        """Return the indices of a sample and its ancestors in their generations, the first one's first.

        Args:
            sample: index of the sample.

        Raises:
            ValueError: there is none of that index.
        """
        if not 0 <= sample < len(self.samples):
            msg = f"sample must lie in 0..{len(self.samples) - 1}, got {sample}"
            raise ValueError(msg)
        ancestry = [sample]
        for generation in reversed(self.generations[1:]):
            ancestry.append(int(generation.parents[ancestry[-1]]))
        return ancestry[::-1]


def branch(
    sampler: Sampler,
    *,
    times: Sequence[float],
    children: Sequence[int],
    condition: Condition | None = None,
    given: Condition | None = None,
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
        condition: the network's condition, (1, ...), the same for all samples; None if it takes none.
        given: what the denoiser is given of all samples, (1, ...), if it needs any.
        initial: the latent at t = 1, (1, *shape); as `Sampler.initial_latents` draws it if None.
        generator: source of randomness; torch's default if None. The tree does not depend on `batch_size`.
        batch_size: most states at a time; a whole generation if None.

    Returns:
        The tree, with one generation more than there are branching times.

    Raises:
        ValueError: the steps add no noise, times do not fall within (0, 1], or there are not as many numbers of
            children as times, each at least 1.
    """
    check_instance("sampler", sampler, Sampler, "Sampler(denoiser) for example")
    ends = _checked([float(t) for t in times], list(children))
    # The last branching decides: with a known end the first step from there draws noise, and no other may.
    if not sampler.draws_noise_from(ends[-2]):
        msg = (
            f"the steps of {sampler.stepper} from t = {ends[-2]:g} add no noise, so that all children of a state would"
            " be the same: take steps that draw some, such as Posterior(Markov()) or Multistep(eta=1)"
        )
        raise ValueError(msg)
    if initial is not None and len(initial) != 1:
        msg = f"initial must be the one latent that the tree grows from, (1, *shape), got {len(initial)}"
        raise ValueError(msg)
    check_rows("condition", condition, 1)
    check_rows("given", given, 1)
    (first,) = draw_seeds(1, generator)
    if initial is None:
        initial = sampler.initial_latents(1, given=given, generator=[first])
    states, parents = initial.to(sampler.process.device), torch.zeros(1, dtype=torch.int64)
    if ends[0] < 1:
        states = sampler.sample(
            1, condition=condition, given=given, initial=states, stop=ends[0], generator=draw_seeds(1, generator)
        )
    generations = [_generation(sampler, ends[0], states, parents, batch_size, condition, given)]
    for (t, s), number in zip(pairwise(ends), children, strict=True):
        parents = torch.arange(len(states)).repeat_interleave(number)
        # Condition and observation come along with the states.
        rows = torch.zeros_like(parents)
        states = sampler.sample(
            len(parents),
            condition=select_rows(condition, rows),
            given=select_rows(given, rows),
            initial=states[parents.to(states.device)],
            start=t,
            stop=s,
            generator=draw_seeds(len(parents), generator),
            batch_size=batch_size,
        )
        generations.append(_generation(sampler, s, states, parents, batch_size, condition, given))
    return Tree(tuple(generations))


def _generation(
    sampler: Sampler,
    t: float,
    states: Tensor,
    parents: Tensor,
    batch_size: int | None,
    condition: Condition | None,
    given: Condition | None,
) -> Generation:
    predictions = states
    if t > 0:
        with torch.no_grad(), evaluating(sampler.denoiser):
            batches = states.split(batch_size or len(states))
            rows = [torch.zeros(len(batch), dtype=torch.int64) for batch in batches]
            predictions = torch.cat(
                [
                    sampler.denoiser(batch, t, select_rows(condition, row), select_rows(given, row))
                    for batch, row in zip(batches, rows, strict=True)
                ]
            )
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
