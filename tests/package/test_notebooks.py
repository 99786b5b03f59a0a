"""What notebooks and prompts show of objects: a picture with words, and short texts."""

import base64
import io
import re

import pytest
import torch
from PIL import Image
from small_runs import small_run

from unmelt import load_run
from unmelt.degradations import (
    BlurringDiffusion,
    EqualSNR,
    FourierBasis,
    GivenVariance,
    GraphHeat,
    HeatDissipation,
    HeatFlow,
    IsotropicDiffusion,
    Markov,
    Pixelation,
    PixelMask,
    PredictX,
    SpectralDiffusion,
    estimate_spectrum,
)
from unmelt.losses import ELBO
from unmelt.models import EMA, Denoiser, GaussianDecoder, GaussianOracle, GaussianPrior, UNet
from unmelt.samplers import Posterior, Sampler, UniformGrid
from unmelt.training import Trainer

SHAPE = (1, 8, 8)
MEAN, VARIANCE = torch.full(SHAPE, 0.5), torch.full(SHAPE, 0.1)


def picture(text):
    """The picture inside HTML, and its words."""
    (data, words) = re.search(r'src="data:image/png;base64,([^"]+)" alt="([^"]+)"', text).groups()
    return Image.open(io.BytesIO(base64.b64decode(data))), words


@pytest.fixture(scope="module")
def sampler():
    process = HeatDissipation(SHAPE, levels=10)
    prior = GaussianPrior(process, MEAN, VARIANCE)
    return Sampler(GaussianOracle(process, MEAN, VARIANCE), Posterior(Markov()), grid=UniformGrid(10), prior=prior)


@pytest.mark.parametrize("make", [HeatDissipation, BlurringDiffusion])
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 40), (1, 4, 8, 8)])
def test_a_process_is_drawn_on_an_example(make, shape):
    image, words = picture(make(shape)._repr_html_())
    assert image.size[0] > 500
    assert words == f"{make.__name__} on a built-in example of shape {shape}"


def test_what_cannot_be_drawn_is_a_text(monkeypatch):
    assert IsotropicDiffusion((1, 2, 4, 4, 4))._repr_html_() is None
    monkeypatch.setattr("unmelt.degradations.drawing.find_spec", lambda _: None)
    assert IsotropicDiffusion(SHAPE)._repr_html_() is None


def test_samples_and_their_way_are_pictures_in_a_range_that_is_told(sampler):
    result = sampler.run(20)
    low, high = result.samples.min().item(), result.samples.max().item()
    image, words = picture(result._repr_html_())
    assert words == f"20 samples, 200 evaluations of the network, shown from {low:.3g} (black) to {high:.3g} (white)"
    assert image.size[0] > 64
    image, words = picture(result.trajectory._repr_html_())
    assert words.startswith("the first 8 of 20 samples from t = 1 to 0, in 10 steps, shown from ")


def test_a_caption_counts_what_is_shown(sampler):
    _, words = picture(sampler.run(65)._repr_html_())
    assert words.startswith("the first 64 of 65 samples, 650 evaluations of the network, shown from ")
    _, words = picture(sampler.run(8).trajectory._repr_html_())
    assert words.startswith("8 samples from t = 1 to 0, in 10 steps, shown from ")


@pytest.mark.full
def test_a_run_shows_its_samples_and_escapes_its_words(tmp_path):
    config = small_run(tmp_path, "<b>")
    run = Trainer(config, config.data.load()).train().path
    text = load_run(run)._repr_html_()
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert "<img" not in text
    Image.new("L", (8, 8)).save(run / "samples.png")
    assert picture(load_run(run)._repr_html_())[0].size == (8, 8)


def texts():
    process = HeatDissipation(SHAPE, levels=10)
    denoiser = Denoiser(UNet(SHAPE, channels=8), process, prediction=PredictX())
    oracle, prior = GaussianOracle(process, MEAN, VARIANCE), GaussianPrior(process, MEAN, VARIANCE)
    spectrum = estimate_spectrum(FourierBasis(SHAPE), torch.rand(9, *SHAPE, generator=torch.Generator().manual_seed(0)))
    return {
        "schedule=CosineSchedule(": IsotropicDiffusion(SHAPE),
        "noise=EqualSNR(spectrum=DataSpectrum(": SpectralDiffusion(SHAPE, EqualSNR(spectrum)),
        "noise=GivenVariance(": SpectralDiffusion(SHAPE, GivenVariance(FourierBasis(SHAPE), torch.ones(SHAPE))),
        "rate=0.5, noise_scale=1": HeatFlow(SHAPE),
        "duration=0.333333, noise=ConstantNoise(sigma=0.01)": Pixelation(SHAPE),
        "duration=0.25": PixelMask(SHAPE),
        "levels=200, noise=ConstantNoise(": GraphHeat((1, 3), 3 * torch.eye(3) - 1),
        f"UNet of {sum(p.numel() for p in denoiser.network.parameters()):,} parameters, HeatDissipation": denoiser,
        "PredictX()": EMA(denoiser),
        "coupling=Markov()": Sampler(oracle, Posterior(Markov()), prior=prior),
        "means of 3 examples, 9 terms each": ELBO(oracle, prior=prior, decoder=GaussianDecoder(process, 0.1))(
            torch.rand(3, *SHAPE)
        ),
    }


@pytest.mark.parametrize("words", texts())
def test_texts_are_short_and_tell_the_settings(words):
    text = repr(texts()[words])
    assert words in text
    assert len(text.splitlines()) <= 6
    assert max(map(len, text.splitlines())) <= 240
