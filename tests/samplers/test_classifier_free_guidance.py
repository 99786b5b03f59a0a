"""Classifier-free guidance against known distributions, for every prediction; what it costs, and in samplers."""

import math

import pytest
import torch
from sampler_support import made, seeded
from torch import nn

from unmelt.degradations import (
    BlurringDiffusion,
    CosineSchedule,
    Deterministic,
    HeatDissipation,
    IsotropicDiffusion,
    Markov,
    PredictEpsilon,
    PredictPreviousLevel,
    PredictScore,
    PredictV,
    PredictX,
)
from unmelt.models import ClippedDenoiser, Denoiser, GaussianOracle, MixtureOracle, OraclePrior, UNet
from unmelt.samplers import Posterior, Sampler, UniformGrid
from unmelt.samplers.guidance import ClassifierFreeGuidance

SHAPE = (1, 4, 4)
# Times that single precision, in which networks are told them, holds exactly.
TIMES = torch.tensor([0.25, 0.5, 0.75, 0.375, 0.625, 1.0])
LABELS = torch.tensor([0, 1, 0, 1, 2, 0])
CLASSES = 2
# Component of the mixture -> class.
OWNER = torch.tensor([0, 1, 0])


def isotropic():
    return IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0))


CASES = [
    (isotropic, PredictX()),
    (isotropic, PredictEpsilon()),
    (isotropic, PredictV()),
    (isotropic, PredictScore()),
    (lambda: HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=8, sigma=0.1), PredictX()),
    (lambda: HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=8, sigma=0.1), PredictV()),
    (lambda: HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=8, sigma=0.1), PredictPreviousLevel(levels=1)),
    (lambda: BlurringDiffusion(SHAPE, blur_sigma_max=1.0, schedule=CosineSchedule(-6.0, 6.0)), PredictEpsilon()),
]
IDS = [f"{make().__class__.__name__}-{prediction}" for make, prediction in CASES]


class Classes:
    """A mixture of three normals, the first and the last of class 0 and the other of class 1."""

    def __init__(self, process):
        generator = torch.Generator().manual_seed(7)
        self.process = process
        weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
        # Near each other, so that a latent leaves its component in doubt at every time.
        means = 0.3 * torch.randn(3, *SHAPE, generator=generator, dtype=torch.float64)
        variances = 0.1 + torch.rand(3, *SHAPE, generator=generator, dtype=torch.float64)
        self.all = MixtureOracle(process, weights, means, variances)
        chosen = OWNER == 0
        self.of = [
            MixtureOracle(process, weights[chosen], means[chosen], variances[chosen]),
            GaussianOracle(process, mean=means[1], variance=variances[1]),
            self.all,
        ]

    def estimate(self, z, t, labels):
        """Return E[x | z_t, label], each row of its own class; the last "label" is none."""
        found = torch.stack([oracle(z, t) for oracle in self.of])
        return found[labels, torch.arange(len(z))]


class Exact(nn.Module):
    """A network that is right: it puts out what stands for the exact estimate, and counts the rows it is given."""

    classes = CLASSES

    def __init__(self, known, prediction):
        super().__init__()
        self.known, self.prediction, self.calls = known, prediction, []

    def forward(self, z, t, condition=None):
        self.calls.append((len(z), condition is not None))
        process = self.known.process
        times = process.as_times(t.double(), batch=len(z))
        labels = torch.full((len(z),), CLASSES) if condition is None else condition
        x = self.known.estimate(z, times, labels)
        latent, output = self.prediction.conversion(process.at(times))
        return process.basis.combine((x, 1 / output), (z, -latent / output))


def exact(case):
    make, prediction = case
    known = Classes(make())
    return known, Denoiser(Exact(known, prediction), known.process, prediction=prediction)


