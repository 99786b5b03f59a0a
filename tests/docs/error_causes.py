"""A small real cause for each message on the page of errors: called in an empty folder, it meets the message."""

import json
import math
import resource
import signal
import threading
from pathlib import Path

import numpy as np
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from small_runs import begin, images, small_run, train
from torch import nn

from unmelt import load_run
from unmelt.commands import main
from unmelt.core import later
from unmelt.degradations import (
    CosineBasis,
    Deterministic,
    HeatDissipation,
    Independent,
    IsotropicDiffusion,
    LinearGaussianProcess,
    PredictPreviousLevel,
    PredictX,
)
from unmelt.losses import ELBO, DenoisingLoss
from unmelt.models import Denoiser, GaussianDecoder, StandardNormalPrior, UNet
from unmelt.samplers import Multistep, Posterior, Sampler, UniformGrid
from unmelt.testing import check_process
from unmelt.training import ArrayExamples, ImageFolder, RunFolder, Splits, export_run
from unmelt.training.data import ArrayFile

SHAPE = (1, 8, 8)
SMALL = {"channels": 4, "multipliers": (1, 2), "blocks": 1, "attention_levels": ()}
TINY = ["--network.channels", "8", "--training.steps", "1", "--pictures.count", "1"]


def command(*words):
    """Run `unmelt` in this process."""
    main(list(words))


def training(*flags, recipe="digits_heat"):
    """Train a recipe as the command does."""
    command("train", recipe, *TINY, *flags)


def picture(values, name="z"):
    Path("photos").mkdir(exist_ok=True)
    Image.fromarray(values).save(f"photos/{name}.png")


def photos(count=3, size=(40, 40)):
    for i in range(count):
        picture(np.full((*size, 3), i, dtype=np.uint8), i)


def finished(**changes):
    """Train a run of six steps in `runs/small`."""
    return train(small_run(Path("runs"), **changes), images())


def resumed(**changes):
    begin(small_run(Path("runs"), **changes), images(), resume=True)


def heat(prediction=None, network=None):
    process = HeatDissipation(SHAPE, levels=8, sigma=0.03, blur_sigma_max=4.0)
    return Denoiser(network or UNet(SHAPE, **SMALL), process, prediction=prediction or PredictX())


def isotropic():
    return Denoiser(UNet(SHAPE, **SMALL), IsotropicDiffusion(SHAPE), prediction=PredictX())


class Brightening(LinearGaussianProcess):
    def __init__(self, shape):
        super().__init__(CosineBasis(shape))

    def log_alpha(self, t):
        return self.expand_times(t)

    def log_sigma(self, t):
        return self.expand_times(t).mul(0).sub(3)


class Flat(nn.Module):
    def forward(self, z_t, t, condition=None):
        return z_t.flatten(1)


class NotANumber(nn.Module):
    def forward(self, z_t, t, condition=None):
        return z_t * math.nan


class TwoArguments(nn.Module):
    def forward(self, z_t, t):
        return z_t


def no_recipe():
    command("train", "folders")


def misspelt_flag():
    training("--training.step", "5")


def run_exists():
    finished()
    training("--name", "small")


def run_is_locked():
    with RunFolder(Path("runs/busy")).locked():
        training("--name", "busy")


def batch_too_large():
    training("--training.batch-size", "5000")


def sizes_do_not_divide():
    photos()
    flags = ("--data.folder", "photos", "--data.size", "30", "--training.batch-size", "2", "--training.cpu")
    training(*flags, recipe="folder")


def unstable_prediction():
    training("--prediction", "PredictEpsilon")


def no_levels():
    training("--process", "IsotropicDiffusion")


def guidance_without_classes():
    training("--pictures.guidance", "2")


def other_classes():
    training("--network.classes", "7")


def bridge_without_given():
    training("--process", "HeatBridge", "--prediction", "PredictX")


