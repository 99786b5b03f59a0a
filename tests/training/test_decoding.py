"""Pictures as people have them, of more than forty kinds, and what each becomes: read independently, or refused."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from unmelt.training.data.decoding import Target, decode, header
from unmelt.training.data.picture_error import PictureError

HEIGHT, WIDTH = 6, 8
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
OPACITY = np.where(np.arange(WIDTH) < 4, 255, 0).astype(np.uint8) * np.ones((HEIGHT, 1), np.uint8)
DEEP_OPACITY = OPACITY.astype(np.uint16) * 257
TWELVE = RNG.integers(0, 4096, (HEIGHT, WIDTH)).astype(np.uint16)
SIXTEEN = RNG.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
SIXTEEN_COLOUR = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
UNIT = RNG.random((HEIGHT, WIDTH)).astype(np.float32)


def saved(array, kind, **settings):
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(file, kind, **settings)
    return file.getvalue()


def tiff(array, **settings):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **settings)
    return file.getvalue()


def oriented(number, kind="JPEG"):
    """Stored as a camera does: what a viewer shows turned."""
    exif = Image.Exif()
    exif[0x0112] = number
    if kind == "JPEG":
        return saved(upright_jpeg(), kind, exif=exif, quality=100, subsampling=0)
    return saved(COLOUR, kind, exif=exif)


def upright_jpeg():
    """A picture that JPEG keeps: blocks of 8 x 8 pixels of one colour each."""
    return np.kron(RNG_BLOCKS, np.ones((8, 8, 1), np.uint8))


RNG_BLOCKS = np.random.default_rng(1).integers(0, 256, (2, 3, 3)).astype(np.uint8)
# The standard's eight: what is done to the stored array to show it.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


def palette():
    """Indices into sixteen colours, and what they stand for."""
    colours = np.random.default_rng(2).integers(0, 256, (16, 3)).astype(np.uint8)
    indices = (np.arange(HEIGHT * WIDTH) % 16).reshape(HEIGHT, WIDTH).astype(np.uint8)
    image = Image.frombytes("P", (WIDTH, HEIGHT), indices.tobytes())
    image.putpalette(colours.flatten().tolist())
    return image, colours[indices]


def with_opacity(array):
    return np.dstack([array, OPACITY])


def over(array, behind):
    """A picture whose right half is transparent, on a background."""
    shown = array.copy()
    shown[OPACITY == 0] = behind
    return shown


def frames(kind):
    others = [Image.fromarray(COLOUR[::-1].copy()), Image.fromarray(COLOUR[:, ::-1].copy())]
    return saved(COLOUR, kind, save_all=True, append_images=others, **({"lossless": True} if kind == "WEBP" else {}))


def netpbm(magic, array, most):
    body = array.astype(">u2" if most > 255 else "u1").tobytes()
    return f"{magic}\n{WIDTH} {HEIGHT}\n{most}\n".encode() + body


def sixteen_bit_colour_png():
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in SIXTEEN_COLOUR)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def target(channels=3, size=(HEIGHT, WIDTH), **settings):
    return Target((channels, *size), **settings)


def exact(fractions, levels=256):
    return np.round(np.asarray(fractions, np.float64) * (levels - 1))


TWELVE_BITS = {"white": 4095.0, "levels": 4096}
SIXTEEN_BITS = {"levels": 65536}
RGBA = with_opacity(COLOUR)
CMYK = np.dstack([255 - COLOUR, np.zeros((HEIGHT, WIDTH), np.uint8)])

# What is in the file, what is asked for, and the values that come out, (height, width) or (height, width, channels).
READ = {
    "grey PNG": (saved(GREY, "PNG"), target(1), GREY),
    "grey PNG as colour": (saved(GREY, "PNG"), target(3), np.dstack([GREY] * 3)),
    "grey BMP": (saved(GREY, "BMP"), target(1), GREY),
    "grey GIF": (saved(GREY, "GIF"), target(1), GREY),
    "black and white PNG": (saved(Image.fromarray(GREY > 99), "PNG"), target(1), np.where(GREY > 99, 255, 0)),
    "black and white TIFF": (saved(Image.fromarray(GREY > 99), "TIFF"), target(1), np.where(GREY > 99, 255, 0)),
    "PGM": (netpbm("P5", GREY, 255), target(1), GREY),
    "PGM of 12 bits": (netpbm("P5", TWELVE, 4095), target(1), exact(TWELVE / 4095)),
    "PPM": (netpbm("P6", COLOUR, 255), target(), COLOUR),
    "colour PNG": (saved(COLOUR, "PNG"), target(), COLOUR),
    "colour PNG as grey": (
        saved(COLOUR, "PNG"),
        target(1, to_grey=True),
        # ITU-R BT.601, in Pillow's integers.
        (COLOUR.astype(int) @ [19595, 38470, 7471] + 0x8000) >> 16,
    ),
    "colour BMP": (saved(COLOUR, "BMP"), target(), COLOUR),
    "colour TIFF": (tiff(COLOUR), target(), COLOUR),
    "compressed TIFF": (saved(COLOUR, "TIFF", compression="tiff_lzw"), target(), COLOUR),
    "lossless WEBP": (saved(COLOUR, "WEBP", lossless=True), target(), COLOUR),
    "lossless JPEG 2000": (saved(COLOUR, "JPEG2000"), target(), COLOUR),
    "TGA": (saved(COLOUR, "TGA"), target(), COLOUR),
    "QOI": (saved(COLOUR, "QOI"), target(), COLOUR),
    "JPEG": (saved(upright_jpeg(), "JPEG", quality=100, subsampling=0), target(3, (16, 24)), upright_jpeg()),
    "grey JPEG": (
        saved(upright_jpeg()[..., 0].copy(), "JPEG", quality=100),
        target(1, (16, 24)),
        upright_jpeg()[..., 0],
    ),
    "CMYK TIFF": (saved(Image.frombytes("CMYK", (WIDTH, HEIGHT), CMYK.tobytes()), "TIFF"), target(), COLOUR),
    "palette PNG": (saved(palette()[0], "PNG"), target(), palette()[1]),
    "palette GIF": (saved(palette()[0], "GIF"), target(), palette()[1]),
    "palette of greys": (saved(Image.fromarray(GREY).convert("P"), "PNG"), target(1), GREY),
    "opaque RGBA": (saved(np.dstack([COLOUR, np.full_like(GREY, 255)]), "PNG"), target(), COLOUR),
    "transparent PNG on white": (saved(RGBA, "PNG"), target(background="white"), over(COLOUR, 255)),
    "transparent PNG on a colour": (
        saved(RGBA, "PNG"),
        target(background="#102030"),
        over(COLOUR, (0x10, 0x20, 0x30)),
    ),
    "half transparent PNG": (
        saved(np.dstack([COLOUR, np.full_like(GREY, 51)]), "PNG"),
        target(background="black"),
        # A fifth of it, to a level.
        COLOUR / 5,
    ),
    "transparent grey PNG on black": (
        saved(np.dstack([GREY, OPACITY]), "PNG"),
        target(1, background="black"),
        over(GREY, 0),
    ),
    "transparent WEBP": (saved(RGBA, "WEBP", lossless=True, exact=True), target(background="white"), over(COLOUR, 255)),
    "RGBA as it is": (saved(RGBA, "PNG"), target(4), RGBA),
    "palette with a transparent entry": (
        saved(palette()[0], "PNG", transparency=3),
        target(background="white"),
        np.where((np.arange(HEIGHT * WIDTH) % 16 == 3).reshape(HEIGHT, WIDTH, 1), 255, palette()[1]),
    ),
    "first of several GIF frames": (frames("GIF"), target(), None),
    "first of several PNG frames": (frames("PNG"), target(), COLOUR),
    "first of several WEBP frames": (frames("WEBP"), target(), COLOUR),
    "first of several TIFF pages": (frames("TIFF"), target(), COLOUR),
    "16 bits, all kept": (saved(SIXTEEN, "PNG"), target(1, **SIXTEEN_BITS), SIXTEEN),
    "16 bits in 256 levels": (saved(SIXTEEN, "PNG"), target(1), exact(SIXTEEN / 65535)),
    "16-bit TIFF, big endian": (tiff(SIXTEEN, byteorder=">"), target(1, **SIXTEEN_BITS), SIXTEEN),
    "16-bit colour TIFF": (tiff(SIXTEEN_COLOUR, photometric="rgb"), target(3, **SIXTEEN_BITS), SIXTEEN_COLOUR),
    "16-bit planar TIFF": (
        tiff(SIXTEEN_COLOUR.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
        target(3, **SIXTEEN_BITS),
        SIXTEEN_COLOUR,
    ),
    "12 bits, declared": (saved(TWELVE, "PNG"), target(1, **TWELVE_BITS), TWELVE),
    "12-bit TIFF, declared": (tiff(TWELVE), target(1, **TWELVE_BITS), TWELVE),
    "10 bits above a black level": (
        saved((TWELVE // 4 + 64).clip(64, 1023), "PNG"),
        target(1, black=64.0, white=1023.0, levels=960),
        (TWELVE // 4 + 64).clip(64, 1023) - 64,
    ),
    "12 bits as colour": (saved(TWELVE, "PNG"), target(3, **TWELVE_BITS), np.dstack([TWELVE] * 3)),
    "32-bit integer TIFF, declared": (tiff(TWELVE.astype(np.int32)), target(1, **TWELVE_BITS), TWELVE),
    "float TIFF, declared": (tiff(UNIT), target(1, white=1.0, levels=None), UNIT),
    "float64 TIFF": (tiff(UNIT.astype(np.float64)), target(1, white=1.0, levels=None), UNIT),
    "float16 TIFF": (tiff(UNIT.astype(np.float16)), target(1, white=1.0, levels=None), UNIT.astype(np.float16)),
    "unsigned 32-bit TIFF": (
        tiff(SIXTEEN.astype(np.uint32) << 16),
        target(1, white=65535.0 * 2**16, levels=65536),
        SIXTEEN,
    ),
    "16-bit grey and opacity on black": (
        tiff(
            np.dstack([SIXTEEN, OPACITY.astype(np.uint16) * 257]), photometric="minisblack", extrasamples=["unassalpha"]
        ),
        target(1, background="black", levels=65536),
        over(SIXTEEN, 0),
    ),
    "16-bit RGBA on white": (
        tiff(
            np.dstack([SIXTEEN_COLOUR, OPACITY.astype(np.uint16) * 257]), photometric="rgb", extrasamples=["unassalpha"]
        ),
        target(3, background="white", levels=65536),
        over(SIXTEEN_COLOUR, 65535),
    ),
    "float TIFF in levels": (tiff(UNIT), target(1, white=1.0), exact(UNIT)),
    "float TIFF below zero": (tiff(UNIT * 4 - 2), target(1, black=-2.0, white=2.0, levels=None), UNIT),
    "float colour TIFF": (
        tiff(np.dstack([UNIT, 1 - UNIT, UNIT / 2]), photometric="rgb"),
        target(3, white=1.0, levels=None),
        np.dstack([UNIT, 1 - UNIT, UNIT / 2]),
    ),
    "8 bits among 12": (saved(GREY, "PNG"), target(1, **TWELVE_BITS), exact(GREY / 255, 4096)),
    **{
        f"orientation {k}": (oriented(k), target(3, TURNS[k](upright_jpeg()).shape[:2]), TURNS[k](upright_jpeg()))
        for k in TURNS
    },
    "orientation 6 in PNG": (oriented(6, "PNG"), target(3, (WIDTH, HEIGHT)), TURNS[6](COLOUR)),
    "orientation 8 in TIFF": (oriented(8, "TIFF"), target(3, (WIDTH, HEIGHT)), TURNS[8](COLOUR)),
}
# Levels by which files of these kinds may differ: what is stored is rounded in another colour space, or blended.
ROUNDED = {"JPEG": 2, "grey JPEG": 1, "half transparent PNG": 1, **{f"orientation {k}": 2 for k in TURNS}}


@pytest.mark.parametrize("kind", READ)
def test_what_a_file_becomes(kind):
    data, wanted, expected = READ[kind]
    array = decode(data, wanted)
    assert array.shape == wanted.shape
    if expected is None:
        # A palette of 256 colours stands for each frame: near the first, and far from the others.
        first = np.abs(array.transpose(1, 2, 0).astype(int) - COLOUR).mean()
        assert first < 0.3 * np.abs(COLOUR[::-1].astype(int) - COLOUR).mean()
        return
    expected = np.asarray(expected, np.float64).reshape(*expected.shape[:2], -1).transpose(2, 0, 1)
    tolerance = ROUNDED.get(kind, 0) if wanted.levels else 1e-7
    assert array.dtype == np.float32 if wanted.levels is None else array.dtype.kind == "u"
    assert np.abs(array - expected).max() <= tolerance


NOISE = saved(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8), "PNG")
PIXELS = NOISE.index(b"IDAT")
DAMAGED = {
    "empty": b"",
    "text": b"no picture at all",
    "cut PNG": NOISE[: len(NOISE) // 2],
    # A chunk shorter than it is, after which Pillow meets no chunk and raises SyntaxError.
    "wrong chunk": NOISE[: PIXELS - 4] + b"\0\0\0\x0a" + NOISE[PIXELS:],
    "wrong checksum": NOISE[: PIXELS + 8] + bytes([NOISE[PIXELS + 8] ^ 255]) + NOISE[PIXELS + 9 :],
    "cut JPEG": saved(upright_jpeg(), "JPEG")[:-40],
    "cut TIFF": tiff(SIXTEEN_COLOUR, photometric="rgb")[:300],
}


def sgi_of_16_bits():
    head = struct.pack(">hbbHHHHII", 474, 0, 2, 3, WIDTH, HEIGHT, 3, 0, 65535)
    return head.ljust(512, b"\0") + SIXTEEN_COLOUR.transpose(2, 0, 1).astype(">u2").tobytes()


LAB = Image.frombytes("LAB", (WIDTH, HEIGHT), COLOUR.tobytes())
REFUSED = {
    **{kind: (data, target(), "cannot be read as a picture .*remove or replace it") for kind, data in DAMAGED.items()},
    "no background": (saved(RGBA, "PNG"), target(), "transparent pixels.*give a background, such as white, or chann"),
    "colour among greys": (saved(COLOUR, "PNG"), target(1), "has colours.*channels=3.*channels=1"),
    "12 bits": (saved(TWELVE, "PNG"), target(1), "holds 16 bits, values from .* declare it, such as white=4095"),
    "12-bit TIFF": (tiff(TWELVE), target(1), "holds 16 bits, values from .* to 3.*white=4095"),
    "32-bit integers": (tiff(TWELVE.astype(np.int32)), target(1), "holds 32 bits, values from"),
    "floats": (tiff(UNIT), target(1), "holds floating-point numbers, values from 0.*to 0.*or 1.0"),
    "above white": (saved(SIXTEEN, "PNG"), target(1, **TWELVE_BITS), "values from .* outside the declared 0 to 4095"),
    "below black": (tiff(UNIT - 1), target(1, white=1.0), "values from -.*outside the declared 0 to 1"),
    "NaN": (tiff(np.where(UNIT > 0.5, np.nan, UNIT)), target(1, white=1.0), "holds NaN or infinity: repair or"),
    "16-bit colour PNG": (sixteen_bit_colour_png(), target(), "16 bits in each of several channels.*to TIFF"),
    "16-bit colour TIFF as grey": (tiff(SIXTEEN_COLOUR, photometric="rgb"), target(1), "has colours"),
    "16-bit PPM": (netpbm("P6", SIXTEEN_COLOUR, 65535), target(), "a PPM of 16 bits in each of several channels"),
    "16-bit SGI": (sgi_of_16_bits(), target(), "a SGI of 16 bits in each of several channels"),
    "16-bit white is 0": (tiff(SIXTEEN, photometric="miniswhite"), target(1), "a deep TIFF of the kind"),
    "16-bit CMYK": (tiff(np.dstack([SIXTEEN] * 4), photometric="separated"), target(), "a deep TIFF of the kind"),
    "16-bit opacity in the colours": (
        tiff(np.dstack([SIXTEEN_COLOUR, SIXTEEN]), photometric="rgb", extrasamples=["assocalpha"]),
        target(4),
        "not all colours or opacity",
    ),
    "16-bit RGB and something": (
        tiff(np.dstack([SIXTEEN_COLOUR, SIXTEEN]), photometric="rgb", extrasamples=["unspecified"]),
        target(4),
        "not all colours or opacity",
    ),
    "five 8-bit channels": (tiff(np.dstack([GREY] * 5), photometric="rgb"), target(), "TIFF of 5 channels|read as"),
    "signed 8 bits": (tiff(GREY.astype(np.int8)), target(1), "signed 8-bit integers"),
    "LAB": (saved(LAB, "TIFF"), target(), "holds pixels of the kind LAB: convert it"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_and_why(kind):
    data, wanted, words = REFUSED[kind]
    with pytest.raises(PictureError, match=words):
        decode(data, wanted)


def test_what_overshoots_is_cut_off_and_does_not_wrap_round():
    """A step from black to white, made smaller: Lanczos' window goes beyond both."""
    step = np.zeros((64, 64), np.uint16)
    step[:, 33:] = 65535
    found = decode(tiff(step), target(1, (16, 16), levels=256))[0].astype(int)
    assert (np.diff(found, axis=1) >= -8).all()
    assert found[:, :7].max() < 16
    assert found[:, -7:].min() > 239