def latents(known, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = known.all.sample(len(TIMES), generator=generator)
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return known.process.corrupt(x, noise, TIMES.double())


def close(ours, theirs, scale=1.0):
    # float64 back and forth through a prediction: epsilon and back divides by alpha, at least e^-3; a blur's highest
    # frequencies by d_min = 0.001 of that.
    torch.testing.assert_close(ours, theirs, rtol=1e-9 * scale, atol=1e-9 * scale)


class TestKnownDistributions:
    @pytest.mark.parametrize("case", CASES, ids=IDS)
    def test_scale_one_is_the_conditional_law_and_zero_the_unconditional_one(self, case):
        known, denoiser = exact(case)
        z = latents(known)
        t = TIMES.double()
        conditional, unconditional = known.estimate(z, t, LABELS), known.all(z, t)
        close(ClassifierFreeGuidance(denoiser, 1.0)(z, t, LABELS), conditional)
        close(ClassifierFreeGuidance(denoiser, 0.0)(z, t, LABELS), unconditional)
        # The two differ, or there would be nothing to tell apart: by far more than rounding.
        assert (conditional - unconditional)[LABELS != CLASSES].abs().flatten(1).max(1).values.min() > 1e-4

    @pytest.mark.parametrize("case", CASES, ids=IDS)
    @pytest.mark.parametrize("scale", [0.3, 1.7, 4.0])
    def test_other_scales_are_on_the_line_through_both_whatever_is_predicted(self, case, scale):
        known, denoiser = exact(case)
        z = latents(known)
        t = TIMES.double()
        conditional, unconditional = known.estimate(z, t, LABELS), known.all(z, t)
        expected = unconditional + scale * (conditional - unconditional)
        guided = ClassifierFreeGuidance(denoiser, scale)(z, t, LABELS)
        close(guided, expected, scale=1 + scale)
        # A row without a label has nothing to be guided by.
        close(guided[LABELS == CLASSES], unconditional[LABELS == CLASSES], scale=1 + scale)

    @pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 4.0])
    def test_it_is_the_score_of_the_tilted_density(self, scale):
        """Ho & Salimans (2022): the score of p(z_t) (p(z_t | label) / p(z_t))^scale, from the densities themselves."""
        known, denoiser = exact((isotropic, PredictEpsilon()))
        z, label = latents(known), 1
        z.requires_grad_()
        t = TIMES.double()
        log_density = (1 - scale) * known.all.log_prob(z, t) + scale * known.of[label].log_prob(z, t)
        (score,) = torch.autograd.grad(log_density.sum(), z)
        alpha, sigma = known.process.alpha(t), known.process.sigma(t)
        tweedie = (z.detach() + sigma**2 * score) / alpha
        guided = ClassifierFreeGuidance(denoiser, scale)(z.detach(), t, torch.full((len(z),), label))
        close(guided, tweedie, scale=1 + scale)

    def test_one_time_for_all_rows(self):
        known, denoiser = exact(CASES[1])
        z, t = latents(known), 0.5
        guided = ClassifierFreeGuidance(denoiser, 3.0)
        times = torch.full((len(z),), t, dtype=torch.float64)
        assert torch.equal(guided(z, t, LABELS), guided(z, times, LABELS))

    def test_it_has_derivatives(self):
        known, denoiser = exact(CASES[1])
        z = latents(known).requires_grad_()
        ClassifierFreeGuidance(denoiser, 3.0)(z, TIMES.double(), LABELS).sum().backward()
        assert z.grad.isfinite().all()
        assert (z.grad != 0).all()


