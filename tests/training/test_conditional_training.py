"""Conditional training: images meet their labels or none, resumed runs equal straight ones, samples have classes."""

import json

import pytest
import torch
from PIL import Image
from small_runs import assert_same_run, begin, metrics, run_python, train

from unmelt.core import later
from unmelt.degradations import IsotropicDiffusion, PredictV
from unmelt.models import UNet
from unmelt.samplers import Posterior, UniformGrid
from unmelt.samplers.guidance import ClassifierFreeGuidance, LinearObservation
from unmelt.training import ArrayExamples, Digits, LoadedRun, Pictures, Splits, load_run
from unmelt.training.building import class_columns, classes_in_order

CLASSES = 3


@pytest.fixture
def labelled(splits):
    return relabelled(splits, torch.arange(22) % CLASSES)


def relabelled(splits, labels):
    return Splits(
        ArrayExamples(splits.train.values, labels=labels),
        ArrayExamples(splits.test.values, labels=torch.arange(6) % CLASSES),
    )


@pytest.fixture
def conditional(training):
    """Return the run's configuration, conditional, with some settings changed."""

    def change(name="small", guidance=1.0, **changes):
        network = later(
            UNet, channels=4, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.2, classes=CLASSES
        )
        pictures = Pictures(count=12, guidance=guidance)
        return training(name, **{"label_dropout": 0.3, "network": network, "pictures": pictures, **changes})

    return change


def seen(trainer):
    """Train, and return the images and labels that the network's loss was asked about, step by step."""
    batches = []
    handle = trainer.loss.register_forward_pre_hook(
        lambda _module, given, more: batches.append((*given, more["condition"])), with_kwargs=True
    )
    trainer.train()
    handle.remove()
    return batches


class TestLabels:
    @pytest.mark.full
    def test_each_image_meets_its_own_label(self, conditional, labelled):
        batches = seen(begin(conditional(label_dropout=0.0, steps=12, flip=False), labelled))
        images = labelled.train.read()
        assert len(batches) == 12
        for x, labels in batches:
            # Which image it is; all twenty-two differ.
            which = (x[:, None] == images[None]).flatten(2).all(2).long().argmax(1)
            assert torch.equal(images[which], x)
            assert torch.equal(labels, labelled.train.labels[which])

    @pytest.mark.full
    def test_the_fraction_of_labels_asked_for_is_hidden(self, conditional, labelled):
        labels = torch.cat([labels for _, labels in seen(begin(conditional(label_dropout=0.5, steps=30), labelled))])
        # 120 labels: six standard deviations of a binomial fraction.
        assert abs((labels == CLASSES).double().mean().item() - 0.5) < 6 * (0.25 / 120) ** 0.5
        assert labels.unique().tolist() == [0, 1, 2, CLASSES]

    def test_a_network_without_classes_is_told_none(self, training, labelled):
        trainer = begin(training(steps=2), labelled)
        assert trainer.denoiser.classes is None
        assert all(labels is None for _, labels in seen(trainer))

    @pytest.mark.full
    def test_other_labels_are_another_run(self, conditional, labelled):
        other = relabelled(labelled, labelled.train.labels.roll(1))
        one, two = (train(conditional(name, steps=4), data) for name, data in (("one", labelled), ("two", other)))
        # The first step's network is zero whatever the label; it wakes within a few.
        assert metrics(one)[0] == metrics(two)[0]
        assert metrics(one)[-1] != metrics(two)[-1]

    def test_one_of_them_and_several(self, labelled):
        images, labels, unreadable = labelled.train.fetch([4, 2])
        assert torch.equal(images, labelled.train.read([4, 2]))
        assert not unreadable
        assert labels.tolist() == [1, 2]


