"""The search for the smallest example that breaks a law.

Half of the examples are spread evenly, because the few that hypothesis draws are mostly ends and repetitions; the other
half are hypothesis's, which also makes small what breaks a law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TypeVar

from ..degradations import (
    Coupling,
    Deterministic,
    Eta,
    Independent,
    LinearGaussianProcess,
    Markov,
    ReverseSDE,
)
from .law import Example, Law, Violation

try:
    from hypothesis import Phase, Verbosity, currently_in_test_context, find, settings
    from hypothesis import strategies as st
    from hypothesis.errors import Flaky, NoSuchExample
except ModuleNotFoundError as error:  # pragma: no cover
    message = "unmelt.testing needs hypothesis: pip install 'unmelt[testing]'"
    raise ModuleNotFoundError(message, name=error.name) from error

Result = TypeVar("Result")

COUPLINGS: tuple[Coupling, ...] = (Markov(), Deterministic(), Independent(), Eta(0.5), ReverseSDE(0.5))


def smallest_violation(law: Law, process: LinearGaussianProcess, max_examples: int) -> tuple[Example, Violation] | None:
    """Return the smallest example found that breaks the law, and how; None if none was found.

    The search is the same every time and keeps no database. Inside another hypothesis test it runs `outside_tests`.
    """
    if law.once:
        violation = law.violation(process, Example())
        return None if violation is None else (Example(), violation)
    latest: list[tuple[Example, Violation]] = []

    def breaks(example: Example) -> bool:
        violation = law.violation(process, example)
        if violation is not None:
            latest[:] = [(example, violation)]
        return violation is not None

    half = max(1, max_examples // 2)
    spread = next((example for example in spread_examples(law, process.shape, half) if breaks(example)), None)
    quietly = settings(
        # There is something to find: look longer.
        max_examples=half if spread is None else 10 * max_examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        verbosity=Verbosity.quiet,
        print_blob=False,
    )
    try:
        # A seed rather than `derandomize`, which would hash this file's source.
        example = find(examples(law, process.shape), breaks, settings=quietly, random=Random(0))  # noqa: S311
    except NoSuchExample:
        return None if spread is None else latest[0]
    except Flaky:
        # The process itself is random, so that an example broke the law once and not again.
        return latest[0]
    violation = law.violation(process, example)
    return latest[0] if violation is None else (example, violation)


def outside_tests(function: Callable[[], Result]) -> Result:
    """Return function(), called where no hypothesis test is around it: inside one, hypothesis refuses to search."""
    if not currently_in_test_context():
        return function()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function).result()


def examples(law: Law, shape: tuple[int, ...]) -> st.SearchStrategy[Example]:
    """Return what a law is tried on: rising times, both ends and equal ones among them, and batches like an axis."""
    return st.builds(
        Example,
        times=st.tuples(*[times()] * law.times).map(lambda drawn: tuple(sorted(drawn))),
        seed=st.integers(0, 99),
        batch=st.sampled_from(batches(shape)),
        coupling=st.sampled_from(COUPLINGS),
    )


def spread_examples(law: Law, shape: tuple[int, ...], count: int) -> Iterator[Example]:
    """Return examples at uniformly random hundredths of time."""
    random = Random(0)  # noqa: S311
    for seed in range(count):
        drawn = tuple(sorted(random.randint(0, 100) / 100 for _ in range(law.times)))
        yield Example(drawn, seed, random.choice(batches(shape)), COUPLINGS[seed % len(COUPLINGS)])


def batches(shape: tuple[int, ...]) -> list[int]:
    """Return sizes of batches, those of a signal's axes among them, in which a missing axis would broadcast."""
    return sorted({2, 3, *(size for size in shape if 2 <= size <= 64)})


def times() -> st.SearchStrategy[float]:
    """Return times in [0, 1], both ends often, that shrink to hundredths."""
    hundredths = st.integers(0, 100).map(lambda percent: percent / 100)
    return st.one_of(hundredths, st.sampled_from((0.0, 1.0)), st.floats(1e-3, 1 - 1e-3))