class TestNetworks:
    @pytest.fixture
    def denoiser(self):
        torch.manual_seed(0)
        network = UNet((1, 8, 8), channels=8, multipliers=(1, 2), blocks=1, attention_levels=(), classes=3)
        with torch.no_grad():
            for parameter in network.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.2)
        return Denoiser(network.eval(), IsotropicDiffusion((1, 8, 8)), prediction=PredictV())

    def test_raw_outputs_are_on_a_line(self, denoiser):
        z = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        t, labels = torch.tensor([0.1, 0.4, 0.7, 1.0]), torch.tensor([0, 1, 2, 3])
        none, label = denoiser.output(z, t), denoiser.output(z, t, labels)
        for scale in (0.0, 0.5, 1.0, 6.0):
            guided = ClassifierFreeGuidance(denoiser, scale)
            # float32; a batch twice as long takes other kernels, off by ~1e-6, and guidance makes more of it.
            expected = none + scale * (label - none)
            torch.testing.assert_close(guided.output(z, t, labels), expected, rtol=1e-4, atol=1e-4 * (1 + scale))
        assert (none - label)[:3].abs().flatten(1).max(1).values.min() > 1e-2
        assert guided.prediction == PredictV()

    @pytest.mark.parametrize("interval", [None, (0.3, 0.8)])
    def test_rows_do_not_depend_on_each_other(self, denoiser, interval):
        z = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        t, labels = torch.tensor([0.1, 0.4, 0.7, 1.0]), torch.tensor([0, 1, 2, 1])
        guided = ClassifierFreeGuidance(denoiser, 3.0, interval=interval)
        for rows in (slice(0, 1), slice(1, 3), slice(2, None)):
            part = guided.output(z[rows], t[rows], labels[rows])
            # As above.
            torch.testing.assert_close(part, guided.output(z, t, labels)[rows], rtol=1e-4, atol=4e-4)

    def test_conditions_that_are_no_labels_take_two_calls(self):
        """Of a dictionary of tensors nobody knows what none of it would be but the network."""

        class Told(nn.Module):
            def forward(self, z, t, condition=None):
                return z if condition is None else z + condition["shift"].reshape(-1, 1, 1, 1)

        guided = ClassifierFreeGuidance(Denoiser(Told(), isotropic(), prediction=PredictX()), 3.0)
        z, shift = torch.randn(2, *SHAPE, generator=seeded()), torch.tensor([1.0, -2.0])
        torch.testing.assert_close(guided(z, 0.5, {"shift": shift}), z + 3 * shift.reshape(-1, 1, 1, 1))
        torch.testing.assert_close(guided(z, 0.5), z)
        assert guided.network_calls(TIMES, {"shift": shift}) == 2

    def test_a_network_that_always_takes_a_condition_is_told_which_is_none(self):
        class Always(nn.Module):
            def forward(self, z, t, condition):
                return z + condition["text"].sum((1, 2)).reshape(-1, 1, 1, 1)

        denoiser = Denoiser(Always(), isotropic(), prediction=PredictX())
        z, text = torch.randn(2, *SHAPE, generator=seeded()), torch.randn(2, 3, 4, generator=seeded())
        empty = {"text": torch.full((1, 3, 4), 0.1)}
        of = text.sum((1, 2)).reshape(-1, 1, 1, 1)
        for scale in (0.0, 1.0, 3.0):
            guided = ClassifierFreeGuidance(denoiser, scale, empty=empty)
            torch.testing.assert_close(guided(z, 0.5, {"text": text}), z + 1.2 + scale * (of - 1.2))
        with pytest.raises(ValueError, match="empty must have one entry for each of 1 rows"):
            ClassifierFreeGuidance(denoiser, 2.0, empty={"text": text})
        with pytest.raises(ValueError, match="leave_out='labels' keeps a part .*: give one"):
            ClassifierFreeGuidance(denoiser, 2.0, empty=empty, leave_out="labels")
        with pytest.raises(TypeError, match="guidance goes inside of clipping.*clip=False"):
            ClassifierFreeGuidance(ClippedDenoiser(denoiser, (-1.0, 1.0)), 2.0)


class TestCost:
    @pytest.mark.parametrize(
        ("scale", "calls", "rows", "labelled"), [(0.0, 1, 6, False), (1.0, 1, 6, True), (0.5, 2, 12, True)]
    )
    def test_a_call_sends_the_batch_through_the_network_as_often_as_it_says(self, scale, calls, rows, labelled):
        known, denoiser = exact(CASES[0])
        guided = ClassifierFreeGuidance(denoiser, scale)
        guided(latents(known), TIMES.double(), LABELS)
        assert denoiser.network.calls == [(rows, labelled)]
        assert guided.network_calls(TIMES, LABELS) == calls

    @pytest.mark.parametrize("condition", [None, LABELS])
    @pytest.mark.parametrize("interval", [None, (0.2, 0.6)])
    def test_statistics_count_what_the_network_sees(self, interval, condition):
        known, denoiser = exact(CASES[0])
        sampler = Sampler(ClassifierFreeGuidance(denoiser, 2.0, interval=interval), grid=UniformGrid(10))
        found = sampler.run(len(LABELS), condition=condition, initial=latents(known), keep_path=False).stats
        assert found.evaluations == sum(rows for rows, _ in denoiser.network.calls)


class TestInterval:
    # 0.25 is outside an interval that begins there, 0.625 inside one that ends there.
    INTERVAL = (0.25, 0.625)
    INSIDE = torch.tensor([False, True, False, True, True, False])

    @pytest.fixture(params=["read", "not read"])
    def reading(self, request, monkeypatch):
        """Times whose values can be read at no cost, and those of a device."""
        if request.param == "not read":
            monkeypatch.setattr("unmelt.samplers.guidance.classifier_free.values_are_readable", lambda tensor: False)
        return request.param == "read"

    @pytest.mark.parametrize("scale", [0.0, 3.0])
    def test_guidance_acts_inside_alone(self, reading, scale):
        known, denoiser = exact(CASES[2])
        z, t, labels = latents(known), TIMES.double(), LABELS % 2
        guided = ClassifierFreeGuidance(denoiser, scale, interval=self.INTERVAL)(z, t, labels)
        always = ClassifierFreeGuidance(denoiser, scale)(z, t, labels)
        close(guided[self.INSIDE], always[self.INSIDE], scale=1 + scale)
        outside = known.estimate(z, t, labels)[~self.INSIDE]
        close(guided[~self.INSIDE], outside, scale=1 + scale)
        assert (always[~self.INSIDE] - outside).abs().flatten(1).max(1).values.min() > 1e-4

    @pytest.mark.parametrize(("t", "inside"), [(0.25, False), (0.5, True), (0.625, True), (0.75, False)])
    def test_outside_it_the_network_is_called_once_where_the_time_can_be_read(self, reading, t, inside):
        known, denoiser = exact(CASES[2])
        guided = ClassifierFreeGuidance(denoiser, 3.0, interval=self.INTERVAL)
        found = guided(latents(known), t, LABELS)
        assert denoiser.network.calls == [(12 if inside or not reading else 6, True)]
        same = ClassifierFreeGuidance(denoiser, 3.0 if inside else 1.0)
        close(found, same(latents(known), t, LABELS), scale=4.0)


