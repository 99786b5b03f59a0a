"""Transformers over patches: sizes as published, their start, any axes, positions, precision, and what they refuse."""

import pytest
import torch
from support import seeded
from torch import nn

from unmelt.degradations import HeatDissipation, PredictX
from unmelt.losses import DenoisingLoss
from unmelt.models import Denoiser, DiT, PatchTransformer
from unmelt.models.transformers.adaptive_block import _turned
from unmelt.models.transformers.patches import Patches, rotations, sinusoids

SMALL = {"width": 24, "depth": 2, "heads": 2, "patch": 4}
SHAPES = [(2, 16), (1, 8, 12), (1, 4, 8, 4)]
both = pytest.mark.parametrize("kind", [DiT, PatchTransformer])


def awake(network):
    """Give the layers that start at zero random weights, so that the network's output says something."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return network.eval()


def made(kind, shape=(1, 8, 12), **settings):
    torch.manual_seed(0)
    return awake(kind(shape, **{**SMALL, **settings}))


def draw(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


T = torch.tensor([0.2, 0.5, 0.9])


class TestSizes:
    @pytest.mark.parametrize(
        ("width", "depth", "heads", "millions"), [(384, 12, 6, 33), (768, 12, 12, 130), (1152, 28, 16, 675)]
    )
    def test_dit_has_the_published_number_of_parameters(self, width, depth, heads, millions):
        """Peebles & Xie (2023), table 1: DiT-S, B and XL, patches of 2 of latents of 4 x 32 x 32, 1000 classes."""
        with torch.device("meta"):
            network = DiT((4, 32, 32), patch=2, width=width, depth=depth, heads=heads, classes=1000)
        # Theirs also predict variances, with 4 x 2 x 2 more outputs; the table rounds to a million.
        total = sum(p.numel() for p in network.parameters()) + 16 * (width + 1)
        assert abs(total / 1e6 - millions) < 0.01 * millions

    def test_a_gated_network_has_as_many_parameters_as_an_ungated_one(self):
        with torch.device("meta"):
            counts = [
                sum(
                    p.numel()
                    for name, p in kind((1, 64), width=96, heads=2, depth=1, patch=4).named_parameters()
                    if "feed" in name
                )
                for kind in (DiT, PatchTransformer)
            ]
        assert abs(counts[1] / counts[0] - 1) < 0.01


class TestNetwork:
    @both
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_signals_of_any_axes_go_in_and_out(self, kind, shape):
        network = made(kind, shape)
        z = draw(3, *shape)
        assert network(z, T).shape == z.shape
        assert not torch.allclose(network(z, T), network(z, T.flip(0)))
        assert network(z[:0], T[:0]).shape == z[:0].shape

    @both
    def test_sides_may_differ(self, kind):
        assert made(kind, (1, 8, 12), patch=(2, 6))(draw(2, 1, 8, 12), T[:2]).shape == (2, 1, 8, 12)

    @both
    def test_it_starts_at_zero_and_its_blocks_as_the_identity(self, kind):
        network = kind((1, 8, 12), **SMALL)
        assert not network(draw(3, 1, 8, 12), T).any()
        h = draw(3, 6, 24)
        for block in network.blocks:
            assert torch.equal(block(h, draw(3, 24, seed=1), network.turns), h)

    @both
    def test_rows_do_not_mix(self, kind):
        network, z = made(kind), draw(3, 1, 8, 12)
        alone = torch.cat([network(z[k : k + 1], T[k : k + 1]) for k in range(3)])
        torch.testing.assert_close(network(z, T), alone, rtol=1e-4, atol=1e-5)

    @both
    def test_every_patch_is_seen_by_every_other_and_where_it_lies(self, kind):
        network, z = made(kind), draw(1, 1, 8, 12)
        z.requires_grad_()
        network(z, T[:1])[..., :4, :4].sum().backward()
        assert bool((Patches((1, 8, 12), 4).apart(z.grad).abs().sum(-1) > 0).all())
        # Of two equal signals but for two patches in each other's place, not only the patches' places differ.
        rows = Patches((1, 8, 12), 4).apart(z.detach())
        swapped = Patches((1, 8, 12), 4).together(rows[:, [1, 0, 2, 3, 4, 5]])
        first, second = (Patches((1, 8, 12), 4).apart(network(each, T[:1])) for each in (z.detach(), swapped))
        assert not torch.allclose(first[:, 0], second[:, 1], atol=1e-3)

    @both
    def test_labels_and_images_are_seen(self, kind):
        network, z = made(kind, classes=4, image_channels=2), draw(3, 1, 8, 12)
        labels, image = torch.tensor([0, 1, 4]), draw(3, 2, 8, 12, seed=1)
        outputs = [network(z, T, each) for each in (None, labels, image, {"labels": labels, "image": image})]
        for k, one in enumerate(outputs):
            assert all(not torch.allclose(one[0], other[0]) for other in outputs[:k])
        # The third has "no label".
        torch.testing.assert_close(outputs[0][2], outputs[1][2], rtol=1e-4, atol=1e-5)

    @both
    def test_a_bottleneck_is_one(self, kind):
        if kind is DiT:
            pytest.skip("it has none")
        network = made(kind, bottleneck=3)
        rows = network.first(torch.eye(16)) - network.first(torch.zeros(16))
        assert torch.linalg.matrix_rank(rows, tol=1e-5) == 3

    @both
    def test_recomputing_gives_the_same_gradients(self, kind):
        gradients = []
        for recompute in (False, True):
            network = made(kind, recompute=recompute, dropout=0.3).train()
            torch.manual_seed(1)
            network(draw(3, 1, 8, 12), T).square().sum().backward()
            gradients.append([p.grad for p in network.parameters()])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)

    @both
    def test_halved_weights_work(self, kind):
        network, z = made(kind), draw(3, 1, 8, 12)
        wide = Denoiser(network, HeatDissipation((1, 8, 12)), prediction=PredictX())(z, T)
        half = Denoiser(network.bfloat16(), HeatDissipation((1, 8, 12)), prediction=PredictX())(z, T)
        assert half.dtype == torch.float32
        # A bfloat16 has 8 bits, and errors of some tens of sums add up.
        assert (half - wide).abs().max() < 0.1 * wide.abs().max()

    @both
    @pytest.mark.full
    def test_it_compiles(self, kind):
        network, z = made(kind), draw(3, 1, 8, 12)
        compiled = torch.compile(network, fullgraph=True)
        torch.testing.assert_close(compiled(z, T), network(z, T), rtol=1e-3, atol=1e-4)

    @both
    def test_it_learns(self, kind):
        """The mean of one image, by a few steps."""
        torch.manual_seed(0)
        x = draw(1, 1, 8, 12).expand(16, 1, 8, 12)
        loss = DenoisingLoss(Denoiser(kind((1, 8, 12), **SMALL), HeatDissipation((1, 8, 12)), prediction=PredictX()))
        optimizer = torch.optim.Adam(loss.parameters(), 3e-3)
        found = []
        for _ in range(60):
            optimizer.zero_grad()
            found.append(loss(x).mean())
            found[-1].backward()
            optimizer.step()
        assert found[-1] < 0.05 * found[0]


class TestPatches:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_there_and_back(self, shape):
        patches, z = Patches(shape, 4), draw(2, *shape)
        rows = patches.apart(z)
        assert rows.shape == (2, patches.places, patches.numbers(shape[0]))
        assert torch.equal(patches.together(rows), z)

    def test_a_row_is_a_patch_at_its_coordinates(self):
        patches, z = Patches((2, 8, 12), (4, 3)), draw(1, 2, 8, 12)
        for row, (i, j) in zip(patches.apart(z)[0], patches.coordinates().int().tolist(), strict=True):
            assert torch.equal(row, z[0, :, 4 * i : 4 * i + 4, 3 * j : 3 * j + 3].flatten())

    def test_places_have_different_sinusoids_and_the_same_length(self):
        waves = sinusoids(Patches((1, 32, 48), 4).coordinates(), 24)
        apart = torch.cdist(waves, waves) + 10 * torch.eye(len(waves))
        assert apart.min() > 0.1
        torch.testing.assert_close(waves.square().sum(1), torch.full((96,), 12.0))

    @pytest.mark.parametrize("size", [8, 10, 12])
    def test_products_of_turned_numbers_depend_on_how_far_places_are_apart(self, size):
        patches = Patches((1, 32, 48), 4)
        turns, places = rotations(patches.coordinates(), size), patches.coordinates()
        query, key = draw(size, seed=1), draw(size, seed=2)
        turned = [_turned(each.expand(1, 1, len(places), size), turns)[0, 0] for each in (query, key)]
        products = turned[0] @ turned[1].T
        apart = places[:, None] - places[None]
        _, kinds = apart.flatten(0, 1).unique(dim=0, return_inverse=True)
        for kind in range(int(kinds.max()) + 1):
            same = products.flatten()[kinds == kind]
            # Angles of some tens, to eps 32 each.
            assert same.max() - same.min() < 1e-4
        assert products.std() > 0.1
        torch.testing.assert_close(turned[0].norm(dim=1), query.norm().expand(len(places)))


class TestRefusals:
    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (
                lambda: DiT((1, 8, 10), patch=4),
                r"multiples of the patch's sides \(4, 4\), got \(8, 10\): pad to \(8, 12\)",
            ),
            (lambda: DiT((3,)), r"an axis or more.*got shape=\(3,\)"),
            (lambda: DiT((1, 8, 8), patch=(2, 2, 2)), r"patch=\(2, 2, 2\)"),
            (lambda: DiT((1, 8, 8), patch=0), "patch=0"),
            (lambda: DiT((1, 8, 8), width=10, heads=3), "heads must divide the width, got width=10 and heads=3"),
            (lambda: DiT((1, 8, 8), depth=0), "depth must be"),
            (lambda: DiT((1, 8, 8), ratio=0.0), "ratio must"),
            (lambda: DiT((1, 8, 8), dropout=1.0), "dropout must"),
            (lambda: DiT((1, 8, 8), image_channels=-1), "image_channels must be"),
            (lambda: DiT((1, 8, 8), classes=0), "classes must be at least 1"),
            (lambda: PatchTransformer((1, 8, 8), patch=4, bottleneck=0), "bottleneck must be"),
            (
                lambda: PatchTransformer((1, 8, 8), patch=4, width=18, heads=6),
                "even number of features, at least 4 for 2 axes, got 3",
            ),
            (lambda: made(DiT)(draw(3, 1, 8, 8), T), r"made for signals of shape \(1, 8, 12\), got \(1, 8, 8\)"),
            (lambda: made(DiT)(draw(3, 1, 8, 12), T, torch.tensor([1, 2, 3])), "made without classes"),
            (lambda: made(DiT)(draw(3, 1, 8, 12), T, draw(3, 1, 8, 12)), "made without an image condition"),
        ],
    )
    def test_it_is_refused(self, call, words):
        with pytest.raises(ValueError, match=words):
            call()

    @pytest.mark.usefixtures("as_in_production")
    def test_sides_are_whole_numbers(self):
        for patch in (2.0, (2, 2.0)):
            with pytest.raises(TypeError, match="patch must be an integer, got 2.0"):
                DiT((1, 8, 8), patch=patch)

    def test_positions_are_not_trained_and_not_stored(self):
        network = PatchTransformer((1, 8, 12), **SMALL)
        assert not {"position", "turns"} & network.state_dict().keys()
        assert all(isinstance(p, nn.Parameter) for p in network.parameters())
