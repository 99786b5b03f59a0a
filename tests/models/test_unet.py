"""The U-Net: its released size, its start, every shape it takes and refuses, and what it depends on."""

import itertools
import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmelt.models import UNet
from unmelt.models.unet import Attention, ResidualBlock, time_embedding

SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), "dropout": 0.0}


def awake(network):
    """Give the layers that start at zero random weights, so that the network's output says something."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return network


@pytest.fixture
def small():
    torch.manual_seed(0)
    return awake(UNet((1, 8, 8), **SMALL)).eval()


def inputs(shape, batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *shape, generator=generator), torch.rand(batch, generator=generator)


class TestArchitecture:
    def test_the_released_cifar10_network_has_61_million_parameters(self):
        with torch.device("meta"):
            network = UNet(
                (3, 32, 32), channels=128, multipliers=(1, 2, 2, 2), blocks=4, attention_levels=(2, 3), dropout=0.1
            )
        # 61.06 M counted in the released code; 1 % is less than any one block or attention layer left out costs.
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(61.06e6, rel=0.01)

    def test_the_released_configuration_is_the_default(self):
        with torch.device("meta"):
            default, released = (
                UNet((3, 32, 32), **settings)
                for settings in (
                    {},
                    {
                        "channels": 128,
                        "multipliers": (1, 2, 2, 2),
                        "blocks": 4,
                        "attention_levels": (2, 3),
                        "heads": 1,
                        "dropout": 0.1,
                    },
                )
            )
        assert str(default) == str(released)

    def test_its_output_starts_at_exactly_zero(self):
        z, t = inputs((3, 8, 8))
        assert torch.equal(UNet((3, 8, 8), **SMALL)(z, t), torch.zeros_like(z))

    @given(
        channels=st.integers(1, 5),
        height=st.integers(1, 3),
        width=st.integers(1, 3),
        multipliers=st.lists(st.integers(1, 3), min_size=1, max_size=3),
        blocks=st.integers(1, 2),
        features=st.sampled_from([2, 6, 8]),
    )
    def test_any_channels_and_any_shape_that_divides(self, channels, height, width, multipliers, blocks, features):
        factor = 2 ** (len(multipliers) - 1)
        shape = (channels, height * factor, width * factor)
        network = UNet(shape, channels=features, multipliers=multipliers, blocks=blocks, attention_levels=(0,))
        z, t = inputs(shape, batch=2)
        output = awake(network).eval()(z, t)
        assert output.shape == z.shape
        assert output.isfinite().all()
        assert output.any()

    @pytest.mark.parametrize("levels", [(), (0,), (1,), (0, 2)])
    def test_attention_is_at_the_levels_asked_for_and_in_the_middle(self, levels):
        blocks = 2
        network = UNet(
            (1, 16, 8), channels=4, multipliers=(1, 1, 1), blocks=blocks, attention_levels=levels, dropout=0.0
        )
        heights = []
        for module in network.modules():
            if isinstance(module, Attention):
                module.register_forward_hook(lambda _module, arguments, _output: heights.append(arguments[0].shape[2]))
        network(*inputs((1, 16, 8)))
        # One after every block on the way down, after every block and one more on the way up, and one in the middle.
        expected = [16 // 2**level for level in levels for _ in range(2 * blocks + 1)] + [4]
        assert sorted(heights) == sorted(expected)

    def test_every_parameter_takes_part(self, small):
        z, t = inputs((1, 8, 8))
        small(z, t).square().sum().backward()
        idle = [name for name, p in small.named_parameters() if p.grad is None or not p.grad.any()]
        # The key's bias adds one number to all of a query's logits, which a softmax does not see; it is a third of a
        # tensor that has other uses, so no whole parameter is idle.
        assert idle == []

    @pytest.mark.parametrize("heads", [1, 2, 4])
    def test_attention_is_softmax_attention(self, heads):
        torch.manual_seed(heads)
        channels, height, width = 8, 3, 2
        layer = awake(Attention(channels, heads)).double()
        h = torch.randn(2, channels, height, width, dtype=torch.float64)
        flat = layer.project_in(layer.norm(h)).flatten(2).mT  # (batch, positions, 3 channels)
        query, key, value = flat.split(channels, dim=-1)
        size = channels // heads
        mixed = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            logits = query[..., part] @ key[..., part].mT / math.sqrt(size)
            mixed.append(logits.softmax(-1) @ value[..., part])
        expected = h + layer.project_out(torch.cat(mixed, -1).mT.unflatten(2, (height, width)))
        # float64, sums over 6 positions: a few units in the last place.
        torch.testing.assert_close(layer(h), expected, rtol=1e-12, atol=1e-12)

    def test_attention_keeps_no_scores_of_all_pairs_of_places(self):
        places, kept = 16 * 16, []
        layer = awake(Attention(8, 1))
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t
        ):
            layer(torch.randn(1, 8, 16, 16)).sum().backward()
        assert max(kept) < places**2 / 2


class TestTime:
    def test_the_embedding_is_of_a_thousand_steps(self):
        t = torch.tensor([0.0, 0.001, 0.25, 1.0], dtype=torch.float64)
        embedding = time_embedding(t, 6)
        for row, time in zip(embedding, t.tolist(), strict=True):
            phases = [1000 * time / 10_000 ** (i / 3) for i in range(3)]
            expected = [math.cos(p) for p in phases] + [math.sin(p) for p in phases]
            # float64 phases up to 1000 are off by up to 1000 * 2^-53 each way.
            assert row.tolist() == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("width", [2, 8, 12, 32, 64, 128])
    def test_every_width_of_block_sees_its_condition(self, width):
        # A normalisation of single channels would take the condition, one number per channel, away again.
        torch.manual_seed(width)
        block = awake(ResidualBlock(width, width, 16, 0.0))
        h, conditions = torch.randn(1, width, 4, 4), torch.randn(2, 1, 16)
        one, other = (block(h, condition) for condition in conditions)
        # Rounding is 1e-7 of an output of order 1; a condition of order 1 moves it by far more than a hundredth.
        assert (one - other).abs().max() > 1e-2

    def test_the_output_depends_on_each_example_s_own_time(self, small):
        z, t = inputs((1, 8, 8))
        before = small(z, t)
        moved = t.clone()
        moved[1] = (t[1] + 0.5) % 1
        after = small(z, moved)
        # Rows 0 and 2 see nothing of row 1's time.
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        # A thousand times what float32 rounds off an output of order 1.
        assert (before[1] - after[1]).abs().max() > 1e-4

    def test_neighbouring_levels_of_a_thousand_are_told_apart(self, small):
        z, _ = inputs((1, 8, 8), batch=1)
        levels = torch.arange(1, 1001, 111) / 1000
        pairs = zip(
            small(z.expand(len(levels), -1, -1, -1), levels),
            small(z.expand(len(levels), -1, -1, -1), levels - 1e-3),
            strict=True,
        )
        assert all((a - b).abs().max() > 1e-4 for a, b in pairs)

    def test_examples_of_a_batch_do_not_mix(self, small):
        z, t = inputs((1, 8, 8))
        together = small(z, t)
        alone = torch.cat([small(z[i : i + 1], t[i : i + 1]) for i in range(len(z))])
        # Other batch sizes take other kernels, which sum up to 16 * 9 products in another order: float32 over ~10
        # layers of activations of order 1.
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


class TestDropout:
    def test_it_is_random_in_training_only(self):
        torch.manual_seed(0)
        network = awake(UNet((1, 8, 8), **{**SMALL, "dropout": 0.5}))
        z, t = inputs((1, 8, 8))
        assert not torch.equal(network(z, t), network(z, t))
        network.eval()
        assert torch.equal(network(z, t), network(z, t))

    def test_a_rate_of_zero_is_none(self, small):
        z, t = inputs((1, 8, 8))
        evaluated = small(z, t)
        assert torch.equal(small.train()(z, t), evaluated)


class TestRecomputation:
    @pytest.fixture
    def pair(self):
        """The same network in training, with dropout, that keeps its activations and that recomputes them."""
        networks = []
        for recompute in (False, True):
            torch.manual_seed(0)
            networks.append(awake(UNet((1, 8, 8), **{**SMALL, "dropout": 0.5}, recompute=recompute)))
        return networks

    @staticmethod
    def gradients(network, *, precision=torch.float32):
        z, t = inputs((1, 8, 8))
        z.requires_grad_()
        torch.manual_seed(1)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = network(z, t).square().sum()
        # Other numbers than those of the forward pass, were dropout to draw new ones.
        torch.manual_seed(2)
        loss.backward()
        return loss, z.grad, *(p.grad for p in network.parameters())

    @pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
    def test_gradients_are_the_same_dropout_included(self, pair, precision):
        kept, recomputed = (self.gradients(network, precision=precision) for network in pair)
        assert all(torch.equal(a, b) for a, b in zip(kept, recomputed, strict=True))

    def test_random_numbers_after_it_are_those_without_it(self, pair):
        after = []
        for network in pair:
            self.gradients(network)
            after.append(torch.rand(()))
        assert after[0] == after[1]

    def test_much_less_is_kept_for_the_backward_pass(self, pair):
        kept = []
        for network in pair:
            own = {p.untyped_storage().data_ptr() for p in network.parameters()}
            storages = {}

            def pack(tensor, own=own, storages=storages):
                # Held here, so that no storage takes the place of another.
                if tensor.untyped_storage().data_ptr() not in own:
                    storages[tensor.untyped_storage().data_ptr()] = tensor
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                network(*inputs((1, 8, 8)))
            kept.append(sum(tensor.untyped_storage().nbytes() for tensor in storages.values()))
        # A residual block alone keeps, for its two normalisations, activations and convolutions, six feature maps; of
        # a recomputed stage, attention included, what goes in is kept.
        assert kept[1] < kept[0] / 3

    def test_blocks_are_computed_again_in_training_only(self, pair):
        network = pair[1]
        calls = []
        for module in network.modules():
            if isinstance(module, ResidualBlock):
                # Begun: a recomputation ends with the last number that is needed.
                module.register_forward_pre_hook(lambda *_: calls.append(1))
        blocks = sum(isinstance(module, ResidualBlock) for module in network.modules())
        z, t = inputs((1, 8, 8))
        counts = []
        for training in (True, False):
            calls.clear()
            network.train(training)(z, t).sum().backward()
            counts.append(len(calls))
        assert counts == [2 * blocks, blocks]

    def test_its_state_is_that_of_a_network_that_does_not(self, pair):
        kept, recomputed = (network.state_dict() for network in pair)
        assert list(kept) == list(recomputed)
        assert all(torch.equal(kept[name], recomputed[name]) for name in kept)


class TestSizes:
    @pytest.mark.parametrize(
        ("shape", "levels"),
        [
            *(((3, 30, 32), 4), ((3, 32, 30), 4), ((1, 7, 9), 2), ((1, 4, 8), 4), ((2, 28, 28), 4), ((1, 1, 1), 2)),
            *(((2, 50), 3), ((1, 5, 6, 7), 2)),
        ],
    )
    def test_sizes_that_do_not_divide_and_the_ones_named_do(self, shape, levels):
        settings = {**SMALL, "multipliers": (1,) * levels, "attention_levels": ()}
        with pytest.raises(ValueError, match=f"got {' x '.join(map(str, shape[1:]))}: pad") as caught:
            UNet(shape, **settings)
        message = str(caught.value)
        assert f"multiples of {2 ** (levels - 1)}" in message
        assert message.endswith("use fewer multipliers")
        (named,) = re.findall(r"pad or crop to ([\d orx()]+), or use", message)
        choices = [[int(n) for n in sizes.strip("()").split(" or ")] for sizes in named.split(" x ")]
        assert len(choices) == len(shape) - 1
        for size in itertools.product(*choices):
            with torch.device("meta"):
                assert UNet((shape[0], *size), **settings).shape == (shape[0], *size)


class TestPatches:
    def test_they_halve_the_first_level_and_keep_the_shape(self):
        network = awake(UNet((3, 8, 12), patch=2, **SMALL))
        widths = []
        network.first.register_forward_hook(lambda _module, arguments, _output: widths.append(arguments[0].shape))
        z, t = inputs((3, 8, 12))
        assert network(z, t).shape == z.shape
        assert widths == [(len(z), 12, 4, 6)]

    def test_pixels_come_back_to_their_places(self):
        network = UNet((3, 8, 12), patch=2, **SMALL)
        z, _ = inputs((3, 8, 12))
        assert torch.equal(network.to_pixels(network.to_patches(z)), z)

    @pytest.mark.parametrize(
        ("shape", "patch", "message"),
        [
            ((1, 8, 8), 0, "patch must be at least 1"),
            ((1, 8), 2, "patch must be .* 1 for anything but images"),
            ((1, 6, 8), 2, "after patches of 2, so sizes must be multiples of 4, got 6 x 8"),
        ],
    )
    def test_bad_patches_are_refused(self, shape, patch, message):
        with pytest.raises(ValueError, match=message):
            UNet(shape, patch=patch, **SMALL)


@pytest.mark.parametrize("shape", [(2, 16), (3, 8, 12), (1, 4, 8, 4)], ids=["signals", "images", "volumes"])
def test_signals_images_and_volumes_keep_their_shape_and_every_place_sees_every_other(shape):
    network = awake(UNet(shape, channels=8, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.0))
    z = torch.rand(2, *shape, requires_grad=True)
    out = network(z, torch.tensor([0.3, 0.8]))
    assert out.shape == z.shape
    out[0].flatten()[0].backward()
    # Through attention in the middle; nothing of the other example.
    assert (z.grad[0] != 0).all()
    assert (z.grad[1] == 0).all()


class TestArithmetic:
    def test_bf16_autocast_stays_close_and_has_finite_gradients(self, small):
        z, t = inputs((1, 8, 8))
        exact = small(z, t)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = small(z, t)
            loss = rounded.square().sum()
        loss.backward()
        # bf16 keeps 8 bits: about 15 layers one after the other, each off by up to 2^-8, independently of each other.
        error = (rounded.float() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
        assert 0 < error < math.sqrt(15) * 2**-8 * 4
        assert all(p.grad.isfinite().all() for p in small.parameters())

    @pytest.mark.usefixtures("as_in_production")
    @pytest.mark.full
    def test_it_compiles_to_one_graph_with_equal_output(self, small):
        z, t = inputs((1, 8, 8))
        # The eager backend traces the whole graph, which is what can break; code generation is torch's own matter.
        compiled = torch.compile(small, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(z, t), small(z, t), rtol=1e-5, atol=1e-5)

    @pytest.mark.usefixtures("as_in_production")
    @pytest.mark.slow
    def test_recomputation_compiles_to_one_graph_with_equal_gradients(self):
        torch.manual_seed(0)
        network = awake(UNet((1, 8, 8), **{**SMALL, "dropout": 0.5}, recompute=True))
        gradients = []
        for called in (network, torch.compile(network, fullgraph=True, backend="aot_eager")):
            network.zero_grad()
            torch.manual_seed(1)
            called(*inputs((1, 8, 8))).square().sum().backward()
            gradients.append([p.grad.clone() for p in network.parameters()])
        # float32 sums in another order, of gradients up to a hundred.
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)

    @pytest.mark.slow
    @pytest.mark.usefixtures("as_in_production")
    def test_its_generated_code_has_equal_output(self, small):
        z, t = inputs((1, 8, 8))
        # Fused kernels sum in another order; activations are of order 1.
        torch.testing.assert_close(torch.compile(small, fullgraph=True)(z, t), small(z, t), rtol=1e-4, atol=1e-4)