class TestSamplers:
    @pytest.mark.parametrize("coupling", [Markov(), Deterministic()], ids=str)
    def test_without_guidance_samples_are_the_conditional_denoiser_s_bit_for_bit(self, coupling):
        known, denoiser = exact(CASES[2])
        samples = [
            made(each, Posterior(coupling), 5, prior=OraclePrior(known.all)).sample(
                len(LABELS), condition=LABELS, generator=seeded(0)
            )
            for each in (ClassifierFreeGuidance(denoiser, 1.0), denoiser)
        ]
        assert torch.equal(*samples)

    @pytest.mark.parametrize("size", [1, 4])
    def test_samples_keep_their_labels_in_batches(self, size):
        known, denoiser = exact(CASES[2])
        sampler = made(
            ClassifierFreeGuidance(denoiser, 2.0), Posterior(Deterministic()), 5, prior=OraclePrior(known.all)
        )
        run = {"condition": LABELS, "initial": torch.randn(len(LABELS), *SHAPE, generator=seeded(0)).double()}
        together = sampler.sample(len(LABELS), **run)
        close(sampler.sample(len(LABELS), batch_size=size, **run), together, scale=10.0)
        with pytest.raises(ValueError, match="condition must have one entry for each of 7 rows"):
            sampler.sample(7, condition=LABELS)

    def test_samples_are_of_their_class_and_more_so_with_guidance(self):
        """Two classes that overlap, equally likely: N(-1/4, 1) and N(1/4, 1) in each of sixteen coefficients."""
        process = isotropic()
        means = torch.stack([torch.full(SHAPE, -0.25), torch.full(SHAPE, 0.25)]).double()
        known = Classes(process)
        known.all = MixtureOracle(process, torch.ones(2).double(), means, torch.ones(SHAPE).double())
        known.of = [GaussianOracle(process, mean=mean, variance=torch.ones(SHAPE)) for mean in means] + [known.all]
        denoiser = Denoiser(Exact(known, PredictX()), process, prediction=PredictX())
        count = 2000
        labels = torch.arange(count) % 2
        signs = (2.0 * labels - 1)[:, None, None, None]

        def projections(scale):
            sampler = made(ClassifierFreeGuidance(denoiser, scale), None, 60, prior=OraclePrior(known.all))
            x = sampler.sample(count, condition=labels, generator=seeded(0))
            return (x * signs).mean((1, 2, 3))

        none, plain, guided = (projections(scale).double() for scale in (0.0, 1.0, 3.0))
        # The mean of 16 coefficients has standard deviation 1/4 within a class: six standard errors of 2000 samples.
        # 60 steps across a log-SNR range of 12, and a start from the mixture at l = -6 (alpha = 0.05), bias by less
        # than a tenth of the distance.
        assert abs(plain.mean() - 0.25) < 6 * 0.25 / math.sqrt(count) + 0.025
        # No label: as many of the one class as of the other; the standard deviation of both together is 0.354.
        assert abs(none.mean()) < 6 * 0.354 / math.sqrt(count)
        # Guidance exaggerates: further from the other class than the class itself, by more than the errors above.
        assert guided.mean() > plain.mean() + 0.1


class TestRefusals:
    @pytest.mark.parametrize("scale", [-1.0, -1e-9, math.nan, math.inf])
    def test_scales(self, scale):
        _, denoiser = exact(CASES[0])
        with pytest.raises(ValueError, match=f"scale must be finite and at least 0.*got {scale}"):
            ClassifierFreeGuidance(denoiser, scale)

    @pytest.mark.parametrize("interval", [(0.5, 0.5), (0.6, 0.2), (-0.1, 0.5), (0.5, 1.1), (math.nan, 0.5)])
    def test_intervals(self, interval):
        _, denoiser = exact(CASES[0])
        with pytest.raises(ValueError, match=r"interval must be \(low, high\) with 0 <= low < high <= 1, got \("):
            ClassifierFreeGuidance(denoiser, 2.0, interval=interval)
