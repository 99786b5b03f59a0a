"""The loss on held-out images: what it is in closed form, what it is made of, and what it does not depend on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn
from support import SoftNetwork, refusals, seeded
from torch import nn
from zoo import EVERY_PROCESS

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictX,
)
from unmelt.losses import (
    DenoisingLoss,
    LearnedLogVariance,
    LevelTimes,
    LogNormalTimes,
    LossAwareTimes,
    MeanOverDimensions,
    Stratified,
    UniformTimes,
)
from unmelt.models import EMA, Denoiser, UNet
from unmelt.training import ArrayExamples, HeldOut
from unmelt.training.data.examples import Examples, spread
from unmelt.training.data.unreadable import UnreadableError

SHAPE = (2, 4, 6)
N = math.prod(SHAPE)
BANDS = [f"held_out_loss_t_{band}" for band in ("0.00_0.25", "0.25_0.50", "0.50_0.75", "0.75_1.00")]


class Answer(nn.Module):
    """A network that answers with a function of latents, times and labels, and remembers what it was asked."""

    def __init__(self, function, classes=None):
        super().__init__()
        self.function, self.classes, self.asked = function, classes, []

    def forward(self, z, t, condition=None):
        assert not torch.is_grad_enabled()
        self.asked.append((z.clone(), t.clone(), None if condition is None else condition.clone()))
        return self.function(z, t.reshape(-1, *(1,) * (z.ndim - 1)), condition).expand_as(z)

    def times(self):
        return torch.cat([t for _, t, _ in self.asked])

    def latents(self):
        return torch.cat([z for z, _, _ in self.asked])


def numbers(count, shape=SHAPE, labels=None, seed=0):
    return ArrayExamples(torch.randn(count, *shape, generator=seeded(seed)), labels=labels)


def held_out(examples, network, process=None, prediction=None, batch_size=100, **loss):
    process = process or HeatDissipation(examples.shape, blur_sigma_max=4.0, levels=10)
    made = DenoisingLoss(Denoiser(network, process, prediction=prediction or PredictX()), **loss)
    return HeldOut(examples, made, batch_size=batch_size)


def zero():
    return Answer(lambda z, t, condition: torch.zeros_like(z))


def time():
    return Answer(lambda z, t, condition: t)


class TestClosedForm:
    @pytest.mark.parametrize("count", [1, 5, 40, 256, 300])
    def test_a_network_of_zeros_is_off_by_the_images(self, count):
        examples = numbers(count)
        images = examples.read(spread(count, 256)).double()
        found = held_out(examples, zero(), times=UniformTimes()).measure()
        # Of 5 images 32 latents are made: the i-th of image floor(5 i / 32).
        latents = max(len(images), 32)
        images = images[[i * len(images) // latents for i in range(latents)]]
        squares = images.square().sum((1, 2, 3))
        # Sums of 48 squares in float32.
        close = {"rel": 1e-5}
        assert found["held_out_loss"] == pytest.approx(squares.mean().item(), **close)
        assert found["held_out_loss_per_dim"] == pytest.approx(squares.mean().item() / N, **close)

    def test_octaves_are_those_of_a_cosine_transform(self):
        examples = numbers(300)
        found = held_out(examples, zero(), times=UniformTimes()).measure()
        power = np.square(dctn(examples.read(spread(300, 256)).double().numpy(), axes=(2, 3), norm="ortho"))
        power = power.sum(1).mean(0)
        # In units of the lowest frequency, half a wave along the longer axis.
        frequency = np.hypot(np.arange(4)[:, None] * 6 / 4, np.arange(6))
        assert found["held_out_loss_octave_0"] == pytest.approx(power[0, 0], rel=1e-5)
        for octave in (1, 2, 3):
            inside = (frequency >= 2 ** (octave - 1)) & (frequency < 2**octave)
            assert found[f"held_out_loss_octave_{octave}"] == pytest.approx(power[inside].sum(), rel=1e-5)
        assert "held_out_loss_octave_4" not in found

    def test_the_times_are_the_middles_of_equal_parts_of_their_distribution(self):
        network = time()
        found = held_out(ArrayExamples(torch.zeros(64, *SHAPE)), network, times=UniformTimes()).measure()
        expected = (torch.arange(64) + 0.5) / 64
        torch.testing.assert_close(network.times().sort().values, expected, rtol=1e-6, atol=0)
        # The error of the data, which is 0, is t in each coefficient.
        losses = N * expected.double().square()
        assert found["held_out_loss"] == pytest.approx(losses.mean().item(), rel=1e-5)
        for name, part in zip(BANDS, losses.split(16), strict=True):
            assert found[name] == pytest.approx(part.mean().item(), rel=1e-5)

    @pytest.mark.parametrize("times", [None, LevelTimes(), Stratified(), LossAwareTimes()])
    def test_levels_are_met_equally_often(self, times):
        network = time()
        held_out(numbers(200), network, times=times).measure()
        levels, counts = (network.times() * 10).round().long().unique(return_counts=True)
        assert levels.tolist() == list(range(1, 11))
        assert counts.tolist() == [20] * 10

    def test_times_that_are_preferred_are_met_more_often(self):
        network = time()
        process = IsotropicDiffusion(SHAPE, CosineSchedule(-8.0, 8.0))
        held_out(numbers(200), network, process, times=LogNormalTimes(mean=0.0, std=1.0)).measure()
        # The normal distribution of log(sigma / alpha) has its median at 0, and 0.6827 of it within one deviation.
        log_noise = -process.log_snr(network.times()).flatten() / 2
        assert (log_noise < 0).sum() == 100
        assert (log_noise.abs() < 1).sum() == pytest.approx(0.6827 * 200, abs=1)

    def test_importance_samplers_are_corrected_for(self):
        class Late(UniformTimes):
            def correction(self, t):
                return torch.where(t > 0.5, 3.0, 1.0).to(t.dtype)

        zeros = ArrayExamples(torch.zeros(64, *SHAPE))
        plain, corrected = (held_out(zeros, time(), times=times).measure() for times in (UniformTimes(), Late()))
        assert corrected[BANDS[0]] == plain[BANDS[0]]
        assert corrected[BANDS[3]] == pytest.approx(3 * plain[BANDS[3]], rel=1e-12)

    def test_noise_is_white_and_another_for_each_latent(self):
        network = zero()
        process = IsotropicDiffusion(SHAPE)
        found = held_out(numbers(1), network, process, PredictEpsilon()).measure()
        # 32 x 48 squares of normal numbers: six deviations of their mean.
        assert found["held_out_loss_per_dim"] == pytest.approx(1, abs=6 * math.sqrt(2 / (32 * N)))
        assert len(network.latents().flatten(1).unique(dim=0)) == 32


class TestParts:
    @settings(max_examples=20)
    @given(
        name=st.sampled_from(sorted(EVERY_PROCESS)),
        count=st.integers(1, 80),
        mean=st.booleans(),
        continuous=st.booleans(),
    )
    def test_octaves_add_up_to_the_loss_and_bands_average_to_it(self, name, count, mean, continuous):
        process = EVERY_PROCESS[name]
        reduction, times = MeanOverDimensions() if mean else None, UniformTimes() if continuous else None
        network = SoftNetwork()
        asked = []
        network.register_forward_pre_hook(lambda _module, arguments: asked.append(arguments[1]))
        measured = held_out(numbers(count, process.shape), network, process, reduction=reduction, times=times)
        found = measured.measure()
        # Rounding of float32 in the transform and in the sums.
        close = {"rel": 1e-5, "abs": 1e-9}
        octaves = [value for name, value in found.items() if "octave" in name]
        if octaves:
            assert sum(octaves) == pytest.approx(found["held_out_loss"], **close)
        lengths = torch.histogram(torch.cat(asked), torch.tensor([0, 0.25, 0.5, 0.75, 1]) + 1e-6).hist.tolist()
        bands = [found.get(name, 0.0) * length for name, length in zip(BANDS, lengths, strict=True)]
        assert sum(bands) / sum(lengths) == pytest.approx(found["held_out_loss"], **close)
        share = 1 if mean else math.prod(process.shape)
        assert found["held_out_loss_per_dim"] == pytest.approx(found["held_out_loss"] / share, rel=1e-12)

    def test_a_basis_without_frequencies_gives_no_octaves(self):
        found = held_out(numbers(3), zero(), IsotropicDiffusion(SHAPE)).measure()
        assert list(found) == ["held_out_loss", "held_out_loss_per_dim", *BANDS]

    def test_bands_without_a_time_are_left_out(self):
        found = held_out(numbers(3), zero(), times=LevelTimes(2)).measure()
        assert [name for name in found if "_t_" in name] == [BANDS[1], BANDS[3]]

    @pytest.mark.parametrize("shape", [(2, 16), (3, 8, 12), (1, 4, 8, 4)], ids=["signals", "images", "volumes"])
    def test_data_of_any_shape(self, shape):
        process = BlurringDiffusion(shape, blur_sigma_max=2.0)
        network = UNet(shape, channels=4, multipliers=(1, 2), blocks=1, attention_levels=())
        found = held_out(numbers(3, shape), network, process, PredictEpsilon()).measure()
        # The network starts at zero, so that its error is the noise: 1 per dimension, to six deviations.
        deviation = math.sqrt(2 / (32 * math.prod(shape)))
        assert found["held_out_loss_per_dim"] == pytest.approx(1, abs=6 * deviation)


class TestTheSameAgain:
    @pytest.fixture
    def denoiser(self):
        process = HeatDissipation(SHAPE, blur_sigma_max=4.0, levels=10)
        torch.manual_seed(0)
        network = UNet(SHAPE, channels=4, multipliers=(1, 2), blocks=1, attention_levels=(), dropout=0.5)
        # Layers that start at zero would hide all before them, dropout too.
        for parameter in network.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.2)
        return Denoiser(network, process, prediction=PredictPreviousLevel())

    def test_it_repeats_whatever_random_numbers_are_drawn_and_draws_none(self, denoiser):
        measured = HeldOut(numbers(40), DenoisingLoss(denoiser), batch_size=16)
        first = measured.measure()
        torch.manual_seed(5)
        before = torch.get_rng_state()
        again = HeldOut(numbers(40), DenoisingLoss(denoiser), batch_size=16).measure()
        assert torch.equal(torch.get_rng_state(), before)
        assert first == again == measured.measure()

    def test_a_network_that_draws_numbers_leaves_the_random_state_alone(self):
        measured = held_out(numbers(3), Answer(lambda z, t, condition: torch.randn_like(z)))
        before = torch.get_rng_state()
        measured.measure()
        assert torch.equal(torch.get_rng_state(), before)

    def test_batches_change_rounding_alone(self, denoiser):
        found = [HeldOut(numbers(40), DenoisingLoss(denoiser), batch_size=size).measure() for size in (1, 7, 40, 1000)]
        for other in found[1:]:
            # Other batch sizes take other kernels of float32, which sum in another order.
            assert other == pytest.approx(found[0], rel=1e-4)

    def test_batches_are_of_the_size_asked_for(self):
        network = zero()
        held_out(numbers(40), network, batch_size=16).measure()
        assert [len(z) for z, _, _ in network.asked] == [16, 16, 8]

    def test_modules_stay_in_their_modes(self, denoiser):
        loss = DenoisingLoss(denoiser).train()
        denoiser.network.first.eval()
        modes = [module.training for module in loss.modules()]
        HeldOut(numbers(3), loss, batch_size=8).measure()
        assert [module.training for module in loss.modules()] == modes

    def test_times_that_learn_neither_learn_here_nor_move_the_times(self, denoiser):
        loss = DenoisingLoss(denoiser, times=LossAwareTimes(history=1))
        measured = HeldOut(numbers(40), loss, batch_size=16)
        first = measured.measure()
        assert not loss.times.seen.any()
        loss.times.update((torch.arange(10) + 1.0) / 10, torch.arange(10.0))
        assert measured.measure() == first

    def test_it_follows_the_average(self, denoiser):
        average = EMA(denoiser, 0.9)
        measured = HeldOut(numbers(40), DenoisingLoss(average.model), batch_size=16)
        first = measured.measure()
        with torch.no_grad():
            denoiser.network.last[-1].bias += 1.0
        assert measured.measure() == first
        average.update(denoiser)
        assert measured.measure() != first
        assert measured.measure() == HeldOut(numbers(40), DenoisingLoss(average.model), batch_size=16).measure()

    def test_a_learned_scale_is_left_out(self, denoiser):
        scale = LearnedLogVariance()
        nn.init.constant_(scale.linear.bias, 3.0)
        found = [
            HeldOut(numbers(3), DenoisingLoss(denoiser, log_variance=log_variance), batch_size=16).measure()
            for log_variance in (None, scale)
        ]
        assert found[0] == found[1]


class TestImages:
    @pytest.mark.parametrize("count", [5, 60, 300])
    def test_labels_go_with_their_images_and_none_is_hidden(self, count):
        labels = torch.arange(count) % 7
        values = labels.reshape(-1, 1, 1, 1).float().expand(count, *SHAPE)
        network = Answer(lambda z, t, condition: condition.reshape(-1, 1, 1, 1).float(), classes=7)
        assert held_out(ArrayExamples(values, labels=labels), network).measure()["held_out_loss"] == 0

    def test_a_network_without_classes_is_told_none(self):
        network = zero()
        held_out(numbers(3, labels=torch.tensor([0, 1, 5])), network).measure()
        assert all(condition is None for _, _, condition in network.asked)

    @pytest.mark.parametrize("count", [*range(1, 33), 55, 89, 144, 256])
    def test_neighbours_in_the_data_and_latents_of_one_image_are_spread_over_the_times(self, count):
        network = time()
        held_out(numbers(count), network, times=UniformTimes(), batch_size=1000).measure()
        # Sixteen multiples of the golden ratio leave no gap of more than 0.09 (Steinhaus), and ranks are off by few
        # places: of sixteen neighbours some are in every quarter. Those of sorted data would all be in one.
        for times in network.times().split(16):
            quarters = (4 * times).ceil().long().bincount(minlength=5)[1:]
            assert len(times) < 16 or quarters.min() >= 2

    def test_images_are_in_their_range(self):
        network = Answer(lambda z, t, condition: torch.ones_like(z))
        values = torch.full((3, *SHAPE), 255, dtype=torch.uint8)
        assert held_out(ArrayExamples(values), network).measure()["held_out_loss"] == 0

    def test_nothing_held_out_gives_no_numbers(self):
        class Nothing(Examples):
            def __len__(self):
                return 0

            def read(self, indices=slice(None)):
                return torch.zeros(0, *self.shape)

            def fingerprint(self):
                return ""

        assert held_out(Nothing(SHAPE, None, None), zero()).measure() == {}

    def test_others_stand_in_for_a_few_that_cannot_be_read(self):
        class Torn(ArrayExamples):
            def read_stored(self, indices):
                if 3 in indices:
                    raise UnreadableError(3, "image 3 is torn")
                return super().read_stored(indices)

        labels = torch.arange(40)
        values = labels.reshape(-1, 1, 1, 1).float().expand(40, *SHAPE)
        torn = Torn(values, labels=labels)
        network = Answer(lambda z, t, condition: condition.reshape(-1, 1, 1, 1).float(), classes=40)
        with pytest.raises(UnreadableError, match="image 3 is torn"):
            held_out(torn, network)
        torn.most_unreadable = 0.1
        # The label is that of the image which stands in.
        assert held_out(torn, network).measure()["held_out_loss"] == 0
        seen = torch.cat([condition for _, _, condition in network.asked]).tolist()
        assert sorted(seen) == sorted([*range(3), 4, *range(4, 40)])


@refusals(
    (lambda: held_out(numbers(3), zero(), batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
    (
        lambda: held_out(numbers(3), zero(), IsotropicDiffusion((1, 4, 6))),
        ValueError,
        r"held-out examples must have the process's shape, \(1, 4, 6\), got \(2, 4, 6\)",
    ),
    (
        lambda: held_out(numbers(3), Answer(None, classes=2)),
        ValueError,
        "made for 2 classes, 0 to 1, and the held-out examples have no labels",
    ),
    (
        lambda: held_out(numbers(3, labels=torch.tensor([0, 1, 2])), Answer(None, classes=2)),
        ValueError,
        "made for 2 classes, 0 to 1, and the held-out examples have labels up to 2: make it",
    ),
)
def test_it_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
