"""What samplers, steppers, grids and sources of noise refuse, and in which words."""

import pytest
import torch
from sampler_support import SHAPE, data_prior, heat, latents, made, soft
from support import refusals
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    ColdBlur,
    Deterministic,
    Independent,
    IsotropicDiffusion,
    Markov,
    PredictX,
    VariancePreservingBlur,
)
from unmelt.models import ConstantStd, Denoiser, GreyLevels, StandardNormalPrior
from unmelt.samplers import (
    Adaptive,
    BalancedGrid,
    Churn,
    EndGrid,
    FixedGrid,
    Follow,
    Heun,
    InterpolatedNoise,
    KarrasGrid,
    LogSNRGrid,
    Multistep,
    Posterior,
    PredictorCorrector,
    Sampler,
    SharedNoise,
    UniformGrid,
    encode,
)

DENOISER = soft(IsotropicDiffusion(SHAPE))
SAMPLER = Sampler(DENOISER)
COSINE = EVERY_PROCESS["cosine"]
FLOW = made(soft(EVERY_PROCESS["rectified flow"]), Adaptive())
NAN, INF = float("nan"), float("inf")


def fits(levels, prior_levels):
    """A sampler of data in one range from a prior of data in another."""
    process = heat()
    prior = data_prior(process)
    prior.grey_levels = prior_levels
    return Sampler(Denoiser(DENOISER.network, process, prediction=PredictX(), grey_levels=levels), prior=prior)


def sample(count=2, **settings):
    return lambda: SAMPLER.sample(count, **settings)


def grid_of(grid, process=COSINE, **ends):
    return lambda: grid.times(process, **ends)


