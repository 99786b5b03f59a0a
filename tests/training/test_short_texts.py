"""What is printed in a notebook fits there: some lines, that say what a thing is."""

import re

import pytest
from small_runs import begin, images, small_run, train

from unmelt import load_run
from unmelt.losses import ELBO, DenoisingLoss, FlowLikelihood, LearnedLogVariance
from unmelt.models import DegradedDataPrior, GaussianDecoder, GaussianPrior
from unmelt.samplers.results import Partial


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """Objects that people print, by name."""
    root, data = tmp_path_factory.mktemp("runs"), images()
    run = load_run(train(small_run(root, steps=2), data).run.path)
    process, steps = run.denoiser.process, []
    found = run.sampler().run(3, callback=steps.append)
    fitted = {kind.__name__: kind.fit(process, data.train.blocks()) for kind in (DegradedDataPrior, GaussianPrior)}
    return {
        "run": run,
        "trainer": begin(small_run(root, "other"), data),
        "folder": run.folder,
        "manifest": run.manifest,
        "splits": data,
        "examples": data.train,
        "blocks": data.train.blocks(5),
        "sampler": run.sampler(),
        "result": found,
        "trajectory": found.trajectory,
        "partial": Partial(
            found.samples, found.trajectory.states[:, 1:], found.trajectory.times, slice(1, 3), found.stats
        ),
        "step": steps[0],
        "loss": DenoisingLoss(run.denoiser, log_variance=LearnedLogVariance()),
        "elbo": ELBO(run.denoiser, prior=run.prior, decoder=GaussianDecoder(process, 0.03)),
        "flow": FlowLikelihood(run.denoiser, prior=run.prior, decoder=GaussianDecoder(process, 0.03)),
        "prior": run.prior,
        **fitted,
    }


NAMES = [
    "run",
    "trainer",
    "folder",
    "manifest",
    "splits",
    "examples",
    "blocks",
    "sampler",
    "result",
    "trajectory",
    "partial",
    "step",
    "loss",
    "elbo",
    "flow",
    "prior",
    "DegradedDataPrior",
    "GaussianPrior",
]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_short_and_says_what_it_is(things, name):
    text = repr(things[name])
    assert len(text) < 1000
    assert len(text.splitlines()) <= 10
    # Neither addresses nor numbers by the hundred.
    assert " at 0x" not in text
    assert "tensor(" not in text
    assert type(things[name]).__name__ in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "run",
            r"small'\)\n  process: HeatDissipation.*\n  network: [\d,]+ param.*\n.*\n  weights: step 2, .* decay 0\.9",
        ),
        ("trainer", r"^Trainer\('.*other', step 0 of 6, on cpu\)$"),
        ("examples", r"^ArrayExamples\(22 examples of shape \(1, 4, 4\), 256 levels\)$"),
        ("blocks", r"^Blocks\(5 of ArrayExamples\(22 "),
        ("sampler", r"Independent\(\).*LowRankGaussianPrior"),
        ("result", r"^SamplingResult\(samples \(3, 1, 4, 4\), SamplingStats\(.*\), Trajectory\("),
        ("trajectory", r"^Trajectory\(times \(9,\), states \(9, 3, 1, 4, 4\), predictions \(8, 3, 1, 4, 4\)\)$"),
        ("partial", r"^Partial\(samples \(3, 1, 4, 4\), states \(9, 2, 1, 4, 4\) of rows 1 to 3, "),
        ("loss", r"Denoiser of HeatDissipation, PredictPreviousLevel.*SimpleWeighting.*SumOver.*LearnedLogVariance"),
        ("elbo", r"coupling=Markov\(\), reverse_std=PosteriorStd\(\).*LowRankGaussianPrior, GaussianDecoder"),
    ],
)
def test_it_says_what_matters(things, name, words):
    assert re.search(words, repr(things[name]))


def test_long_settings_are_cut(things):
    for line in repr(things["run"]).splitlines():
        assert len(line) <= 110
    assert re.search(r"network: .*\.\.\.$", repr(things["run"]), re.MULTILINE)
