"""Conditions: labels in a network, with them and without, and how conditions travel with their rows."""

from typing import ClassVar

import pytest
import torch
from support import seeded

from unmelt.degradations import (
    CosineSchedule,
    IsotropicDiffusion,
    PredictEpsilon,
    PredictV,
    PredictX,
)
from unmelt.losses import DenoisingLoss
from unmelt.models import (
    EMA,
    Denoiser,
    UNet,
    drop_labels,
)
from unmelt.models.conditions import select_rows

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

    @pytest.mark.full
    @pytest.mark.usefixtures("as_in_production")
    def test_labels_out_of_range_are_nan_where_reading_them_would_break_a_graph(self, network):
        z, t = inputs()
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        labels = torch.tensor([0, 1, CLASSES])
        torch.testing.assert_close(compiled(z, t, labels), network(z, t, labels), rtol=1e-5, atol=1e-5)
        for wrong in (-1, CLASSES + 1):
            found = compiled(z, t, torch.tensor([0, wrong, CLASSES]))
            assert found[1].isnan().all()
            assert found[[0, 2]].isfinite().all()


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


class TestDenoiser:
    @pytest.mark.parametrize("prediction", [PredictX(), PredictEpsilon(), PredictV()], ids=str)
    def test_a_condition_goes_to_the_network_and_its_output_is_converted(self, network, prediction):
        z, t = inputs()
        denoiser = Denoiser(network, IsotropicDiffusion(SHAPE, CosineSchedule(-6.0, 6.0)), prediction=prediction)
        assert torch.equal(denoiser(z, t, torch.full((3,), CLASSES)), denoiser(z, t))
        labels = torch.tensor([2, 0, 1])
        assert torch.equal(denoiser.output(z, t, labels), network(z, t, labels))
        found = denoiser(z, t, labels)
        latent, factor = prediction.conversion(denoiser.process.at(t, batch=3))
        # Isotropic: the coefficients are numbers. float32, an estimate up to e^3 times the output at l = -6.
        expected = latent * z + factor * network(z, t, labels)
        torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5 * 20)
        assert not torch.allclose(found, denoiser(z, t), rtol=1e-3, atol=1e-3)

    def test_the_moving_average_knows_classes(self, denoiser):
        average = EMA(denoiser).model
        assert average.classes == CLASSES
        z, t = inputs()
        labels = torch.tensor([2, 0, 1])
        assert torch.equal(average.output(z, t, labels), denoiser.output(z, t, labels))

    def test_the_loss_under_labels_costs_rows_without_one_nothing_more(self, denoiser):
        x, _ = inputs()
        loss = DenoisingLoss(denoiser)
        ours = loss(x, condition=torch.tensor([2, CLASSES, 0]), generator=seeded())
        assert (ours != loss(x, generator=seeded())).tolist() == [True, False, True]


class TestRows:
    CONDITION: ClassVar = {"label": torch.arange(5), "image": torch.rand(5, 2, 2)}

    @pytest.mark.parametrize("rows", [slice(0, 2), slice(1, None), torch.tensor([4, 0, 0])], ids=str)
    def test_rows_are_selected_from_each_part(self, rows):
        found = select_rows(self.CONDITION, rows)
        assert all(torch.equal(found[name], part[rows]) for name, part in self.CONDITION.items())
        assert torch.equal(select_rows(self.CONDITION["label"], rows), torch.arange(5)[rows])
        assert select_rows(None, rows) is None
