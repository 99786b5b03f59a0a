"""The recogniser knows digits when it sees them, is not sure of noise, and measures distances to training images."""

import numpy as np
import pytest
import torch

from unmelt.evaluation import Recogniser


@pytest.fixture(scope="module")
def recogniser(digits):
    return Recogniser(digits.train, digits.train_labels)


def noise(digits, count=400):
    return torch.rand(count, *digits.train.shape[1:], generator=torch.Generator().manual_seed(0))


class TestRecognition:
    def test_held_out_digits_are_recognised_and_of_all_classes(self, recogniser, digits):
        found = recogniser.assess(digits.test)
        assert found.recognised >= 0.9
        assert found.classes == 10

    def test_two_digits_in_one_image_are_recognised_less(self, recogniser, digits):
        images, labels = digits.test, digits.test_labels
        different = labels != labels.roll(1)
        blended = (images + images.roll(1, 0))[different] / 2
        # About half of the blends leave a classifier of one class or the other in doubt.
        assert recogniser.assess(blended).recognised < recogniser.assess(images).recognised - 0.2

    def test_noise_is_not(self, recogniser, digits):
        found = recogniser.assess(noise(digits))
        # A network is surer of noise than it should be, but far less often than of digits.
        assert found.recognised < recogniser.assess(digits.test).recognised - 0.3

    def test_the_share_is_one_of_images(self, recogniser, digits):
        real, random = digits.test, noise(digits, len(digits.test))
        both = recogniser.assess(torch.cat([real, random]))
        halves = [recogniser.assess(images) for images in (real, random)]
        # A share is a multiple of 1 / 720, stored in float64.
        assert both.recognised == pytest.approx(sum(half.recognised for half in halves) / 2, abs=1e-12)
        # Distances are float32.
        assert both.nearest == pytest.approx(sum(half.nearest for half in halves) / 2, rel=1e-5)

    def test_digits_of_two_classes_are_of_two_classes(self, recogniser, digits):
        # Of the images trained on, where the classifier makes no mistakes.
        chosen = (digits.train_labels == 3) | (digits.train_labels == 8)
        assert recogniser.assess(digits.train[chosen]).classes == 2

    @pytest.mark.full
    def test_images_that_nothing_is_sure_of_count_for_no_class(self, recogniser, digits):
        one = digits.train[digits.train_labels == 1]
        unsure = noise(digits)
        confidence = torch.stack([torch.tensor(recogniser.assess(image[None]).recognised) for image in unsure])
        found = recogniser.assess(torch.cat([one[:50], unsure[confidence == 0]]))
        assert found.classes == 1
        assert found.recognised == pytest.approx(50 / (50 + int((confidence == 0).sum())), abs=1e-12)

    def test_as_labelled_counts_those_that_are_recognised_as_their_labels(self, recogniser, digits):
        images, labels = digits.train[:60], digits.train_labels[:60]
        # Of the images trained on, where the classifier makes no mistakes, a third under another label.
        wrong = torch.arange(60) % 3 == 0
        found = recogniser.assess(images, torch.where(wrong, (labels + 1) % 10, labels))
        known = recogniser.assess(images[~wrong])
        assert found.as_labelled == pytest.approx(known.recognised * 2 / 3, abs=1e-12)
        assert recogniser.assess(images).as_labelled is None

    def test_it_is_the_same_every_time(self, digits):
        # A few images, so that training twice takes no time.
        images, labels = digits.train[:100], digits.train_labels[:100]
        one, other = (Recogniser(images, labels) for _ in range(2))
        assert one.assess(noise(digits)) == other.assess(noise(digits))


class TestNearest:
    def test_training_images_lie_at_no_distance(self, recogniser, digits):
        # Norms of up to 8 in float32: squares off by 64 * 2^-24 each way, of which the root is taken.
        assert recogniser.assess(digits.train).nearest <= 5e-3

    def test_it_is_the_mean_euclidean_distance_to_the_nearest(self, recogniser, digits):
        images = torch.cat([digits.test[:40], noise(digits, 40)])
        flat = images.flatten(1).double().numpy()
        train = digits.train.flatten(1).double().numpy()
        distances = [np.sqrt(((train - row) ** 2).sum(1)).min() for row in flat]
        # float32 at distances of order 1.
        assert recogniser.assess(images).nearest == pytest.approx(np.mean(distances), rel=1e-4)

    def test_held_out_digits_lie_nearer_than_noise(self, recogniser, digits):
        assert recogniser.assess(digits.test).nearest < 0.7 * recogniser.assess(noise(digits)).nearest
