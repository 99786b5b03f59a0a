"""Factors for every coefficient: as a tensor of any shape that fits, and as a power law of the basis's eigenvalues."""

import math

import pytest
import torch
from weighting_cases import ON_X, RTOL, SHAPE, Fixed, batch_times, case, loss_of, spectral_square

from unmelt.degradations import (
    BlurringDiffusion,
    ChangedBasis,
    CosineBasis,
    EigenBasis,
    HartleyBasis,
    IsotropicDiffusion,
    PredictX,
)
from unmelt.losses import (
    DenoisingLoss,
    FrequencyWeighting,
    MinSNRWeighting,
    P2Weighting,
    PowerLawWeighting,
    SimpleWeighting,
    Weighting,
)
from unmelt.testing.strategies import random_images


def on(basis):
    """White noise on any basis."""
    return ChangedBasis(IsotropicDiffusion(basis.shape), basis)


class Constant(Weighting):
    def weight(self, at):
        return torch.ones(())


class TestFrequencies:
    def test_factors_multiply_squared_errors(self):
        process = BlurringDiffusion(SHAPE, blur_sigma_max=1.0)
        factors = random_images(SHAPE, batch=1, seed=3)[0]
        x, estimate, _ = case(process, 0)
        t = batch_times(0.6)
        for base, on_x in (ON_X["min SNR"], ON_X["x"]):
            loss = loss_of(FrequencyWeighting(base, factors), process, PredictX(), x, estimate, t)
            expected = factors * on_x(process, t) * spectral_square(process, x, estimate)
            torch.testing.assert_close(loss, expected.flatten(1).sum(1), rtol=RTOL, atol=0)
        weight = FrequencyWeighting(P2Weighting(), factors).weight(process.at(t))
        torch.testing.assert_close(weight, factors * P2Weighting().weight(process.at(t)), rtol=1e-14, atol=0)

    @pytest.mark.parametrize("shape", [(), (4,), (3, 1), (2, 1, 1), (3, 4), SHAPE])
    def test_factors_of_any_shape_that_fits(self, shape):
        """(3, 1) is three rows of coefficients, not three examples."""
        process = ChangedBasis(IsotropicDiffusion(SHAPE), CosineBasis(SHAPE))
        factors = random_images((*shape, 1), batch=1, seed=3)[0, ..., 0]
        x = random_images(SHAPE, batch=3)
        denoiser = Fixed(process, PredictX(), torch.zeros_like(x))
        loss = DenoisingLoss(denoiser, weighting=FrequencyWeighting(SimpleWeighting(), factors))
        expected = (factors * process.basis.forward(x).square()).flatten(1).sum(1)
        torch.testing.assert_close(loss(x, t=0.5), expected, rtol=RTOL, atol=0)

    def test_one_number_times_factors_keeps_rows_apart_from_examples(self):
        weighting = FrequencyWeighting(Constant(), torch.ones(3, 1))
        assert weighting.weight(IsotropicDiffusion(SHAPE).at(batch_times(0.5))).shape == (1, 1, 3, 1)

    def test_factors_multiply_one_another(self):
        process, t = IsotropicDiffusion(SHAPE), batch_times(0.5)
        inner = FrequencyWeighting(MinSNRWeighting(), torch.tensor(2.0))
        weight = FrequencyWeighting(inner, torch.tensor(3.0)).weight(process.at(t))
        torch.testing.assert_close(weight, 6 * MinSNRWeighting().weight(process.at(t)), rtol=1e-14, atol=0)

    @pytest.mark.parametrize("exponent", [1.0, -0.5, 0.0])
    def test_a_power_law_of_squared_frequencies(self, exponent):
        basis = CosineBasis((2, 4, 4))
        weighting = PowerLawWeighting(exponent, SimpleWeighting(PredictX())).bind(on(basis))
        process = on(basis)
        row = (math.pi * torch.arange(4, dtype=torch.float64) / 4) ** 2
        expected = (row[:, None] + row + (math.pi / 4) ** 2) ** exponent
        weight = weighting.error_scale(PredictX(), process.at(batch_times(0.5))).square()
        torch.testing.assert_close(weight[0, 0], expected / expected.mean(), rtol=1e-12, atol=0)

    def test_a_power_law_of_a_graphs_eigenvalues(self):
        path = torch.tensor([[1.0, -1, 0], [-1, 2, -1], [0, -1, 1]], dtype=torch.float64)
        basis = EigenBasis((2, 3), path)
        factors = PowerLawWeighting(1.0, SimpleWeighting()).bind(on(basis)).factors
        # The path's eigenvalues are 0, 1 and 3: plus 1, over their mean.
        expected = torch.tensor([1.0, 2, 4], dtype=torch.float64) * 3 / 7
        torch.testing.assert_close(factors, expected, rtol=1e-12, atol=0)

    def test_a_power_law_of_plane_waves_weighs_each_by_its_frequency(self):
        factors = PowerLawWeighting(1.0, SimpleWeighting()).bind(on(HartleyBasis((2, 1, 4)))).factors
        # Frequencies 0, 1, 2, 1 in quarters of a turn per pixel: their squares plus 1, over the mean.
        expected = torch.tensor([[1.0, 2, 5, 2]], dtype=torch.float64) * 4 / 10
        torch.testing.assert_close(factors, expected, rtol=1e-12, atol=0)

    def test_factors_follow_the_loss_and_stay_out_of_checkpoints(self):
        loss = DenoisingLoss(
            Fixed(IsotropicDiffusion(SHAPE), PredictX(), None),
            weighting=FrequencyWeighting(SimpleWeighting(), torch.rand(SHAPE)),
        )
        assert not loss.state_dict()
        assert loss.half().weighting.factors.dtype == torch.float64
        assert loss.to("meta").weighting.factors.device.type == "meta"

    def test_a_power_law_is_a_value_that_the_loss_binds(self):
        value = PowerLawWeighting(-0.5, MinSNRWeighting(2.0))
        assert value == PowerLawWeighting(-0.5, MinSNRWeighting(2.0)) != PowerLawWeighting(-0.5)
        assert repr(value) == "PowerLawWeighting(exponent=-0.5, base=MinSNRWeighting(gamma=2.0))"
        process, t = on(CosineBasis(SHAPE)), batch_times(0.5)
        bound = DenoisingLoss(Fixed(process, PredictX(), None), weighting=value).weighting
        assert torch.equal(bound.weight(process.at(t)), value.weight(process.at(t)))
