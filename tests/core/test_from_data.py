"""Parts that follow from data: resolved, kept as tensors, and resolved again without data and files."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from zoo import draw, path_laplacian

from unmelt.core import FromData, FromFile, later, resolve
from unmelt.degradations import (
    BlurringDiffusion,
    ChangedBasis,
    ChannelGroups,
    ConstantNoise,
    CosineBasis,
    CosineSchedule,
    EqualSNR,
    EqualVarianceBlur,
    FittedPCA,
    FittedSpectrum,
    FlippedSNR,
    GaussianBlur,
    GivenVariance,
    GraphHeat,
    HaarBasis,
    HeatDissipation,
    PCABasis,
    PixelMask,
    SequentialMasking,
    SpectralDiffusion,
    WithNoise,
    equal_variance_blur,
    estimate_spectrum,
    opponent_basis,
)

SHAPE = (1, 4, 6)


class Batches:
    """Data that can be gone through more than once, and counts how much of it was asked for."""

    def __init__(self, data, size=16):
        self.data, self.size, self.batches = data, size, 0

    def __iter__(self):
        for batch in self.data.split(self.size):
            self.batches += 1
            yield batch


def data(shape=SHAPE, count=80):
    """Variances that fall with the frequency, as in pictures."""
    basis = CosineBasis(shape)
    return basis.inverse(draw(shape, batch=count) / (0.2 + basis.laplacian_eigenvalues()))


def spectrum_of(basis, count=80):
    """Estimated from the same batches, since sums of other ones round differently."""
    return estimate_spectrum(basis, data()[:count].split(16))


def written(tmp_path, tensor):
    np.save(tmp_path / "table.npy", tensor.numpy())
    return FromFile(str(tmp_path / "table.npy"))


ONSET = torch.linspace(0, 0.7, 24, dtype=torch.float64).reshape(SHAPE)

# What is configured, and the process that it is when made by hand.
CONFIGURED = {
    "equal SNR": lambda file: (
        later(SpectralDiffusion, noise=EqualSNR(FittedSpectrum())),
        SpectralDiffusion(SHAPE, EqualSNR(spectrum_of(SpectralDiffusion(SHAPE).basis))),
    ),
    "flipped SNR of cosines": lambda file: (
        later(SpectralDiffusion, noise=FlippedSNR(FittedSpectrum(CosineBasis, images=30, floor=1e-3))),
        SpectralDiffusion(SHAPE, FlippedSNR(spectrum_of(CosineBasis(SHAPE), 30).floored(1e-3))),
    ),
    "a fitted blur": lambda file: (
        later(
            GaussianBlur,
            blur=EqualVarianceBlur(3.0, levels=5, anisotropy=(1.0, 0.2)),
            noise=ConstantNoise(0.1),
            anisotropy=(1.0, 0.2),
        ),
        GaussianBlur(
            SHAPE,
            equal_variance_blur(spectrum_of(CosineBasis(SHAPE)), maximum=3.0, levels=5, anisotropy=(1.0, 0.2)),
            ConstantNoise(0.1),
            anisotropy=(1.0, 0.2),
        ),
    ),
    "another process in principal components": lambda file: (
        later(
            ChangedBasis.of,
            process=later(WithNoise.of, process=HeatDissipation, noise=CosineSchedule()),
            basis=FittedPCA(),
        ),
        ChangedBasis(WithNoise(HeatDissipation(SHAPE), CosineSchedule()), PCABasis(data())),
    ),
    "a mask from a file": lambda file: (
        later(PixelMask, onset=file(ONSET), duration=0.2),
        PixelMask(SHAPE, ONSET, duration=0.2),
    ),
    "an order of wavelets from a file": lambda file: (
        later(SequentialMasking.of, basis=HaarBasis, onset=file(ONSET), duration=0.3),
        SequentialMasking(HaarBasis(SHAPE), ONSET, duration=0.3),
    ),
    "a graph from a file": lambda file: (
        later(GraphHeat, laplacian=file(path_laplacian(6))),
        GraphHeat(SHAPE, path_laplacian(6)),
    ),
    "given variances": lambda file: (
        later(SpectralDiffusion, noise=GivenVariance(CosineBasis, file(ONSET + 1))),
        SpectralDiffusion(SHAPE, GivenVariance(CosineBasis(SHAPE), ONSET + 1)),
    ),
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_what_is_configured_is_the_part_made_by_hand_now_and_when_loaded(name, tmp_path):
    configured, by_hand = CONFIGURED[name](lambda tensor: written(tmp_path, tensor))
    resolved, tensors = resolve(configured, SHAPE, Batches(data()))
    process = resolved(SHAPE)
    assert process.agrees_with(by_hand)
    # A record is read where there are neither data nor files.
    for file in tmp_path.iterdir():
        file.unlink()
    stored = pickle.loads(pickle.dumps(tensors))
    again, same = resolve(configured, SHAPE, stored=stored)
    assert again(SHAPE).agrees_with(process)
    assert all(torch.equal(same[path], tensor) for path, tensor in tensors.items())
    assert same.keys() == tensors.keys()


def test_paths_say_where_a_tensor_belongs():
    groups = later(ChannelGroups.of, channels=(1,), processes=(later(GaussianBlur, blur=EqualVarianceBlur(2.0, 3)),))
    _, tensors = resolve(groups, SHAPE, data())
    assert list(tensors) == ["processes.0.blur.widths"]
    _, tensors = resolve(EqualSNR(FittedSpectrum(FittedPCA())), SHAPE, data())
    assert sorted(tensors) == [
        *(f"spectrum.basis.{name}" for name in ("components", "mean", "variances")),
        *(f"spectrum.{name}" for name in ("count", "mean", "variance")),
    ]
    spectrum, tensors = resolve(FittedSpectrum(), SHAPE, data())
    assert sorted(tensors) == ["count", "mean", "variance"]
    assert resolve(FittedSpectrum(), SHAPE, stored=tensors)[0].count == spectrum.count == 80


def test_what_holds_nothing_to_resolve_is_left_as_it_is():
    for value in (later(HeatDissipation, levels=7), CosineSchedule(), (1, [2]), "text", HeatDissipation, None):
        resolved, tensors = resolve(value, SHAPE)
        assert resolved is value
        assert tensors == {}


def test_no_more_data_is_read_than_asked_for():
    batches = Batches(data())
    spectrum, _ = resolve(FittedSpectrum(images=20), SHAPE, batches)
    assert (spectrum.count, batches.batches) == (20, 2)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
def test_tensors_are_read_from_every_kind_of_file(suffix, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    file = tmp_path / f"table{suffix}"
    writers = {
        ".npy": lambda: np.save(file, ONSET.numpy()),
        ".npz": lambda: np.savez(file, onset=ONSET.numpy()),
        ".safetensors": lambda: safetensors.save_file({"onset": ONSET, "other": ONSET + 1}, file),
        ".pt": lambda: torch.save(ONSET, file),
    }
    writers[suffix]()
    key = "onset" if suffix == ".safetensors" else ""
    assert torch.equal(FromFile(file, key).resolve(SHAPE), ONSET)


def test_parts_of_a_users_own_are_resolved_alike():
    @dataclass(frozen=True)
    class Mean(FromData):
        def fit(self, shape, data):
            return {"mean": data.mean()}

        def build(self, shape, tensors):
            return ConstantNoise(tensors["mean"].abs().item())

    process, tensors = resolve(later(BlurringDiffusion, schedule=Mean()), SHAPE, data())
    assert process(SHAPE).sigma(0.5).item() == pytest.approx(tensors["schedule.mean"].abs().item())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda file: resolve(FittedSpectrum(), SHAPE), ValueError, r"FittedSpectrum\(.* is fitted to data.*none"),
        (
            lambda file: resolve(EqualSNR(FittedPCA()), SHAPE, stored={"mean": ONSET}),
            ValueError,
            "stored for spectrum,",
        ),
        (lambda file: resolve((FittedSpectrum(),), SHAPE, stored={"0.basis.mean": ONSET}), ValueError, "stored for 0,"),
        (lambda file: FromFile(file(".npz"), "onsets").resolve(SHAPE), ValueError, "holds a, b: say which.*'onsets'"),
        (lambda file: FromFile(file(".npz")).resolve(SHAPE), ValueError, "holds a, b: say which"),
        (lambda file: FromFile("table.csv").resolve(SHAPE), ValueError, r"\.npy, \.npz.*got table.csv"),
        (lambda file: FromFile(file(".pt")).resolve(SHAPE), TypeError, "must be a Tensor"),
        (
            lambda file: ChannelGroups.of((3, 4), channels=(1, 2), processes=(HeatDissipation,)),
            ValueError,
            "one process",
        ),
        (lambda file: WithNoise.of(SHAPE, process=3, noise=CosineSchedule()), TypeError, "process must be a Linear"),
        (
            lambda file: ChangedBasis.of(SHAPE, process=HeatDissipation, basis=HaarBasis((1, 4, 4))),
            ValueError,
            "basis.*shape",
        ),
    ],
)
@pytest.mark.usefixtures("as_in_production")
def test_what_cannot_be_resolved_is_said(call, error, words, tmp_path):
    def file(suffix):
        path = tmp_path / f"table{suffix}"
        np.savez(path, a=np.ones(2), b=np.ones(2)) if suffix == ".npz" else torch.save([1, 2], path)
        return path

    with pytest.raises(error, match=words):
        call(file)


def test_groups_from_a_shape_are_those_made_by_hand():
    groups = ChannelGroups.of(
        (3, 4, 6), channels=(1, 2), processes=(HeatDissipation, BlurringDiffusion), basis=opponent_basis
    )
    by_hand = ChannelGroups(opponent_basis((3, 4, 6)), [HeatDissipation((1, 4, 6)), BlurringDiffusion((2, 4, 6))])
    assert groups.agrees_with(by_hand)