class TestResume:
    @pytest.fixture
    def straight(self, conditional, labelled):
        return train(conditional("straight", steps=8), labelled)

    # Five batches make a pass: a stop at its start, in its middle, and at its very end.
    @pytest.mark.full
    @pytest.mark.parametrize(
        "stop", [pytest.param(1, marks=pytest.mark.full), 3, pytest.param(5, marks=pytest.mark.full)]
    )
    def test_a_resumed_run_equals_a_straight_one(self, conditional, labelled, straight, stop):
        train(conditional("broken", steps=stop), labelled)
        assert_same_run(train(conditional("broken", steps=8), labelled, resume=True), straight)

    @pytest.mark.full
    def test_which_labels_are_hidden_is_random_and_the_seed_s(self, conditional, labelled, straight):
        # Guided samples on the way change nothing.
        assert_same_run(train(conditional("again", steps=8, sample_every=2, guidance=2.0), labelled), straight)
        other = train(conditional("other", steps=8, label_dropout=0.6), labelled)
        assert metrics(other)[-1] != metrics(straight)[-1]

    def test_other_labels_of_the_same_images_are_refused(self, conditional, labelled):
        train(conditional(steps=1), labelled)
        other = relabelled(labelled, labelled.train.labels.roll(1))
        with pytest.raises(ValueError, match=r"trained with other labels of these images \(3 classes stored, 3 given"):
            begin(conditional(steps=2), other, resume=True)
        # The same in another dtype are the same, and guidance is of the pictures.
        same = relabelled(labelled, labelled.train.labels.int())
        trainer = train(conditional(steps=2, guidance=2.0, label_dropout=0.1), same, resume=True)
        assert trainer.run.load_config().pictures.guidance == 2.0


class TestRunFolder:
    def test_the_model_is_rebuilt_from_the_folder_alone(self, conditional, labelled):
        trainer = train(conditional(steps=6), labelled)
        stored = json.loads(trainer.run.manifest.read_text())["data"]
        assert (stored["classes"], stored["labels"]) == (CLASSES, labelled.train.label_fingerprint())
        others = relabelled(labelled, torch.zeros(22).long())
        assert others.train.label_fingerprint() != labelled.train.label_fingerprint()
        run = load_run(trainer.run.path)
        assert run.denoiser.classes == CLASSES
        z, t, labels = torch.rand(4, 1, 4, 4), torch.tensor([0.25, 0.5, 1.0, 0.5]), torch.tensor([0, 1, 2, 3])
        told = run.denoiser(z, t, labels)
        assert torch.equal(told, trainer.ema.model(z, t, labels))
        # Six steps of 1e-2 have woken the network: classes tell.
        assert (told != run.denoiser(z, t)).flatten(1).any(1).tolist() == [True, True, True, False]
        guided = run.sampler(guidance=3.0)
        assert guided.denoiser.scale == 3
        assert guided.sample(2, condition=torch.tensor([0, 1])).shape == (2, 1, 4, 4)

    def test_restored_images_are_of_the_class_asked_for(self, conditional, labelled):
        run, told = load_run(train(conditional(steps=1), labelled).run.path), []
        run.denoiser.network.register_forward_pre_hook(lambda _, inputs: told.append(inputs[2].tolist()))
        y = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
        run.restore(y, LinearObservation.blur((1, 4, 4), 1.0, noise_std=0.05), 2, condition=2)
        assert told == [[2, 2]] * 8


