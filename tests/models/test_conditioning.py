"""Labels: what a network does with them, what it does without, and denoisers of labelled batches."""

import copy

import pytest
import torch

from unmelt.degradations import (
    CosineSchedule,
    HeatDissipation,
    IsotropicDiffusion,
    PredictEpsilon,
    PredictV,
    PredictX,
)
from unmelt.losses import DenoisingLoss, SumOverDimensions
from unmelt.models import (
    EMA,
    Denoiser,
    GaussianOracle,
    LabelledDenoiser,
    UNet,
    drop_labels,
)

SHAPE = (1, 8, 8)
SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), "dropout": 0.0}
CLASSES = 4


def awake(network):
    """Give the layers that start at zero random weights, so that the network's output says something."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return network


@pytest.fixture
def network():
    torch.manual_seed(0)
    return awake(UNet(SHAPE, **SMALL, classes=CLASSES)).eval()


@pytest.fixture
def denoiser(network):
    return Denoiser(network, IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0)), prediction=PredictEpsilon())


def inputs(batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *SHAPE, generator=generator), torch.rand(batch, generator=generator)


class TestNetworkWithoutClasses:
    def test_it_has_as_many_parameters_as_ever(self):
        with torch.device("meta"):
            assert sum(p.numel() for p in UNet((3, 32, 32)).parameters()) == 61_060_867

    def test_classes_add_an_embedding_and_a_seed_gives_all_else_the_same_start(self):
        torch.manual_seed(3)
        plain = UNet(SHAPE, **SMALL).state_dict()
        torch.manual_seed(3)
        conditional = UNet(SHAPE, **SMALL, classes=CLASSES).state_dict()
        assert conditional.keys() - plain.keys() == {"embed_label.table.weight"}
        assert plain.keys() <= conditional.keys()
        assert all(torch.equal(plain[name], conditional[name]) for name in plain)
        # One vector of four times the features for each class, and one for none.
        assert conditional["embed_label.table.weight"].shape == (CLASSES + 1, 32)

    def test_labels_are_refused(self):
        z, t = inputs()
        with pytest.raises(ValueError, match=r"made without classes, but got 3 labels: make it with UNet\(.*classes=N"):
            UNet(SHAPE, **SMALL)(z, t, torch.zeros(3, dtype=torch.int64))


class TestNetworkWithClasses:
    def test_a_label_s_vector_is_added_to_the_time_s(self, network):
        z, t = inputs()
        plain = UNet(SHAPE, **SMALL).eval()
        weights = {name: w for name, w in network.state_dict().items() if not name.startswith("embed_label")}
        for label in range(CLASSES + 1):
            plain.load_state_dict(weights)
            with torch.no_grad():
                plain.embed[-1].bias += network.embed_label.table.weight[label]
            # The same sum, rounded in another order: float32 through ~10 layers of activations of order 1.
            found = network(z, t, torch.full((3,), label))
            torch.testing.assert_close(found, plain(z, t), rtol=1e-4, atol=1e-4)

    def test_no_labels_are_the_label_that_says_so(self, network):
        z, t = inputs()
        assert torch.equal(network(z, t), network(z, t, torch.full((3,), CLASSES)))

    def test_every_class_is_told_from_every_other_and_from_none(self, network):
        z, t = inputs(1)
        outputs = network(z.expand(CLASSES + 1, *SHAPE), t.expand(CLASSES + 1), torch.arange(CLASSES + 1)).flatten(1)
        # Rounding is 1e-7 of outputs of order 1; vectors of order 1 move them by far more than a thousandth.
        assert torch.pdist(outputs).min() > 1e-3

    def test_each_example_sees_its_own_label_alone(self, network):
        z, t = inputs()
        before, after = network(z, t, torch.tensor([0, 1, 2])), network(z, t, torch.tensor([0, 3, 2]))
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert (before[1] - after[1]).abs().max() > 1e-3

    def test_int32_labels_are_labels(self, network):
        z, t = inputs()
        labels = torch.tensor([0, 1, 4])
        assert torch.equal(network(z, t, labels.int()), network(z, t, labels))

    @pytest.mark.parametrize("labels", [torch.tensor([0, 2, 2]), None])
    def test_gradients_reach_the_vectors_that_are_used(self, network, labels):
        network(*inputs(), labels).square().sum().backward()
        used = network.embed_label.table.weight.grad.abs().sum(1) > 0
        assert used.nonzero().flatten().tolist() == ([CLASSES] if labels is None else [0, 2])

    @pytest.mark.parametrize("wrong", [-1, CLASSES + 1, 1000])
    def test_labels_out_of_range_are_refused(self, network, wrong):
        with pytest.raises(ValueError, match=rf"labels must lie in 0\.\.3, or be 4 for no label, got {wrong}"):
            network(*inputs(), torch.tensor([0, wrong, CLASSES]))

    @pytest.mark.usefixtures("unchecked")
    def test_labels_out_of_range_are_nan_where_reading_them_would_break_a_graph(self, network):
        z, t = inputs()
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        labels = torch.tensor([0, 1, CLASSES])
        torch.testing.assert_close(compiled(z, t, labels), network(z, t, labels), rtol=1e-5, atol=1e-5)
        for wrong in (-1, CLASSES + 1):
            found = compiled(z, t, torch.tensor([0, wrong, CLASSES]))
            assert found[1].isnan().all()
            assert found[[0, 2]].isfinite().all()

    @pytest.mark.usefixtures("as_in_production")
    @pytest.mark.parametrize("shape", [(2,), (3, 1), ()])
    def test_as_many_labels_as_images(self, network, shape):
        with pytest.raises(ValueError, match=r"labels must have shape \(3,\), one for each example, got \("):
            network(*inputs(), torch.zeros(shape, dtype=torch.int64))

    @pytest.mark.usefixtures("as_in_production")
    @pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(3, dtype=torch.bool), [0, 1, 2]])
    def test_labels_that_are_no_integers(self, network, labels):
        with pytest.raises(TypeError, match="labels must be"):
            network(*inputs(), labels)

    @pytest.mark.parametrize("classes", [0, -3])
    def test_fewer_than_one_class(self, classes):
        with pytest.raises(ValueError, match=f"classes must be at least 1, got {classes}"):
            UNet(SHAPE, **SMALL, classes=classes)


class TestDropLabels:
    @pytest.mark.parametrize("probability", [0.1, 0.5])
    def test_that_share_of_them_is_replaced_and_the_others_stay(self, generator, probability):
        labels = torch.arange(40_000) % CLASSES
        dropped = drop_labels(labels, CLASSES, probability, generator=generator)
        kept = dropped != CLASSES
        assert torch.equal(dropped[kept], labels[kept])
        # Six standard deviations of a binomial share.
        spread = 6 * (probability * (1 - probability) / len(labels)) ** 0.5
        assert abs((~kept).double().mean().item() - probability) < spread
        # Of each class alike.
        for label in range(CLASSES):
            assert abs((~kept)[labels == label].double().mean().item() - probability) < spread * CLASSES**0.5

    def test_none_and_all(self, generator):
        labels = torch.arange(1000) % CLASSES
        assert torch.equal(drop_labels(labels, CLASSES, 0.0, generator=generator), labels)
        assert (drop_labels(labels, CLASSES, 1.0, generator=generator) == CLASSES).all()

    def test_the_probability_does_not_change_how_much_randomness_is_used(self):
        states = []
        for probability in (0.0, 0.3, 1.0):
            generator = torch.Generator().manual_seed(0)
            drop_labels(torch.zeros(7, dtype=torch.int64), CLASSES, probability, generator=generator)
            states.append(generator.get_state())
        assert torch.equal(states[0], states[1])
        assert torch.equal(states[0], states[2])

    @pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
    def test_what_is_no_probability(self, wrong):
        with pytest.raises(ValueError, match=rf"probability must lie in \[0, 1\], got {wrong}"):
            drop_labels(torch.zeros(7, dtype=torch.int64), CLASSES, wrong)


class TestLabelledDenoiser:
    def test_it_is_the_network_under_those_labels(self, denoiser, network):
        z, t = inputs()
        labels = torch.tensor([2, CLASSES, 0])
        labelled = LabelledDenoiser(denoiser, labels)
        assert torch.equal(labelled.output(z, t), network(z, t, labels))
        assert labelled.process is denoiser.process
        assert labelled.prediction == denoiser.prediction
        assert labelled.network_calls == 1

    @pytest.mark.parametrize("prediction", [PredictX(), PredictEpsilon(), PredictV()], ids=str)
    def test_its_estimate_is_converted_as_the_denoiser_s(self, network, prediction):
        z, t = inputs()
        denoiser = Denoiser(network, IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0)), prediction=prediction)
        none = LabelledDenoiser(denoiser, torch.full((3,), CLASSES))
        assert torch.equal(none(z, t), denoiser(z, t))
        labels = torch.tensor([2, 0, 1])
        found = LabelledDenoiser(denoiser, labels)(z, t)
        process = denoiser.process
        latent, factor = prediction.conversion(process, process.as_times(t, batch=3))
        # Isotropic: the coefficients are numbers. float32, an estimate up to e^3 times the output at l = -6.
        expected = latent * z + factor * network(z, t, labels)
        torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5 * 20)
        assert not torch.allclose(found, denoiser(z, t), rtol=1e-3, atol=1e-3)

    def test_it_may_be_a_process_in_another_basis(self, network):
        z, t = inputs()
        denoiser = Denoiser(network, HeatDissipation(SHAPE, blur_sigma_max=3.0, levels=8), prediction=PredictX())
        # x is predicted, once to the spectrum and back.
        labels = torch.tensor([2, 0, 1])
        found = LabelledDenoiser(denoiser, labels)(z, t)
        torch.testing.assert_close(found, network(z, t, labels), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("rows", [slice(0, 2), slice(2, 5), slice(1, None), slice(None)])
    def test_rows_of_it_are_it_on_those_rows(self, denoiser, rows):
        z, t = inputs(5)
        labelled = LabelledDenoiser(denoiser, torch.tensor([2, 0, 1, 3, 4]))
        part = labelled.select(rows)
        assert torch.equal(part.labels, labelled.labels[rows])
        # Other batch sizes take other kernels: float32 over ~10 layers of activations of order 1.
        torch.testing.assert_close(part.output(z[rows], t[rows]), labelled.output(z, t)[rows], rtol=1e-4, atol=1e-4)

    def test_a_batch_of_another_length_is_refused(self, denoiser):
        labelled = LabelledDenoiser(denoiser, torch.tensor([2, 0]))
        for call in (labelled, labelled.output):
            with pytest.raises(ValueError, match=r"given 2 labels but meets a batch of 3: .*select"):
                call(*inputs())

    def test_rows_beyond_the_labels_are_refused(self, denoiser):
        labelled = LabelledDenoiser(denoiser, torch.tensor([2, 0]))
        assert len(labelled.select(slice(0, 2)).labels) == 2
        with pytest.raises(ValueError, match="rows up to 3 are asked for, .* given 2 labels: give one for each sample"):
            labelled.select(slice(1, 3))

    def test_labels_out_of_range_are_refused_at_once(self, denoiser):
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.3, or be 4 for no label, got 5"):
            LabelledDenoiser(denoiser, torch.tensor([5, 0]))

    def test_a_network_that_takes_no_labels_is_refused(self):
        denoiser = Denoiser(UNet(SHAPE, **SMALL), IsotropicDiffusion(SHAPE), prediction=PredictX())
        assert denoiser.classes is None
        for call in (
            lambda: LabelledDenoiser(denoiser, torch.tensor([0, 0, 0])),
            lambda: denoiser.output(*inputs(), torch.tensor([0, 0, 0])),
        ):
            with pytest.raises(ValueError, match=r"denoiser's UNet takes no labels: make it with classes"):
                call()

    @pytest.mark.usefixtures("as_in_production")
    def test_an_oracle_takes_no_labels(self):
        oracle = GaussianOracle(IsotropicDiffusion(SHAPE), mean=torch.zeros(SHAPE), variance=torch.ones(SHAPE))
        with pytest.raises(TypeError, match="denoiser must be a Denoiser"):
            LabelledDenoiser(oracle, torch.tensor([0, 0]))

    def test_its_labels_are_no_part_of_its_state_but_move_with_it(self, denoiser):
        labelled = LabelledDenoiser(denoiser, torch.tensor([2, 0]))
        assert "labels" not in labelled.state_dict()
        assert labelled.to("meta").labels.device.type == "meta"

    def test_the_moving_average_knows_classes(self, denoiser):
        average = EMA(denoiser).model
        assert average.classes == CLASSES
        z, t = inputs()
        labels = torch.tensor([2, 0, 1])
        assert torch.equal(LabelledDenoiser(average, labels).output(z, t), denoiser.output(z, t, labels))

    def test_a_network_without_classes_is_called_with_two_arguments(self):
        class Two(torch.nn.Module):
            def forward(self, z, t):
                return z * 2

        z, t = inputs()
        denoiser = Denoiser(Two(), IsotropicDiffusion(SHAPE), prediction=PredictX())
        assert torch.equal(denoiser.output(z, t), z * 2)


class TestLoss:
    def test_the_loss_under_labels_is_that_of_the_labelled_denoiser(self, denoiser):
        x, _ = inputs()
        labels = torch.tensor([2, CLASSES, 0])
        loss = DenoisingLoss(denoiser.process, reduction=SumOverDimensions())

        def seeded():
            return torch.Generator().manual_seed(5)

        ours = loss(denoiser, x, labels=labels, generator=seeded())
        assert torch.equal(ours, loss(LabelledDenoiser(denoiser, labels), x, generator=seeded()))
        # Row 1 has no label, so it costs what it costs without.
        without = loss(denoiser, x, generator=seeded())
        assert torch.equal((ours != without), torch.tensor([True, False, True]))

    @pytest.mark.usefixtures("as_in_production")
    def test_labels_belong_to_denoisers_with_classes(self, denoiser):
        loss, (x, _) = DenoisingLoss(denoiser.process), inputs()
        labelled = LabelledDenoiser(denoiser, torch.tensor([2, 0, 1]))
        with pytest.raises(TypeError, match="denoiser must be a Denoiser"):
            loss(labelled, x, labels=torch.tensor([2, 0, 1]))
        plain = copy.deepcopy(denoiser)
        plain.classes = None
        with pytest.raises(ValueError, match="takes no labels"):
            loss(plain, x, labels=torch.tensor([2, 0, 1]))
