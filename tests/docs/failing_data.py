"""Data that cannot be read as they are, each in an empty folder."""

from pathlib import Path

import numpy as np
from failing_runs import command, training
from PIL import Image

from unmelt.training import ImageFolder
from unmelt.training.data import ArrayFile


def picture(values, name="z"):
    Path("photos").mkdir(exist_ok=True)
    Image.fromarray(values).save(f"photos/{name}.png")


def photos(count=3, size=(40, 40)):
    for i in range(count):
        picture(np.full((*size, 3), i, dtype=np.uint8), i)


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


def many_transparent():
    photos(20)
    for name in "abcdef":
        picture(np.full((40, 40, 4), 9, dtype=np.uint8), name)
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


def sizes_do_not_divide():
    photos()
    flags = ("--data.folder", "photos", "--data.size", "30", "--training.batch-size", "2", "--training.cpu")
    training(*flags, recipe="folder")