def test_colours_of_a_profile_become_those_of_srgb():
    """Of a profile whose red and blue change places with sRGB's."""
    swapped = ImageCms.createProfile("sRGB")
    data = bytearray(ImageCms.ImageCmsProfile(swapped).tobytes())
    # The tags of the red and the blue primary.
    data = bytes(data).replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")
    data = data.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")).replace(b"sRGB", b"swap")
    found = decode(saved(COLOUR, "PNG", icc_profile=data), target()).transpose(1, 2, 0).astype(int)
    assert np.abs(found - COLOUR[..., ::-1]).max() <= 2
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (decode(saved(COLOUR, "PNG", icc_profile=plain), target()).transpose(1, 2, 0) == COLOUR).all()


def test_a_huge_picture_is_refused_by_words(tmp_path):
    Image.new("1", (14_000, 14_000)).save(tmp_path / "huge.png")
    with pytest.raises(PictureError, match="has more pixels than are read.*196000000.*make it smaller"):
        decode((tmp_path / "huge.png").read_bytes(), target())
    with pytest.raises(PictureError, match="more pixels"):
        header(str(tmp_path / "huge.png"))


@pytest.mark.parametrize("shape", [(10, 30), (30, 10)])
def test_the_middle_is_cut_out(shape):
    array = np.zeros((*shape, 3), np.uint8)
    array[..., 0] = 255
    array[(slice(None), slice(10, 20)) if shape[0] == 10 else (slice(10, 20), slice(None))] = (0, 255, 0)
    # Ten pixels to ten: nothing is interpolated.
    found = decode(saved(array, "PNG"), target(3, (10, 10)))
    assert (found == np.array([0, 255, 0])[:, None, None]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF of 16 bits"])
def test_smaller_pictures_are_antialiased(kind):
    """Lines one pixel wide become their mean, and not one of the two."""
    lines = np.tile(np.array([0, 255], np.uint8), (64, 32))
    data = saved(lines, "PNG") if kind == "PNG" else tiff(lines.astype(np.uint16) * 257)
    # Away from the edges, where Lanczos' window is cut.
    inside = decode(data, target(1, (16, 16)))[0, 2:-2, 2:-2].astype(float)
    assert np.abs(inside - 127.5).max() < 8


def test_a_large_jpeg_is_the_same_though_a_fraction_is_decoded():
    """Smooth as photographs are; what is decoded is at least twice the size that is wanted."""
    y, x = np.mgrid[0:1024, 0:1536] / 1536
    smooth = np.dstack([np.sin(7 * x + 3 * y), np.cos(5 * y), np.sin(9 * x * y)])
    data = saved(((smooth + 1) * 127.5).astype(np.uint8), "JPEG", quality=95)
    found = decode(data, target(3, (64, 96))).astype(float)
    whole = np.asarray(Image.open(io.BytesIO(data)).resize((96, 64), Image.Resampling.LANCZOS), float)
    assert np.abs(found - whole.transpose(2, 0, 1)).max() <= 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(GREY, "PNG"), ((HEIGHT, WIDTH), False, False, False, False, 1)),
        (saved(RGBA, "PNG"), ((HEIGHT, WIDTH), True, True, False, False, 1)),
        (oriented(6), ((24, 16), True, False, False, False, 1)),
        (saved(SIXTEEN, "PNG"), ((HEIGHT, WIDTH), False, False, True, False, 1)),
        (tiff(SIXTEEN_COLOUR, photometric="rgb"), ((HEIGHT, WIDTH), True, False, True, False, 1)),
        (tiff(UNIT), ((HEIGHT, WIDTH), False, False, True, True, 1)),
        (oriented(6, "TIFF"), ((WIDTH, HEIGHT), True, False, False, False, 1)),
        (tiff(np.stack([SIXTEEN_COLOUR] * 5), photometric="rgb"), ((HEIGHT, WIDTH), True, False, True, False, 5)),
        (frames("WEBP"), ((HEIGHT, WIDTH), True, False, False, False, 3)),
        (saved(Image.fromarray(GREY).convert("P"), "GIF"), ((HEIGHT, WIDTH), False, False, False, False, 1)),
    ],
)
def test_a_header_says_what_the_picture_is(data, expected, tmp_path):
    assert header(data) == expected
    (tmp_path / "file").write_bytes(data)
    assert header(str(tmp_path / "file")) == expected
