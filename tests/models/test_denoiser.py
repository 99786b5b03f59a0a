"""The denoiser: exact for exact predictions, strict about what it is given, and the same for every form of time."""

import copy
import math
import re

import pytest
import torch
from torch import nn

from unmelt import degradations
from unmelt.degradations import (
    BlurringDiffusion,
    HeatDissipation,
    IsotropicDiffusion,
    LinearSchedule,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictScore,
    PredictV,
    PredictX,
)
from unmelt.models import AbstractDenoiser, DegradedDataPrior, Denoiser, UNet
from unmelt.samplers import Sampler

SHAPE = (2, 4, 6)
PROCESSES = {
    "heat": HeatDissipation(SHAPE, blur_sigma_max=6.0, blur_sigma_min=0.3, levels=8, sigma=0.03),
    "cold heat": HeatDissipation(SHAPE, blur_sigma_max=6.0, blur_sigma_min=0.3, levels=8, sigma=0.0),
    "isotropic": IsotropicDiffusion(SHAPE),
    "isotropic linear": IsotropicDiffusion(SHAPE, LinearSchedule()),
    "blurring": BlurringDiffusion(SHAPE, blur_sigma_max=5.0),
}
WHOLE_WAY = PredictPreviousLevel(levels=1)
STABLE = [
    *((name, prediction) for name in PROCESSES for prediction in (PredictX(), WHOLE_WAY)),
    *((name, PredictEpsilon()) for name in ("isotropic", "isotropic linear", "blurring")),
    *((name, PredictScore()) for name in ("isotropic", "blurring")),
    *((name, PredictV()) for name in ("heat", "isotropic", "isotropic linear", "blurring")),
]
UNSTABLE = [
    ("heat", PredictEpsilon()),
    ("heat", PredictScore()),
    ("cold heat", PredictEpsilon()),
    ("cold heat", PredictScore()),
    ("cold heat", PredictV()),
    ("isotropic linear", PredictScore()),
]


def pairs(cases):
    return [pytest.param(name, p, id=f"{name}-{type(p).__name__}") for name, p in cases]


class Says(nn.Module):
    """A network that puts out one given tensor, and remembers what it was asked."""

    def __init__(self, output):
        super().__init__()
        self.said = output

    def forward(self, z_t, t, condition=None):
        self.asked = z_t, t, condition
        return self.said