REFUSED = [
    # numbers of steps, samples and rows
    (sample(0), ValueError, "count must be at least 1, got 0"),
    (sample(2.5), TypeError, "count must be an integer, got"),
    (sample(True), TypeError, "count must be an integer, got"),
    (sample(batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
    (sample(batch_size="3"), TypeError, "batch_size must be an integer, got"),
    (lambda: UniformGrid(2.5), TypeError, "steps must be an integer, got"),
    (lambda: UniformGrid(0), ValueError, "steps must be at least 1, got 0"),
    (lambda: LogSNRGrid(0), ValueError, "steps must be at least 1, got 0"),
    # latents, conditions, noise
    (sample(initial=latents()), ValueError, "initial holds 3 latents, but 2 samples were asked for"),
    (sample(initial=torch.zeros(2, 1, 4, 5)), ValueError, r"initial must have shape \(batch, 1, 4, 4\)"),
    (sample(start=0.5), ValueError, "a run that starts at t = 0.5 needs its latents there: give initial="),
    (sample(condition=torch.zeros(3)), ValueError, "condition must have one entry for each of 2 rows"),
    (sample(condition={"a": torch.zeros(3)}), ValueError, "condition must have one entry for each of 2 rows"),
    (sample(condition=[0, 1]), TypeError, "condition must be a Tensor or a dict"),
    (sample(given=latents(2)), ValueError, "Denoiser depends on nothing that is given: leave given out"),
    (sample(generator=[1, 2, 3]), ValueError, r"3 seeds for 2 samples: give one seed for each, such as range\(2\)"),
    (sample(generator=[1.5, 2.5]), TypeError, "one integer seed for each sample, got"),
    (sample(generator={1, 2}), TypeError, "one integer seed for each sample, in order, got"),
    (sample(noise=SharedNoise), TypeError, "noise must be a Noise"),
    *(
        (lambda w=weights: InterpolatedNoise(1, 2, torch.tensor(w)), ValueError, r"weights must be numbers in \[0, 1\]")
        for weights in ([-0.1, 0.5], [0.5, 1.1], [NAN])
    ),
    (lambda: InterpolatedNoise(3, 3, torch.tensor([0.5])), ValueError, "must be two seeds, got 3 twice"),
    # times
    *(
        (sample(3, initial=latents(), start=start, stop=stop), ValueError, "times go from start down to stop")
        for start, stop in ((0.5, 0.5), (0.2, 0.5), (1.5, 0.0), (1.0, -0.1), (NAN, 0.0))
    ),
    (lambda: SAMPLER.step(latents(), 0.25, 0.5), ValueError, "s must not be later than t, got s = 0.5 > t = 0.25"),
    (lambda: SAMPLER.step(latents(), 1.5, 0.5), ValueError, r"t must lie in \[0, 1\].*got 1.5"),
    *(
        (lambda times=times: FixedGrid(times), ValueError, "times must fall strictly from 1 to 0.*got")
        for times in ([0.0, 0.5, 1.0], [1.0, 0.5], [0.9, 0.0], [1.0, 0.5, 0.5, 0.0], [1.0], [1.0, NAN, 0.0])
    ),
    (lambda: FixedGrid(torch.linspace(0, 1, 1001)), ValueError, r"\(1001 times\): sampling goes from noise to data"),
    (grid_of(UniformGrid(3), start=0.5, stop=0.5), ValueError, "got start=0.5 and stop=0.5"),
    (grid_of(UniformGrid(3), start=1.5), ValueError, "got start=1.5"),
    (grid_of(LogSNRGrid(3), stop=-0.1), ValueError, "stop=-0.1"),
    (lambda: LogSNRGrid(3, band=(1.0, -1.0)), ValueError, "band must be two log-SNRs, the lower one first"),
    (grid_of(LogSNRGrid(3, band=(30.0, 40.0))), ValueError, "does not change between t = 0.0 and 1.0: take Uniform"),
    (grid_of(LogSNRGrid(4), EVERY_PROCESS["geometric"], stop=0.6), ValueError, "does not change"),
    (grid_of(BalancedGrid(5), ColdBlur(SHAPE)), ValueError, "does not change.*take UniformGrid"),
    (lambda: BalancedGrid(5, scale=0.0), ValueError, "scale must be positive and finite.*got 0"),
    (lambda: KarrasGrid(3, rho=0.0), ValueError, "rho must be positive and finite.*got 0.0"),
    (lambda: EndGrid(1.0), ValueError, r"first must lie in \(0, 1\).*got 1.0"),
    # steppers
    (lambda: Posterior(Markov), TypeError, "coupling must be a Coupling"),
    (
        lambda: Posterior(Deterministic(), ConstantStd(0.1)),
        ValueError,
        "steps add no noise, got reverse",
    ),
    (
        lambda: Posterior(Independent(), ConstantStd(-0.1)),
        ValueError,
        "delta must be .*standard deviation.*got -0.1",
    ),
    (lambda: Multistep(order=5), ValueError, "order must be 1, 2, 3 or 4, got 5"),
    (lambda: Multistep(eta=-1.0), ValueError, "eta must be finite and at least 0.*got -1.0"),
    (lambda: Multistep(eta=0.5, follow=Follow.NOISE), ValueError, r"with noise \(eta=0.5\) the data is followed"),
    (lambda: Multistep(follow="noise"), TypeError, "follow must be a Follow"),
    (lambda: Heun(eta=INF), ValueError, "eta must be finite and at least 0.*got inf"),
    (lambda: Heun(variable="t"), TypeError, "variable must be a Variable"),
    (lambda: Heun(churn=1.0), TypeError, "churn must be a Churn"),
    (lambda: Churn(-1.0), ValueError, "amount must be finite and at least 0, got -1.0"),
    (lambda: Churn(1.0, noise=0.0), ValueError, "noise must be positive and finite, got 0.0"),
    (lambda: Churn(1.0, earliest=0.5, latest=0.5), ValueError, "0 <= earliest < latest <= 1, got earliest=0.5"),
    (lambda: PredictorCorrector(corrections=0), ValueError, "corrections must be at least 1.*got 0"),
    (lambda: PredictorCorrector(size=0.0), ValueError, "size must be positive.*got 0.0"),
    (lambda: PredictorCorrector(Multistep()), ValueError, "the predictor must not look back at earlier steps"),
    (lambda: Adaptive(rtol=0.0), ValueError, "rtol must be positive and finite.*got 0.0"),
    (lambda: Adaptive(atol=INF), ValueError, "atol must be positive and finite.*got inf"),
    (lambda: Adaptive(most_calls=0), ValueError, "most_calls must be at least 1, got 0"),
    (lambda: encode(FLOW, torch.zeros(1, 2, 4, 6), t=0.0), ValueError, "has no noise in some coefficient at t = 0.0.*"),
    (lambda: encode(FLOW, torch.zeros(1, 2, 4, 6), t=1.0), ValueError, r"t must lie in \[0, 1\).*got 1.0"),
    (lambda: encode(SAMPLER, latents()), TypeError, "sampler.stepper must be an Adaptive"),
    # parts that do not belong together
    (lambda: Sampler(DENOISER.network), TypeError, "denoiser must be an AbstractDenoiser"),
    (lambda: Sampler(DENOISER, Posterior), TypeError, "stepper must be a Stepper"),
    (lambda: Sampler(DENOISER, grid=[1.0, 0.0]), TypeError, "grid must be a Grid"),
    (lambda: Sampler(soft(heat())), ValueError, "does not end in standard normal noise.*DegradedDataPrior"),
    (lambda: made(DENOISER, prior=StandardNormalPrior(VariancePreservingBlur(SHAPE))), ValueError, "another process"),
    (lambda: made(soft(heat()), prior=data_prior(heat(sigma=0.5))), ValueError, "the prior was made for another"),
    (
        lambda: fits(GreyLevels(256, 0.0, 1.0), GreyLevels(256, -1.0, 1.0)),
        ValueError,
        r"the prior is one of data in \[-1, 1\].*, the denoiser of data in \[0, 1\]",
    ),
]


@pytest.mark.usefixtures("as_in_production")
@refusals(*REFUSED)
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words) as refused:
        call()
    # Long grids and tables of data are not printed.
    assert len(str(refused.value)) < 500


def test_priors_of_the_same_process_and_range_are_taken():
    levels = GreyLevels(256, 0.0, 1.0)
    for known in ((levels, levels), (levels, None), (None, levels)):
        assert fits(*known).sample(2).isfinite().all()
