"""Features of images: by a network with real weights, by one of the user's, and what is refused."""

import pytest
import torch
from skimage import data
from torch import nn
from torch.nn import functional

from unmelt.evaluation import EfficientNetFeatures, FeatureNetwork, FeatureStatistics, features_of, frechet_distance


class Means(FeatureNetwork):
    """The mean of each channel."""

    def __init__(self):
        super().__init__("channel means", "none")
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.scale * images.mean((2, 3))


@pytest.fixture(scope="module")
def efficient():
    return EfficientNetFeatures()


def test_it_is_the_trained_network_and_sees_a_cat(efficient):
    cat = torch.from_numpy(data.cat()).permute(2, 0, 1)[None, :, :, 75:375]
    (features,) = features_of([cat.float()], efficient, (0, 255))
    assert features.shape == (1, 1280)
    # The last layer of the same network, on its features: ImageNet's classes 281 to 285 are cats.
    likeliest = efficient.network._fc(features).softmax(1).topk(3)
    assert {281, 282, 285} == {*likeliest.indices[0].tolist()}
    # 0.88; on ImageNet's mean and standard deviation instead of the lite networks' scale it is 0.83.
    assert likeliest.values.sum() > 0.86


@pytest.mark.full
def test_crops_of_two_photographs_are_further_apart_than_those_of_one(efficient):
    cat, coffee = (torch.from_numpy(photo()).permute(2, 0, 1).float() / 255 for photo in (data.cat, data.coffee))

    def found(photo, first):
        crops = photo.unfold(1, 64, 64).unfold(2, 64, 64).flatten(1, 2).movedim(1, 0)[first::2]
        (features,) = features_of([crops], efficient, (0, 1))
        return FeatureStatistics.of(features)

    apart = frechet_distance(found(cat, 0), found(coffee, 0))
    assert frechet_distance(found(cat, 0), found(cat, 1)) < 0.7 * apart


def test_images_come_in_the_data_s_range_and_in_grey_or_colour():
    images = torch.linspace(-2, 2, 24).reshape(2, 1, 3, 4)
    (grey,) = features_of([images], Means(), (-1, 1))
    expected = ((images.clamp(-1, 1) + 1) / 2).mean((2, 3)).expand(-1, 3)
    # Means of twelve float32 numbers in [0, 1].
    torch.testing.assert_close(grey, expected, rtol=0, atol=1e-6)
    (colour,) = features_of([images.expand(-1, 3, -1, -1)], Means(), (-1, 1))
    assert torch.equal(grey, colour)
    with pytest.raises(ValueError, match=r"grey or colour images.*got \(2, 2, 3, 4\)"):
        next(features_of([images.expand(-1, 2, -1, -1)], Means(), (-1, 1)))
    with pytest.raises(TypeError, match="network must be a FeatureNetwork"):
        next(features_of([images], functional.relu, (-1, 1)))


def test_the_digest_tells_weights_apart(efficient):
    one, other = Means(), Means()
    assert one.digest() == other.digest()
    with torch.no_grad():
        other.scale += torch.finfo(torch.float32).eps
    assert one.digest() != other.digest()
    assert len(efficient.digest()) == 12


def test_features_carry_no_gradient_and_the_network_stays_as_it_is(efficient):
    before = efficient.digest()
    (features,) = features_of([torch.rand(2, 1, 8, 8)], efficient, (0, 1))
    assert not features.requires_grad
    assert efficient.digest() == before