class Scale(nn.Module):
    """A network with one parameter whose output depends on latent and time."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7))

    def forward(self, z_t, t, condition=None):
        return self.weight * z_t * (1 + t.to(z_t.dtype)).reshape(-1, 1, 1, 1)


def draws(dtype, generator, batch=5):
    x, noise = (torch.randn(batch, *SHAPE, generator=generator, dtype=dtype) for _ in range(2))
    # Both ends, a time on no grid of levels, and levels of the heat process.
    return x, noise, torch.tensor([0.0, 0.125, 0.3, 0.75, 1.0], dtype=torch.float64)


class TestExactness:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    @pytest.mark.parametrize(("name", "prediction"), pairs(STABLE))
    def test_the_exact_target_gives_back_the_data(self, name, prediction, dtype, generator):
        process = PROCESSES[name]
        x, noise, t = draws(dtype, generator)
        z_t, target = prediction.training_pair(process.at(t), x, noise)
        estimate = Denoiser(Says(target), process, prediction=prediction)(z_t, t)
        # Latent and target are rounded at their size, go through a few transforms that sum 4 + 6 products each, there
        # and back, and what is off then is amplified by the gain of the conversion at most.
        gain = prediction.gain(process)
        size = max(z_t.abs().max().item(), target.abs().max().item())
        tolerance = 64 * torch.finfo(dtype).eps * max(1.0, gain) * size
        assert (estimate - x).abs().max() <= tolerance
        # Even at blurring diffusion's highest frequency that is a bound that means something in float64.
        assert dtype == torch.float32 or tolerance < 1e-6

    @pytest.mark.parametrize("name", ["heat", "blurring", "isotropic"])
    def test_the_exact_step_back_gives_the_less_degraded_signal(self, name, generator):
        process = PROCESSES[name]
        prediction = PredictPreviousLevel() if process.levels else PredictPreviousLevel(levels=8)
        x, noise, t = draws(torch.float64, generator)
        z_t, target = prediction.training_pair(process.at(t), x, noise)
        # Levels strictly before 0, 1, 2.4, 6 and 8 of 8.
        before = torch.tensor([0.0, 0.0, 2.0, 5.0, 7.0], dtype=torch.float64) / 8
        latent, output = prediction.conversion(process.at(t), process.at(before).log_alpha)
        less = process.basis.combine((z_t, latent), (target, output))
        (expected,) = process.degrade(x, before)
        # Two transforms of 24 numbers in float64.
        torch.testing.assert_close(less, expected, rtol=1e-13, atol=1e-13)

    @pytest.mark.parametrize("name", PROCESSES)
    def test_predicting_the_data_hands_on_the_network_s_output(self, name, generator):
        process = PROCESSES[name]
        z_t, answer, t = draws(torch.float32, generator)
        assert torch.equal(Denoiser(Says(answer), process, prediction=PredictX())(z_t, t), answer)

    def test_a_wrong_target_gives_wrong_data(self, generator):
        x, noise, t = draws(torch.float64, generator)
        process = PROCESSES["blurring"]
        z_t, target = PredictV().training_pair(process.at(t), x, noise)
        estimate = Denoiser(Says(target + 1), process, prediction=PredictV())(z_t, t)
        # v is off by 1 in every pixel, and sigma of the later times is not small.
        assert (estimate - x)[2:].abs().max() > 0.1


class TestStability:
    @pytest.mark.parametrize(("name", "prediction"), pairs(UNSTABLE))
    def test_a_prediction_that_cannot_be_converted_is_refused_and_the_ones_named_are_not(self, name, prediction):
        process = PROCESSES[name]
        with pytest.raises(ValueError, match=rf"{type(prediction).__name__} cannot be converted stably") as caught:
            Denoiser(Scale(), process, prediction=prediction)
        message = str(caught.value)
        assert type(process).__name__ in message
        offered = re.search(r"; use (.+)$", message).group(1).split(" or ")
        assert "PredictX()" in offered
        for offer in offered:
            cls, _, levels = offer.removesuffix(")").removesuffix("(").partition("(levels=")
            # A name alone can be called as it stands.
            made = getattr(degradations, cls)(**({"levels": int(levels)} if levels else {}))
            Denoiser(Scale(), process, prediction=made)

    @pytest.mark.parametrize(("name", "prediction"), pairs(STABLE))
    def test_a_prediction_that_can_is_taken(self, name, prediction):
        assert Denoiser(Scale(), PROCESSES[name], prediction=prediction).prediction is prediction


@pytest.fixture(params=["heat", "isotropic", "blurring"])
def denoiser(request):
    return Denoiser(Scale(), PROCESSES[request.param], prediction=PredictV())


class TestTime:
    @pytest.mark.parametrize("time", [0.0, 0.3, 1.0])
    def test_number_scalar_and_batch_agree(self, denoiser, time, generator):
        z_t = torch.randn(3, *SHAPE, generator=generator)
        scalar = torch.tensor(time, dtype=torch.float64)
        results = [denoiser(z_t, t) for t in (time, scalar, scalar.expand(3))]
        # The same numbers, broadcast by torch instead of by us.
        torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
        torch.testing.assert_close(results[2], results[0], rtol=1e-6, atol=1e-6)

    def test_a_batch_of_times_is_one_for_each_example(self, denoiser, generator):
        z_t, t = torch.randn(3, *SHAPE, generator=generator), torch.tensor([0.1, 0.5, 0.9])
        together = denoiser(z_t, t)
        for i in range(3):
            torch.testing.assert_close(together[i : i + 1], denoiser(z_t[i : i + 1], t[i]), rtol=1e-6, atol=1e-6)
        assert not torch.allclose(together, denoiser(z_t, 0.5))

    @pytest.mark.parametrize("t", [0.25, torch.tensor(0.25), torch.full((3,), 0.25, dtype=torch.float64)])
    def test_the_network_sees_the_latent_and_float32_times(self, t, generator):
        z_t = torch.randn(3, *SHAPE, generator=generator, dtype=torch.float64)
        network = Says(torch.zeros_like(z_t))
        Denoiser(network, PROCESSES["heat"], prediction=PredictX())(z_t, t)
        seen, times, condition = network.asked
        assert seen is z_t
        assert times.dtype == torch.float32
        assert times.tolist() == [0.25] * 3
        assert condition is None

    @pytest.mark.usefixtures("as_in_production")
    def test_the_number_1_is_the_last_time(self, denoiser):
        z_t = torch.ones(2, *SHAPE)
        assert torch.equal(denoiser(z_t, 1), denoiser(z_t, 1.0))


class TestLatents:
    def test_float64_stays_float64(self, denoiser):
        assert denoiser(torch.zeros(2, *SHAPE, dtype=torch.float64), 0.5).dtype == torch.float64


class TestModule:
    def test_its_state_is_the_network_s(self):
        denoiser = Denoiser(Scale(), PROCESSES["heat"], prediction=PredictV())
        assert list(denoiser.state_dict()) == ["network.weight"]
        assert [name for name, _ in denoiser.named_parameters()] == ["network.weight"]

    def test_gradients_reach_the_network(self, denoiser, generator):
        denoiser(torch.randn(2, *SHAPE, generator=generator), 0.5).sum().backward()
        assert denoiser.network.weight.grad != 0

    def test_the_process_s_part_is_held_in_full_precision_under_autocast(self, generator):
        process = PROCESSES["heat"]
        x, noise, t = draws(torch.float32, generator)
        z_t, target = PredictV().training_pair(process.at(t), x, noise)
        denoiser = Denoiser(Says(target), process, prediction=PredictV())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = denoiser(z_t, t)
        # Bit for bit: nothing of the conversion is rounded to 8 bits.
        assert torch.equal(rounded, denoiser(z_t, t))

    def test_the_u_net_is_a_network(self, generator):
        unet = UNet((1, 8, 8), channels=4, multipliers=(1, 2), blocks=1, attention_levels=())
        process = HeatDissipation((1, 8, 8), blur_sigma_max=6.0, levels=8)
        z_t = torch.randn(2, 1, 8, 8, generator=generator)
        # A step of zero back from level 1 is no step: the estimate is the latent, once through the basis and back in
        # float32.
        denoiser = Denoiser(unet, process, prediction=PredictPreviousLevel())
        torch.testing.assert_close(denoiser(z_t, 1 / 8), z_t, rtol=1e-5, atol=1e-5)

    def test_an_estimate_without_a_network_predicts_the_data(self, generator):
        class Zero(AbstractDenoiser):
            def forward(self, z_t, t, condition=None, given=None):
                return torch.zeros_like(z_t)

        zero = Zero(PROCESSES["heat"])
        z_t = torch.randn(2, *SHAPE, generator=generator)
        assert zero.prediction == PredictX()
        assert not zero.output(z_t, torch.tensor(0.5)).any()


@pytest.fixture
def denoiser_of_u_net(generator):
    """A denoiser whose network starts as no function of its input, but not here: none of its parameters is 0."""
    network = UNet((1, 8, 8), channels=8, multipliers=(1, 2), blocks=1, attention_levels=(1,), classes=3).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return Denoiser(network, HeatDissipation((1, 8, 8), levels=10), prediction=PredictX())


def test_float64_latents_meet_a_float32_network_in_its_precision(denoiser_of_u_net):
    """Distributions are computed in float64 here and there; a network is asked in its precision."""
    z = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    double, single = denoiser_of_u_net(z, 0.5), denoiser_of_u_net(z.float(), 0.5)
    assert double.dtype == torch.float64
    assert torch.equal(double.float(), single)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_network_of_another_precision_is_sampled_in_float32(denoiser_of_u_net, dtype):
    labels, data = torch.tensor([0, 1, 2]), torch.rand(4, 1, 8, 8)
    prior = DegradedDataPrior.fit(denoiser_of_u_net.process, data)
    rounded = copy.deepcopy(denoiser_of_u_net).to(dtype)
    assert rounded.process.agrees_with(denoiser_of_u_net.process)
    samplers = [Sampler(each, prior=prior) for each in (rounded, denoiser_of_u_net)]
    ours, theirs = (each.sample(3, condition=labels, generator=[0, 1, 2]) for each in samplers)
    assert ours.dtype == torch.float32
    # Each of about 15 layers is off by a rounding, independently of each other, and some of their features cancel.
    largest = max(torch.finfo(each).eps for each in (dtype, torch.float32))
    error = (ours - theirs).square().mean().sqrt() / theirs.square().mean().sqrt()
    assert 0 < error < 4 * math.sqrt(15) * largest