def no_prior():
    Sampler(heat(), Posterior(Independent()), UniformGrid(4))


def half_precision_on_a_cpu():
    AcceleratorState._reset_state(reset_partial_state=True)
    training("--training.precision", "FP16")


def no_folder():
    command("train", "folder", "--data.folder", "photoes")


def check_photos():
    command("data", "--data", "ImageFolder", "--data.folder", "photos", "--data.size", "32")


def one_image():
    photos(1)
    check_photos()


def no_picture():
    photos()
    Path("photos/z.png").write_bytes(b"no picture")
    check_photos()


def transparent():
    photos()
    picture(np.full((40, 40, 4), 9, dtype=np.uint8))
    check_photos()


def sixteen_bits():
    photos()
    picture(np.arange(1600).reshape(40, 40).astype(np.uint16))
    check_photos()


def several_sizes():
    photos()
    picture(np.zeros((20, 30, 3), dtype=np.uint8))
    ImageFolder("photos", size=None).load()


def array(values):
    np.save("a.npy", values)
    ArrayFile("a.npy").load()


def levels_unknown():
    array(np.zeros((9, 1, 4, 4), dtype=np.uint16))


def channels_unclear():
    array(np.zeros((9, 16, 16, 16), dtype=np.uint8))


def not_a_number():
    array(np.full((9, 1, 4, 4), np.nan, dtype=np.float32))


def stopped():
    trainer = begin(small_run(Path("runs"), steps=10_000), images())
    timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGTERM])
    timer.start()
    trainer.train()


def diverged():
    # The second step is taken from weights of 1e30 or so.
    optimizer = later(torch.optim.SGD, lr=1e30)
    changes = {"warmup": 0, "steps": 60, "clip": math.inf, "most_skips": 2}
    train(small_run(Path("runs"), optimizer=optimizer, **changes), images())


def disk_full():
    trainer = begin(small_run(Path("runs")), images())
    # To files of this process the disk is full after 20 kB.
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))
    try:
        trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def cut_off(checkpoint):
    file = next(checkpoint.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-5])


def newest_damaged():
    cut_off(sorted(finished().run.checkpoints.iterdir())[-1])
    resumed(steps=9)


def all_damaged():
    for checkpoint in finished().run.checkpoints.iterdir():
        cut_off(checkpoint)
    resumed(steps=9)


def nothing_to_resume():
    resumed()


def other_settings():
    finished()
    resumed(batch_size=8)


def other_images():
    finished()
    black = torch.zeros(22, 1, 4, 4, dtype=torch.uint8)
    begin(small_run(Path("runs"), steps=9), Splits(ArrayExamples(black), ArrayExamples(black[:6])), resume=True)


def fewer_steps():
    finished()
    resumed(steps=3)


def resumed_export():
    export_run(load_run(finished().run.path), Path("exported/small"))
    training("--resume", "exported/small")


def no_run():
    load_run("runs/nothing")


def no_such_checkpoint():
    finished()
    load_run("runs/small", checkpoint=4)


def newer_format():
    manifest = finished().run.manifest
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**record, "format": record["format"] + 1}))
    load_run("runs/small")


def code_of_somebody():
    config = finished().run.config
    config.write_text(config.read_text().replace("HeatDissipation(", "fog.Fog("))
    load_run("runs/small")


def off_its_levels():
    denoiser = heat(PredictPreviousLevel())
    prior = StandardNormalPrior(denoiser.process, tolerance=2.0)
    Sampler(denoiser, Multistep(order=2), grid=UniformGrid(3), prior=prior)


def not_finite():
    denoiser = Denoiser(NotANumber(), IsotropicDiffusion(SHAPE), prediction=PredictX())
    Sampler(denoiser, Posterior(), UniformGrid(3)).sample(1)


def file_exists():
    finished()
    Path("samples.png").write_bytes(b"")
    command("sample", "runs/small")


