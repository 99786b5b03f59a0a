"""All laws on one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..degradations import Basis, LinearGaussianProcess
from . import (
    argument_laws,
    basis_laws,
    coefficient_laws,
    distribution_laws,
    end_laws,
    formula_laws,
    gradient_laws,
    helper_laws,
    jump_laws,
    logarithm_laws,
    memory_laws,
    module_laws,
    path_laws,
    posterior_laws,
    precision_laws,
    rate_laws,
    schedule_laws,
    shape_laws,
    signal_laws,
)
from .broken import BrokenLaw
from .law import Example, Law, Violation
from .search import outside_tests, smallest_violation

# Of what every process writes. What later laws take for granted comes first.
OWN_LAWS: tuple[Law, ...] = (
    *memory_laws.FIRST_LAWS,
    *shape_laws.LAWS,
    *memory_laws.LAWS,
    *coefficient_laws.LAWS,
    *memory_laws.LATER_LAWS,
    *precision_laws.LAWS,
    *logarithm_laws.LAWS,
    *schedule_laws.LAWS,
    *jump_laws.LAWS,
    *module_laws.LAWS,
    *basis_laws.LAWS,
    *gradient_laws.LAWS,
)
# Of methods that follow, and are wrong only where they are overridden.
METHOD_LAWS: tuple[Law, ...] = (
    *argument_laws.LAWS,
    *helper_laws.LAWS,
    *distribution_laws.LAWS,
    *posterior_laws.LAWS,
    *signal_laws.LAWS,
    *path_laws.LAWS,
    *rate_laws.LAWS,
)
LAWS = (*OWN_LAWS, *METHOD_LAWS)
END_LAWS: tuple[Law, ...] = end_laws.LAWS


def check_process(
    process: LinearGaussianProcess,
    *,
    alpha: Callable[[float], Any] | None = None,
    sigma: Callable[[float], Any] | None = None,
    beta: Callable[[float], Any] | None = None,
    max_examples: int = 30,
) -> tuple[str, ...]:
    """Try every law of linear-Gaussian processes on `process`, and say in plain words which one it breaks, and where.

    Times, signals and couplings are drawn by hypothesis, the same ones every time; of a broken law the smallest example
    is reported. The laws are those of alpha and sigma, the basis, the module, and of every method that a subclass can
    override. What they ask of alpha and sigma themselves: alpha_0 > 0; alpha_t <= alpha_0; a log-SNR that never rises;
    no jumps, but for coefficients that vanish altogether; and numbers that fit into float32. log_alpha from 1 that is
    never below 0, and log_sigma from a number in (0, 1] where sigma then exceeds the signal, are taken for alpha and
    sigma themselves, unless their formula is given. If all laws hold, it prints a line that says so.

    No law can tell whether alpha and sigma are the ones you mean: a process with sigma^2 for sigma, or with a forgotten
    factor, is another process that is just as right. The formulas can, so give them as your paper has them:

        def test_fog():
            check_process(Fog((1, 8, 8)), sigma=lambda t: 0.02 * math.exp(t))

    A small shape of the kind you use is enough, with axes of different sizes.

    Args:
        process: the process, on any device.
        alpha: alpha_t as a plain formula of a number t in [0, 1]; it returns a number, an array or a tensor that
            broadcasts to the process's shape. None if there is nothing to compare with.
        sigma: sigma_t likewise, in the data's units.
        beta: beta_t likewise, the share of a known end; the laws of such a process are those of the process without
            it, `process.centred()`, and of what `given` does.
        max_examples: how many examples each law is tried on.

    Returns:
        The names of the laws that were tried, all of which hold.

    Raises:
        BrokenLaw: a law is broken; the message names it, the times, the coefficient and the amount, and what to do.
        TypeError: `process` is not a LinearGaussianProcess, is a class instead of an instance, or has not called its
            base class's constructor; `alpha`, `sigma` or `beta` is not a function.
        ValueError: `max_examples` is below 1, or there is a formula for beta and no known end.
    """
    if not isinstance(process, LinearGaussianProcess):  # pyright: ignore[reportUnnecessaryIsInstance]
        msg = f"check_process takes an instance of a LinearGaussianProcess, got {process!r}"
        raise TypeError(msg)
    formulas = (("alpha", alpha), ("sigma", sigma), ("beta", beta))
    for name, formula in formulas:
        if formula is not None and not callable(formula):  # pyright: ignore[reportUnnecessaryIsInstance]
            msg = f"{name} must be a function of t, such as lambda t: {formula!r}, got {formula!r}"
            raise TypeError(msg)
    if max_examples < 1:
        msg = f"max_examples must be at least 1, got {max_examples}"
        raise ValueError(msg)
    if "_modules" not in vars(process):
        msg = f"{type(process).__name__}.__init__ does not call super().__init__(basis): let it, before all else"
        raise TypeError(msg)
    if beta is not None and not process.known_end:
        msg = f"{type(process).__name__} has no known end, no log_beta to compare a formula with: leave beta out"
        raise ValueError(msg)
    given = {name: formula_laws.formula_law(name, formula) for name, formula in formulas if formula is not None}
    # What a formula tells is not guessed.
    guesses = {"alpha": logarithm_laws.of_alpha, "sigma": logarithm_laws.of_sigma}
    laws = tuple(law for law in LAWS if law not in [guess for name, guess in guesses.items() if name in given])
    ends = END_LAWS if process.known_end else ()
    held = check_laws(process, (*laws, *ends, *given.values()), max_examples)
    print(f"{type(process).__name__}({process.shape}): {len(held)} laws hold")  # noqa: T201
    return held


def check_laws(process: LinearGaussianProcess, laws: tuple[Law, ...], max_examples: int) -> tuple[str, ...]:
    """Try laws one after the other; see `check_process`."""
    found = outside_tests(lambda: first_broken(process, laws, max_examples))
    if found is not None:
        broken = describe(process, *found)
        raise broken from found[2].cause
    return tuple(law.name for law in laws)


def first_broken(
    process: LinearGaussianProcess, laws: tuple[Law, ...], max_examples: int
) -> tuple[Law, Example, Violation] | None:
    """Return the first of the laws that is broken, with its smallest example; None if all hold."""
    centred = process.centred()
    for law in laws:
        # A process with a known end is held to the laws of those without through the process that it moves.
        found = smallest_violation(law, centred if law in LAWS else process, max_examples)
        if found is not None:
            return law, *found
    return None


def describe(process: LinearGaussianProcess, law: Law, example: Example, violation: Violation) -> BrokenLaw:
    """Return the error that tells of a violation: law, times, coefficient, what is wrong, what to do."""
    times = example.times if violation.times is None else violation.times
    where = [place_in_time(times)] if times else []
    if violation.coefficient is not None:
        where.append(f"at coefficient {violation.coefficient}")
    what = ", ".join([*where, violation.what])
    overrides = overridden(process) if law in (*METHOD_LAWS, *END_LAWS) else ""
    return BrokenLaw(
        f"{type(process).__name__} breaks the law '{law.name}': {what}. {violation.advice or law.advice}{overrides}",
        law=law.name,
        times=times,
        coefficient=violation.coefficient,
        amount=violation.amount,
    )


def place_in_time(times: tuple[float, ...]) -> str:
    """Return times in words."""
    if len(times) == 1:
        return f"at t = {times[0]!r}"
    if len(times) == 2:
        return f"between s = {times[0]!r} and t = {times[1]!r}"
    return f"from r = {times[0]!r} through s = {times[1]!r} to t = {times[2]!r}"


def overridden(process: LinearGaussianProcess) -> str:
    """Say which methods of the library's classes the user's ones override, in a sentence, empty if none."""
    library, found = __name__.split(".")[0], list[str]()
    for owner, base, own in (
        (process, LinearGaussianProcess, {"log_alpha", "log_sigma", "log_beta", "levels", "extra_repr"}),
        (process.basis, Basis, {"analyse", "synthesise", "shape", "extra_repr"}),
    ):
        for cls in type(owner).__mro__:
            if cls.__module__.split(".")[0] == library:
                break
            names = [name for name in vars(cls) if hasattr(base, name) and name[0] != "_" and name not in own]
            found += [f"{cls.__name__} overrides {', '.join(names)}"] if names else []
    return f" ({'; '.join(found)}.)" if found else ""
