"""Images as conditions: in the network, with labels, left out, beside guidance, and a known end that is seen."""

import pytest
import torch
from support import seeded

from unmelt.degradations import HeatBridge, IsotropicDiffusion, PowerBlur, PredictX
from unmelt.losses import DenoisingLoss
from unmelt.models import Denoiser, UNet, drop_images, with_image
from unmelt.models.conditions import ConditionParts, condition_parts, select_rows
from unmelt.samplers import Posterior, Sampler, UniformGrid
from unmelt.samplers.guidance import ClassifierFreeGuidance

SHAPE = (1, 8, 8)
SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), "dropout": 0.0}


def awake(network):
    """Give the layers that start at zero random weights, so that the network's output says something."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return network.eval()


def made(shape=SHAPE, **settings):
    torch.manual_seed(0)
    return awake(UNet(shape, **{**SMALL, **settings}))


def draw(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


Z, T = draw(3, *SHAPE), torch.tensor([0.2, 0.5, 0.9])


class TestNetwork:
    @pytest.mark.parametrize("shape", [(2, 16), (1, 8, 8), (1, 4, 8, 4)], ids=str)
    @pytest.mark.parametrize("patch", [1, 2])
    def test_signals_of_any_axes_see_an_image_of_any_channels(self, shape, patch):
        if patch > 1 and len(shape) != 3:
            pytest.skip("patches are of images")
        network = made(shape, image_channels=3, patch=patch)
        z, image = draw(2, *shape), draw(2, 3, *shape[1:], seed=1)
        outputs = [network(z, T[:2], each) for each in (image, -image, None)]
        assert outputs[0].shape == z.shape
        assert not torch.allclose(outputs[0], outputs[1])
        assert torch.equal(outputs[2], network(z, T[:2], torch.zeros_like(image)))

    def test_each_row_sees_its_own_image(self):
        network, image = made(image_channels=1), draw(3, *SHAPE, seed=1)
        whole = network(Z, T, image)
        alone = torch.cat([network(Z[k : k + 1], T[k : k + 1], image[k : k + 1]) for k in range(3)])
        torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)

    def test_without_images_it_is_the_network_that_it_was(self):
        with torch.device("meta"):
            plain, seeing = UNet((3, 32, 32)), UNet((3, 32, 32), image_channels=3)
        more = sum(p.numel() for p in seeing.parameters()) - sum(p.numel() for p in plain.parameters())
        assert more == 3 * 128 * 9

    def test_labels_and_image_are_both_seen(self):
        network = made(image_channels=1, classes=4)
        labels, image = torch.tensor([0, 1, 4]), draw(3, *SHAPE, seed=1)
        both = network(Z, T, {"labels": labels, "image": image})
        assert not torch.allclose(both, network(Z, T, labels))
        assert not torch.allclose(both, network(Z, T, image))
        assert torch.equal(network(Z, T, {"image": image}), network(Z, T, image))

    def test_half_precision_and_volumes(self):
        network = made((1, 4, 4, 4), image_channels=1).bfloat16()
        z = draw(2, 1, 4, 4, 4)
        found = Denoiser(network, IsotropicDiffusion((1, 4, 4, 4)), prediction=PredictX())(z, 0.5, z)
        assert found.dtype == torch.float32
        assert bool(found.isfinite().all())

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (lambda: made()(Z, T, Z), r"made without an image condition.*image_channels=1, or leave the image out"),
            (lambda: made(image_channels=1)(Z, T, Z[:2]), r"must have shape \(3, 1, 8, 8\).*got \(2, 1, 8, 8\)"),
            (lambda: made(image_channels=2)(Z, T, Z), r"must have shape \(3, 2, 8, 8\).*got \(3, 1, 8, 8\)"),
            (lambda: made(image_channels=1)(Z, T, Z[..., :4]), r"got \(3, 1, 8, 4\)"),
            (lambda: made(image_channels=-1), "image_channels must be at least 0, none, got -1"),
            (lambda: made(image_channels=1)(Z, T, {"picture": Z}), "parts are 'labels' and 'image', got 'picture'"),
            (lambda: made(image_channels=1)(Z, T, {"labels": torch.tensor([1])}), "made without classes"),
        ],
    )
    def test_what_it_was_not_made_for(self, call, words):
        with pytest.raises(ValueError, match=words):
            call()


class TestParts:
    def test_integers_are_labels_and_floating_point_is_an_image(self):
        labels = torch.tensor([1, 2, 3])
        assert condition_parts(None) == ConditionParts(None, None)
        assert condition_parts(labels).labels is labels
        assert condition_parts(Z).image is Z
        # Numbers by the row, which labels must not be, are left for the network to refuse.
        assert condition_parts(labels.float()).image is None

    @pytest.mark.usefixtures("as_in_production")
    def test_images_of_integers_are_in_no_units(self):
        for integers in (Z.byte(), Z.long(), {"image": Z.byte()}):
            with pytest.raises(TypeError, match=r"image condition must be floating-point, .* shape \(3, 1, 8, 8\)"):
                made(image_channels=1, classes=4)(Z, T, integers)
        # A mask is 0 and 1 in any units.
        mask, network = Z[:, :1] > 0, made(image_channels=1)
        assert torch.equal(network(Z, T, mask), network(Z, T, mask.float()))

    def test_an_image_is_added_to_what_is_there(self):
        labels, other = torch.tensor([1, 2, 3]), draw(3, 2, 8, 8, seed=1)
        assert with_image(None, Z) is Z
        assert torch.equal(with_image(other, Z), torch.cat([other, Z], 1))
        assert with_image(labels, Z) == {"labels": labels, "image": Z}
        both = with_image({"labels": labels, "image": other}, Z)
        assert torch.equal(both["image"], torch.cat([other, Z], 1))
        assert torch.equal(select_rows(both, slice(1, 3))["image"], both["image"][1:3])

    def test_images_are_left_out_as_often_as_is_asked(self):
        image = torch.ones(4000, 1, 2, 2)
        kept = drop_images(image, 0.25, generator=seeded(1))
        gone = (kept == 0).flatten(1).all(1)
        assert bool((gone | (kept == 1).flatten(1).all(1)).all())
        assert abs(gone.float().mean() - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5
        assert torch.equal(drop_images(image, 0.0), image)
        assert not drop_images(image, 1.0).any()
        with pytest.raises(TypeError, match="image"):
            drop_images({"image": image}, 0.5)
        with pytest.raises(ValueError, match=r"probability must lie in \[0, 1\], got 1.5"):
            drop_images(image, 1.5)


class TestWithEverythingElse:
    def test_it_is_trained_and_sampled_and_guided(self):
        process = IsotropicDiffusion(SHAPE)
        denoiser = Denoiser(made(image_channels=1), process, prediction=PredictX())
        image = draw(3, *SHAPE, seed=1)
        assert DenoisingLoss(denoiser)(Z, condition=image).shape == (3,)
        guided = ClassifierFreeGuidance(denoiser, 2.0)
        expected = 2 * denoiser(Z, 0.5, image) - denoiser(Z, 0.5)
        torch.testing.assert_close(guided(Z, 0.5, image), expected, rtol=1e-4, atol=1e-4)
        sampler = Sampler(guided, Posterior(), grid=UniformGrid(3))
        whole = sampler.sample(3, condition=image, generator=[1, 2, 3])
        parts = sampler.sample(3, condition=image, generator=[1, 2, 3], batch_size=2)
        torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("part", ["labels", "image"])
    @pytest.mark.parametrize("scale", [0.0, 3.0])
    def test_guidance_by_one_part_keeps_the_other(self, part, scale):
        denoiser = Denoiser(made(image_channels=1, classes=4), IsotropicDiffusion(SHAPE), prediction=PredictX())
        whole = {"labels": torch.tensor([0, 1, 4]), "image": draw(3, 1, 8, 8, seed=1)}
        left = {name: value for name, value in whole.items() if name != part}
        guided = ClassifierFreeGuidance(denoiser, scale, leave_out=part)
        with_all, without = denoiser(Z, 0.5, whole), denoiser(Z, 0.5, left)
        torch.testing.assert_close(guided(Z, 0.5, whole), without + scale * (with_all - without), rtol=1e-4, atol=1e-4)
        # Of what is kept alone nothing is exaggerated.
        torch.testing.assert_close(guided(Z, 0.5, left), without, rtol=1e-4, atol=1e-4)
        assert guided.network_calls(T, whole) == (1 if scale == 0 else 2)
        assert f"leave_out='{part}'" in repr(Sampler(guided))
        with pytest.raises(ValueError, match="leave_out must be 'labels' or 'image', or None .*, got 'mask'"):
            ClassifierFreeGuidance(denoiser, 2.0, leave_out="mask")

    def test_a_known_end_that_is_seen_is_one_more_image(self):
        process = HeatBridge(SHAPE, blur=PowerBlur(2.0))
        network, y, image = made(image_channels=3, classes=4), draw(3, *SHAPE, seed=1), draw(3, 2, 8, 8, seed=2)
        denoiser = Denoiser(network, process, prediction=PredictX(), sees_given=True)
        labels = torch.tensor([0, 1, 4])
        found = denoiser(Z, 0.5, {"labels": labels, "image": image}, y)
        expected = network(Z, torch.full((3,), 0.5), {"labels": labels, "image": torch.cat([image, y], 1)})
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_guidance_by_labels_keeps_each_row_s_known_end(self):
        process = HeatBridge(SHAPE, blur=PowerBlur(2.0))
        denoiser = Denoiser(made(image_channels=1, classes=4), process, prediction=PredictX(), sees_given=True)
        labels, y = torch.tensor([0, 1, 4]), draw(3, *SHAPE, seed=1)
        found = ClassifierFreeGuidance(denoiser, 3.0)(Z, 0.5, labels, y)
        expected = 3 * denoiser(Z, 0.5, labels, y) - 2 * denoiser(Z, 0.5, None, y)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        samples = Sampler(ClassifierFreeGuidance(denoiser, 3.0), grid=UniformGrid(3)).sample(
            3, condition=labels, given=y
        )
        assert bool(samples.isfinite().all())