def no_gpu():
    finished()
    command("sample", "runs/small", "--device", "cuda")


def nothing_to_undo():
    finished()
    command("restore", "runs/small", "a.png")


def broken_law():
    check_process(Brightening(SHAPE), max_examples=1)


def integer_images():
    DenoisingLoss(isotropic())(torch.zeros(2, *SHAPE, dtype=torch.uint8))


def other_shape():
    HeatDissipation(SHAPE).degrade(torch.rand(1, 1, 9, 9), 0.5)


def level_for_time():
    HeatDissipation(SHAPE).degrade(torch.rand(1, *SHAPE), torch.tensor([3]))


def time_outside():
    HeatDissipation(SHAPE).degrade(torch.rand(1, *SHAPE), 3.0)


def two_arguments():
    heat(network=TwoArguments())


def flat_output():
    heat(network=Flat())(torch.rand(1, *SHAPE), torch.tensor([0.5]))


def label_outside():
    denoiser = Denoiser(UNet(SHAPE, classes=10, **SMALL), IsotropicDiffusion(SHAPE), prediction=PredictX())
    denoiser(torch.rand(1, *SHAPE), torch.tensor([0.5]), torch.tensor([12]))


def no_density():
    IsotropicDiffusion(SHAPE).posterior(*torch.rand(2, 1, *SHAPE), 0.2, 0.5, Deterministic()).log_prob(
        torch.rand(1, *SHAPE)
    )


def levels_not_declared():
    denoiser = isotropic()
    bound = ELBO(denoiser, steps=5, decoder=GaussianDecoder(denoiser.process, 0.1))
    bound(torch.rand(1, *SHAPE)).bits_per_dim()


# By the first words of the message that are no name or number.
CAUSES = {
    "there is no recipe": no_recipe,
    "Training has no setting": misspelt_flag,
    "exists and is not overwritten: continue": run_exists,
    "is being trained by another": run_is_locked,
    "exceeds the": batch_too_large,
    "levels halve every axis": sizes_do_not_divide,
    "cannot be converted stably": unstable_prediction,
    "needs to know the levels": no_levels,
    "needs a network that is conditioned": guidance_without_classes,
    "the network is made for": other_classes,
    "ends in a known signal": bridge_without_given,
    "does not end in standard normal": no_prior,
    "precision FP16": half_precision_on_a_cpu,
    "no folder": no_folder,
    "at least 2 are needed": one_image,
    "cannot be read as a picture": no_picture,
    "has transparent pixels": transparent,
    "holds 16 bits": sixteen_bits,
    "the pictures are of": several_sizes,
    "does not say how many levels": levels_unknown,
    "which axis has the channels": channels_unclear,
    "holds nan": not_a_number,
    "stopped by": stopped,
    "the training gradient norm": diverged,
    "the checkpoint of step": disk_full,
    "going on from ..., the one before": newest_damaged,
    "no whole checkpoint": all_damaged,
    "start one without --resume": nothing_to_resume,
    "was trained under other settings": other_settings,
    "was trained on other images": other_images,
    "the run has done": fewer_steps,
    "is an exported model": resumed_export,
    "give the folder of one": no_run,
    "no checkpoint ...": no_such_checkpoint,
    "is a run of format": newer_format,
    "is not one of unmelt's names": code_of_somebody,
    "predicts the previous level is asked": off_its_levels,
    "became infinite or NaN": not_finite,
    "is there already": file_exists,
    "--device cuda": no_gpu,
    "say what was done": nothing_to_undo,
    "breaks the law": broken_law,
    "integer images must be scaled": integer_images,
    "x must have shape": other_shape,
    "t must be a floating-point time": level_for_time,
    "t must lie in": time_outside,
    "a network is called as": two_arguments,
    "the network returned shape": flat_output,
    "labels must lie in": label_outside,
    "needs a density": no_density,
    "bits per dimension depend": levels_not_declared,
}