class TestSamples:
    def test_grids_show_the_classes_in_order_one_in_each_column(self, conditional, labelled):
        trainer = train(conditional(steps=2, sample_every=1), labelled)
        assert classes_in_order(trainer.denoiser, 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
        assert [class_columns(trainer.denoiser, count) for count in (2, 3, 9)] == [None, 3, 3]
        with Image.open(trainer.run.samples / "step_00000001.png") as image:
            # Three columns of four images of 4 x 4 pixels, sixteen times enlarged, with gaps as wide. A square has 4.
            assert image.size == (3 * 80 + 16, 4 * 80 + 16)

    def test_a_network_without_classes_keeps_its_square_grid(self, training, splits):
        denoiser = begin(training(), splits).denoiser
        assert classes_in_order(denoiser, 9) is None
        assert class_columns(denoiser, 9) is None

    @pytest.mark.full
    def test_guidance_changes_the_samples(self, conditional, labelled):
        pictures = []
        for guidance in (1.0, 4.0):
            trainer = train(conditional(f"by {guidance}", guidance=guidance, steps=6, sample_every=5), labelled)
            denoiser = trainer.sampler.denoiser
            assert isinstance(denoiser, ClassifierFreeGuidance) == (guidance != 1)
            assert getattr(denoiser, "denoiser", denoiser) is trainer.ema.model
            pictures.append((trainer.run.samples / "step_00000005.png").read_bytes())
        assert pictures[0] != pictures[1]


COMPILED = """
import torch
from unmelt.degradations import IsotropicDiffusion, PredictV
from unmelt.losses import DenoisingLoss
from unmelt.models import Denoiser, UNet
from unmelt.samplers.guidance import ClassifierFreeGuidance, LinearObservation

torch.set_num_threads(1)
shape = (1, 8, 8)
x, t, labels = torch.rand(4, *shape), torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([0, 2, 3, 1])
for classes in (None, 3):
    torch.manual_seed(0)
    network = UNet(shape, channels=8, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.0, classes=classes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.2) if not parameter.any() else None
    denoiser = Denoiser(network, IsotropicDiffusion(shape), prediction=PredictV())
    loss = DenoisingLoss(denoiser)
    found = []
    for call in (torch.compile(loss, fullgraph=True, backend="aot_eager"), loss):
        torch._dynamo.reset()
        torch.manual_seed(1)
        loss.zero_grad()
        value = call(x, condition=None if classes is None else labels).mean()
        value.backward()
        found.append([value.detach(), *(p.grad.clone() for p in loss.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    print("loss", classes)
for guided in (ClassifierFreeGuidance(denoiser, 3.0), ClassifierFreeGuidance(denoiser, 3.0, interval=(0.3, 0.7))):
    torch._dynamo.reset()
    compiled = torch.compile(guided, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, t, labels), guided(x, t, labels), rtol=1e-4, atol=1e-4)
    print("guidance", guided.interval)
"""


@pytest.mark.slow
def test_the_loss_and_guidance_compile_to_one_graph_each(tmp_path):
    """In a process of its own: run-time shape checks would themselves break graphs."""
    result = run_python("-c", COMPILED, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["loss None", "loss 3", "guidance None", "guidance (0.3, 0.7)"]


@pytest.mark.slow
def test_guided_samples_of_digits_are_of_the_class_asked_for(tmp_path, training):
    """Some ten seconds of training; a classifier of real digits says which digit each sample is."""
    from unmelt.evaluation import Recogniser  # noqa: PLC0415

    config = training(
        "digits",
        process=later(IsotropicDiffusion),
        prediction=PredictV(),
        data=Digits(low=-1.0),
        network=later(UNet, channels=16, multipliers=(1, 2), blocks=1, attention_levels=(), dropout=0.0, classes=10),
        optimizer=later(torch.optim.AdamW, lr=2e-3, weight_decay=0.0, fused=True),
        sampler=Posterior(),
        grid=UniformGrid(50),
        steps=150,
        batch_size=64,
        warmup=50,
        cosine_decay=True,
        ema_decay=0.99,
        flip=False,
        log_every=50,
        checkpoint_every=1000,
    )
    data = config.data.load()
    run: LoadedRun = load_run(train(config, data).run.path)
    recogniser = Recogniser(data.train.read(), data.train.labels)
    count = 400
    labels = torch.arange(count) % 10

    def right(scale):
        """Return the fraction of samples that are recognised as their class."""
        sampler = run.sampler(guidance=scale)
        samples = sampler.sample(count, condition=labels, generator=torch.Generator().manual_seed(1)).clamp(-1.0, 1.0)
        found = torch.from_numpy(recogniser._classifier.predict(samples.flatten(1).numpy()))
        return (found == labels).double().mean().item()

    none, plain, guided = right(0.0), right(1.0), right(2.0)
    # Chance is a tenth, a fraction whose standard error is 1.5 %. Six of them apart is no accident; without guidance
    # 88 % are right after so short a training, with a standard error of 1.6 %, and guidance mends most of the rest.
    assert abs(none - 0.1) < 0.09
    assert plain > 0.5
    assert guided > plain + 3 * (plain * (1 - plain) / count) ** 0.5
