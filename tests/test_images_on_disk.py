"""Images as they lie on disk: 8 bits are Pillow's, deeper ones lose nothing in silence, and
cameras' orientations."""

import functools
import io
import pickle
import re
import struct
import zlib

import joblib
import numpy as np
import pytest
import torch
from needs import needs
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import v2

from skdal.datasets import load_dataset, load_folder
from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    UnreadableSampleError,
)
from skdal.pools import ImageFolderPool, ParquetPool, SetAside, as_rgb

tifffile = needs("tifffile")

RNG = np.random.default_rng(0)
RAMP = np.arange(4096, dtype=np.uint16).reshape(
    64, 64
)  # all values of a camera of 12 bits
FULL = RNG.integers(0, 2**16, (6, 8), dtype=np.uint16)
COLOURS = RNG.integers(0, 2**16, (6, 8, 3), dtype=np.uint16)
WITH_ALPHA = RNG.integers(0, 2**16, (6, 8, 4), dtype=np.uint16)


def png(values, colour_type):
    """Return a PNG of 16 bits a channel, which Pillow writes of gray values alone."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(values, **how):
    out = io.BytesIO()
    tifffile.imwrite(out, values, **how)
    return out.getvalue()


def packed_tiff(values):
    """Return a TIFF of 12 bits a value, two of them in three bytes."""
    first, second = values.ravel()[::2].astype(int), values.ravel()[1::2].astype(int)
    data = (
        np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
        .astype(np.uint8)
        .tobytes()
    )
    tags = {
        256: values.shape[1],
        257: values.shape[0],
        258: 12,
        259: 1,
        262: 1,
        277: 1,
        278: values.shape[0],
    }
    tags |= {273: 8 + 2 + 12 * 9 + 4, 279: len(data)}
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())
    )
    return b"II*\0" + struct.pack("<IH", 8, 9) + entries + struct.pack("<I", 0) + data


def pgm(values, highest):
    return (
        b"P5 %d %d %d\n" % (*values.shape[::-1], highest)
        + values.astype(">u2").tobytes()
    )


def saved(image, ending, **how):
    out = io.BytesIO()
    image.save(out, ending, **how)
    return out.getvalue()


def folder(path, content, name="a.tif"):
    (path / name).write_bytes(content)
    return path


def levels(pool, i=0):
    """Return the first channel of an image of a pool, from 0 to 255."""
    return (pool[i][0] * 255).round().int().numpy()


def as_given(image):
    return torch.as_tensor(np.array(image).astype(np.float64))


# --- what is right stays as it is
# ---------------------------------------------------------------------------------

RGB = Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8))
EIGHT_BITS = {
    "RGB.png": (RGB, "PNG"),
    "gray.png": (RGB.convert("L"), "PNG"),
    "alpha.png": (RGB.convert("RGBA"), "PNG"),
    "gray and alpha.png": (RGB.convert("LA"), "PNG"),
    "palette.png": (RGB.convert("P"), "PNG"),
    "bilevel.png": (RGB.convert("1"), "PNG"),
    "gray.tif": (RGB.convert("L"), "TIFF"),
    "CMYK.tif": (RGB.convert("CMYK"), "TIFF"),
    "LAB.tif": (Image.merge("LAB", RGB.split()), "TIFF"),
    "bilevel.tif": (RGB.convert("1"), "TIFF"),
    "a.jpg": (RGB, "JPEG"),
    "CMYK.jpg": (RGB.convert("CMYK"), "JPEG"),
    "a.gif": (RGB, "GIF"),
    "a.webp": (RGB, "WEBP"),
    "a.bmp": (RGB, "BMP"),
    "a.ppm": (RGB, "PPM"),
}


@pytest.mark.parametrize("name", EIGHT_BITS)
@pytest.mark.parametrize("how", [{}, {"depth": 12}, {"exif": True}], ids=str)
def test_eight_bits_are_pillows(name, how, tmp_path):
    how = dict(how)
    image, ending = EIGHT_BITS[name]
    folder(tmp_path, saved(image, ending), name)
    expected = np.asarray(Image.open(tmp_path / name).convert("RGB"))
    given = []
    pool = ImageFolderPool(tmp_path, **how)
    assert np.array_equal((pool[0] * 255).round().numpy(), expected.transpose(2, 0, 1))
    how.pop("depth", None)
    ImageFolderPool(
        tmp_path, transform=lambda x: given.append(x) or torch.zeros(1), **how
    )[0]
    assert (given[0].mode, np.array_equal(np.asarray(given[0]), expected)) == (
        "RGB",
        True,
    )


GRAY = {
    "png": png(FULL, 0),
    "little-endian": tiff(FULL),
    "big-endian": tiff(FULL, byteorder=">"),
    "compressed": tiff(FULL, compression="zlib"),
    "pgm": pgm(FULL, 65535),
}


@pytest.mark.parametrize("content", GRAY.values(), ids=GRAY)
def test_gray_of_the_whole_of_16_bits(content, tmp_path):
    expected = np.rint(FULL / 257).astype(int)
    for depth in (None, 16):
        assert np.array_equal(
            levels(ImageFolderPool(folder(tmp_path, content), depth=depth)), expected
        )


OF_COLOURS = {
    "png": (png(COLOURS, 2), COLOURS),
    "png with alpha": (png(WITH_ALPHA, 6), WITH_ALPHA),
    "png of gray and alpha": (png(COLOURS[..., :2], 4), COLOURS[..., :2]),
    "little-endian": (tiff(COLOURS, photometric="rgb"), COLOURS),
    "big-endian": (tiff(COLOURS, photometric="rgb", byteorder=">"), COLOURS),
    "compressed": (tiff(COLOURS, photometric="rgb", compression="zlib"), COLOURS),
    "strips": (tiff(COLOURS, photometric="rgb", rowsperstrip=2), COLOURS),
    "tiles": (tiff(COLOURS, photometric="rgb", tile=(16, 16)), COLOURS),
    "with alpha": (
        tiff(WITH_ALPHA, photometric="rgb", extrasamples=["unassalpha"]),
        WITH_ALPHA,
    ),
    "and something": (
        tiff(WITH_ALPHA, photometric="rgb", extrasamples=["unspecified"]),
        WITH_ALPHA[..., :3],
    ),
}
of_colours = pytest.mark.parametrize(
    "content, values", OF_COLOURS.values(), ids=OF_COLOURS
)


@of_colours
def test_colours_of_16_bits(content, values, tmp_path):
    path = folder(tmp_path, content)
    with Image.open(path / "a.tif") as image:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal((ImageFolderPool(path)[0] * 255).round().numpy(), expected)
    of_12_bits = (
        ImageFolderPool(folder(tmp_path, content), transform=as_given)[0]
        .numpy()
        .astype(int)
    ) >> 4
    assert np.array_equal(of_12_bits, values >> 4)


# --- values deeper than 8 bits
# ------------------------------------------------------------------------------------

RAMPS = {
    "png": png(RAMP, 0),
    "tiff": tiff(RAMP),
    "colours": png(np.stack([RAMP, RAMP.T, RAMP[::-1]], 2), 2),
    "gray and alpha": png(np.stack([RAMP, 4095 - RAMP], 2), 4),
    "tiff of colours": tiff(np.stack([RAMP, RAMP.T, RAMP[::-1]], 2), photometric="rgb"),
}
ramps = pytest.mark.parametrize("content", RAMPS.values(), ids=RAMPS)


@ramps
def test_12_bits_in_16_are_refused(content, tmp_path):
    pool = ImageFolderPool(folder(tmp_path, content))
    words = (
        r"a.tif: its values go up to 4095 where 16 bits could hold 65535.* would keep 1[67] "
        r"of "
        r"4096 levels. Pass depth="
    )
    for read in (pool.__getitem__, pool.picture):
        with pytest.raises(UnreadableSampleError, match=words):
            read(0)


@ramps
def test_12_bits_in_16_with_a_depth(content, tmp_path):
    expected = np.rint(RAMP * (255 / 4095)).astype(int)
    assert len(np.unique(expected)) == 256
    assert np.array_equal(
        levels(ImageFolderPool(folder(tmp_path, content), depth=12)), expected
    )


@ramps
def test_a_transform_sees_all_levels(content, tmp_path):
    seen = ImageFolderPool(folder(tmp_path, content), transform=as_given)[0].numpy()
    seen = seen[..., 0] if seen.ndim == 3 else seen
    assert np.array_equal(seen, RAMP)


@pytest.mark.parametrize("bits, shift", [(8, 8), (10, 6), (12, 4), (14, 2), (15, 1)])
def test_files_that_say_it_themselves(bits, shift, tmp_path):
    values = FULL >> shift
    expected = np.rint(values * (255 / (2**bits - 1))).astype(int)
    if bits > 8:
        pool = ImageFolderPool(folder(tmp_path, pgm(values, 2**bits - 1)))
        assert np.array_equal(levels(pool), expected)
        assert np.array_equal(ImageFolderPool(tmp_path, transform=as_given)[0], values)
    if bits == 12:
        folder(tmp_path, packed_tiff(values))
        assert np.array_equal(levels(ImageFolderPool(tmp_path)), expected)
        assert np.array_equal(levels(ImageFolderPool(tmp_path, depth=16)), expected)
        assert np.array_equal(ImageFolderPool(tmp_path, transform=as_given)[0], values)
    assert np.array_equal(
        levels(ImageFolderPool(folder(tmp_path, tiff(values)), depth=bits)), expected
    )


@pytest.mark.parametrize("highest", [256, 1000, 1023, 4095, 9999, 16383, 65534, 65535])
def test_the_white_of_a_pgm(highest, tmp_path):
    values = np.linspace(0, highest, 6000).astype(np.uint16).reshape(60, 100)
    pool = ImageFolderPool(folder(tmp_path, pgm(values, highest)))
    with Image.open(tmp_path / "a.tif") as image:
        by_pillow = np.rint(np.asarray(image) / 257)
    assert np.array_equal(levels(pool), by_pillow)
    assert np.array_equal(ImageFolderPool(tmp_path, transform=as_given)[0], values)


def test_gray_with_a_white_zero(tmp_path):
    """Pillow turns 8 bits over, and leaves 16 bits as they are."""
    eight, sixteen = (FULL >> 8).astype(np.uint8), (FULL >> 8) * 257
    (tmp_path / "8.tif").write_bytes(tiff(eight, photometric="miniswhite"))
    (tmp_path / "16.tif").write_bytes(tiff(sixteen, photometric="miniswhite"))
    pool = ImageFolderPool(tmp_path)
    assert np.array_equal(levels(pool, 0), 255 - eight.astype(int))
    assert np.array_equal(levels(pool, 1), 255 - eight.astype(int))


DARK = {
    "black": 0,
    "one level": 4000,
    "two levels that stay two": np.array([[0, 257]] * 3),
}


@pytest.mark.parametrize("values", DARK.values(), ids=DARK)
def test_images_that_lose_nothing(values, tmp_path):
    values = np.broadcast_to(values, (3, 2)).astype(np.uint16)
    assert np.array_equal(
        levels(ImageFolderPool(folder(tmp_path, png(values, 0)))), np.rint(values / 257)
    )


def test_a_dark_image_of_16_bits(tmp_path):
    pool = ImageFolderPool(folder(tmp_path, png(RAMP, 0)), depth=16)
    assert np.array_equal(levels(pool), np.rint(RAMP / 257))


STORED = {
    "int8": (np.array([[-128, -1, 0, 127]], np.int8), "signed integers of 8 bits"),
    "int16": (
        np.array([[-1024, 0, 3000, 32767]], np.int16),
        "signed integers of 16 bits",
    ),
    "int32": (
        np.array([[-5, 0, 7, 2**31 - 1]], np.int32),
        "signed integers of 32 bits",
    ),
    "uint32": (np.array([[0, 7, 2**31, 2**32 - 1]], np.uint32), "integers of 32 bits"),
    "float32": (
        np.array([[-1.5, 0, 1e-9, 3e9]], np.float32),
        "floating-point numbers of 32 bits",
    ),
}
stored = pytest.mark.parametrize("values, words", STORED.values(), ids=STORED)


@stored
def test_values_without_a_white(values, words, tmp_path):
    pool = ImageFolderPool(folder(tmp_path, tiff(values)))
    for read in (pool.__getitem__, pool.picture):
        with pytest.raises(
            UnreadableSampleError,
            match=f"a.tif: its values are {words}, of which nothing says what is",
        ):
            read(0)
    given = []
    raw = ImageFolderPool(
        tmp_path, transform=lambda x: given.append(x) or torch.zeros(1)
    )
    raw[0]
    assert given[0].dtype == values.dtype
    assert np.array_equal(given[0], values)
    assert given[0].flags.writeable
    assert raw.picture(0).size == (4, 1)


def test_signed_integers_of_the_other_byte_order(tmp_path):
    values = STORED["int16"][0]
    seen = ImageFolderPool(
        folder(tmp_path, tiff(values, byteorder=">")), transform=as_given
    )[0]
    assert np.array_equal(seen, values)


def test_a_picture_of_values_with_gaps(tmp_path):
    values = np.array([[np.nan, 1.0, 3.0, np.inf]], np.float32)
    pool = ImageFolderPool(folder(tmp_path, tiff(values)), transform=as_given)
    assert np.asarray(pool.picture(0))[0, :, 0].tolist() == [0, 0, 255, 0]


UNKNOWN = {
    "float64": (
        tiff(FULL / 7),
        "it is a TIFF of a kind that Pillow does not open.*MemmapPool",
    ),
    "float16": (tiff(np.float16(FULL)), "it is a TIFF of a kind"),
    "five channels": (
        tiff(np.zeros((6, 8, 5), np.uint8), planarconfig="contig"),
        "it is a TIFF of a kind",
    ),
    "text": (b"no image", "Pillow knows no image of that kind, or the file is damaged"),
    "nothing": (b"", "Pillow knows no image of that kind"),
}


@pytest.mark.parametrize("content, words", UNKNOWN.values(), ids=UNKNOWN)
def test_what_pillow_does_not_open(content, words, tmp_path):
    pa, pq = needs("pyarrow"), needs("pyarrow.parquet")
    pq.write_table(pa.table({"image": [content]}), tmp_path / "x.parquet")
    for pool in (
        ImageFolderPool(folder(tmp_path, content)),
        ParquetPool(tmp_path / "x.parquet"),
    ):
        with pytest.raises(
            UnreadableSampleError, match=f"(a.tif|x.parquet:0): {words}"
        ):
            pool[0]


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32"])
def test_integers_with_a_depth(dtype, tmp_path):
    pool = ImageFolderPool(folder(tmp_path, tiff(RAMP.astype(dtype))), depth=12)
    assert np.array_equal(levels(pool), np.rint(RAMP * (255 / 4095)))


BEYOND = [
    (
        tiff(RAMP),
        10,
        "from 0 to 4095, and those of 10 bits from 0 to 1023. Pass another depth=",
    ),
    (tiff(STORED["int16"][0]), 16, "from -1024 to 32767"),
    (tiff(STORED["float32"][0]), 16, "floating-point numbers.*A transform= of a pool"),
]


@pytest.mark.parametrize("content, depth, words", BEYOND)
def test_values_beyond_a_depth(content, depth, words, tmp_path):
    with pytest.raises(UnreadableSampleError, match=words):
        ImageFolderPool(folder(tmp_path, content), depth=depth)[0]


PLANES = {"photometric": "rgb", "planarconfig": "separate"}


def test_colours_that_pillow_gives_8_bits_of(tmp_path):
    ppm = b"P6 8 6 4095\n" + (COLOURS >> 4).astype(">u2").tobytes()
    premultiplied = tiff(WITH_ALPHA, photometric="rgb", extrasamples=["assocalpha"])
    planes = tiff(COLOURS.transpose(2, 0, 1), compression="zlib", **PLANES)
    of_cmyk = tiff(WITH_ALPHA, photometric="separated")
    kinds = [
        (ppm, "a PPM"),
        (of_cmyk, "CMYK;16L"),
        (planes, "RGB;16N"),
        (premultiplied, "RGBa;16L"),
    ]
    for content, kind in kinds:
        path = folder(tmp_path, content)
        with Image.open(path / "a.tif") as image:
            expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        assert np.array_equal(
            (ImageFolderPool(path)[0] * 255).round().numpy(), expected
        )
        with pytest.raises(
            UnreadableSampleError,
            match=f"a.tif: its colours.* of {kind} Pillow gives no more than 8",
        ):
            ImageFolderPool(path, transform=as_given)[0]
    with pytest.raises(
        UnreadableSampleError, match="depth=12 cannot be heeded: of RGBa;16L"
    ):
        ImageFolderPool(path, depth=12)[0]


def test_planes_that_pillow_misreads(tmp_path):
    content = tiff(COLOURS.transpose(2, 0, 1), **PLANES)
    for how in ({}, {"transform": as_given}):
        with pytest.raises(
            UnreadableSampleError,
            match="a.tif: its colours of 16 bits lie in planes of their own",
        ):
            ImageFolderPool(folder(tmp_path, content), **how)[0]


def test_images_of_pil():
    assert np.array_equal(
        np.asarray(as_rgb(Image.fromarray(FULL)))[..., 0], np.rint(FULL / 257)
    )
    with pytest.raises(InvalidDataError, match="its values go up to 4095"):
        as_rgb(Image.fromarray(RAMP))
    assert len(np.unique(np.asarray(as_rgb(Image.fromarray(RAMP), depth=12)))) == 256


@pytest.mark.parametrize(
    "content", [*RAMPS.values(), *(tiff(v) for v, _ in STORED.values())]
)
def test_values_are_scaled_in_their_own_type(content, tmp_path):
    whole = ImageFolderPool(folder(tmp_path, content), transform=as_given)[0].numpy()
    seen = ImageFolderPool(
        tmp_path, size=2, transform=lambda x: torch.as_tensor(x.astype(np.float64))
    )[0].numpy()
    assert seen.shape == (2, 2, *whole.shape[2:])
    assert (whole.min() <= seen.min()) & (seen.max() <= whole.max())


def test_scaled_values_are_those_of_pillow(tmp_path):
    """8 bits in 16 are scaled as 8 bits are, but for the last bit."""
    image = RNG.integers(0, 256, (40, 60), dtype=np.uint8)
    (tmp_path / "a.tif").write_bytes(tiff(image))
    (tmp_path / "b.tif").write_bytes(tiff(image.astype(np.uint16)))
    pool = ImageFolderPool(tmp_path, size=16, transform=as_given)
    assert (pool[0][..., 0] - pool[1]).abs().max() <= 1


def test_transforms_of_torchvision(tmp_path):
    (tmp_path / "8.png").write_bytes(saved(RGB, "PNG"))
    (tmp_path / "deep.png").write_bytes(png(FULL, 0))
    gray = v2.Compose(
        [
            v2.ToImage(),
            v2.Grayscale(),
            v2.Resize(4),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    pool = ImageFolderPool(tmp_path, transform=gray)
    assert [pool[i].shape for i in range(2)] == [(1, 4, 5)] * 2
    assert 0.2 < pool[1].mean() < 0.8
    older = transforms.Compose([transforms.Resize(4), transforms.ToTensor()])
    aside = SetAside(ImageFolderPool(tmp_path, transform=older))
    assert torch.equal(aside[0], aside[1])
    assert re.match(
        r"deep.png: transform fails on.*\(6, 8\) of uint16 \(TypeError: .*ToImage",
        aside.unreadable()[0].reason,
    )


# --- orientation
# --------------------------------------------------------------------------------------------------

WAYS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF"}
QUARTERS = Image.fromarray(
    np.kron(
        RNG.integers(0, 256, (2, 3, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8)
    )
)


def oriented(image, orientation, ending):
    exif = Image.Exif()
    exif[0x112] = orientation
    return saved(image, ending, exif=exif)


orientations = pytest.mark.parametrize("orientation", range(1, 9))


@orientations
@pytest.mark.parametrize("ending", WAYS)
@pytest.mark.parametrize("size", [None, 8])
def test_orientation(orientation, ending, size, tmp_path):
    name = f"a.{ending}"
    folder(tmp_path, oriented(QUARTERS, orientation, WAYS[ending]), name)
    with Image.open(tmp_path / name) as image:
        turned = ImageOps.exif_transpose(image).convert("RGB")
    found = ImageFolderPool(tmp_path, size, exif=True)
    if size is None:
        assert np.array_equal(
            (found[0] * 255).round().numpy(), np.asarray(turned).transpose(2, 0, 1)
        )
        assert np.array_equal(np.asarray(found.picture(0)), np.asarray(turned))
    (tmp_path / "b").mkdir()
    turned.save(tmp_path / "b/b.png")
    assert torch.equal(found[0], ImageFolderPool(tmp_path / "b", size)[0])
    seen = ImageFolderPool(tmp_path, size, exif=True, transform=as_given)[0]
    assert torch.equal(seen.permute(2, 0, 1), (found[0] * 255).round().double())


@orientations
def test_orientation_of_deep_values(orientation, tmp_path):
    folder(tmp_path, oriented(Image.fromarray(FULL), orientation, "PNG"), "a.png")
    with Image.open(tmp_path / "a.png") as image:
        turned = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(
        ImageFolderPool(tmp_path, exif=True, transform=as_given)[0], turned
    )
    assert np.array_equal(
        levels(ImageFolderPool(tmp_path, exif=True)), np.rint(turned / 257)
    )
    assert np.array_equal(ImageFolderPool(tmp_path, transform=as_given)[0], FULL)


def test_images_are_not_turned_unasked(tmp_path):
    folder(tmp_path, oriented(QUARTERS, 6, "PNG"), "a.png")
    pool = ImageFolderPool(tmp_path)
    assert pool[0].shape == (3, 16, 24)
    assert pool.picture(0).size == (24, 16)


# --- every reader ---------------------------------------------------------------------------------
# ------------------

READING = [{}, {"exif": True}, {"depth": 12}]


def test_fingerprints_tell_ways_of_reading_apart(tmp_path):
    folder(tmp_path, saved(RGB, "PNG"), "a.png")
    found = [
        joblib.hash(ImageFolderPool(tmp_path, **how).fingerprint())
        for how in (*READING, *READING)
    ]
    assert len(set(found)) == 3
    assert found[:3] == found[3:]


def test_ways_of_reading_travel(tmp_path):
    folder(tmp_path, oriented(Image.fromarray(RAMP[:60]), 6, "PNG"), "a.png")
    pool = pickle.loads(pickle.dumps(ImageFolderPool(tmp_path, exif=True, depth=12)))
    assert np.array_equal(levels(pool), np.rint(RAMP[:60].T[:, ::-1] * (255 / 4095)))


def test_parquet(tmp_path):
    pa, pq = needs("pyarrow"), needs("pyarrow.parquet")
    values = [
        oriented(Image.fromarray(RAMP[:60]), 8, "PNG"),
        oriented(QUARTERS, 8, "PNG"),
    ]
    pq.write_table(pa.table({"image": values}), tmp_path / "x.parquet")
    pool = functools.partial(ParquetPool, tmp_path / "x.parquet", exif=True)
    with pytest.raises(UnreadableSampleError, match="x.parquet:0: its values go up to"):
        pool()[0]
    turned = RAMP[:60].T[::-1]
    assert np.array_equal(levels(pool(depth=12)), np.rint(turned * (255 / 4095)))
    assert np.array_equal(pool(transform=as_given)[0], turned)
    assert pool().picture(1).size == (16, 24)
    assert (
        len(
            {
                joblib.hash(ParquetPool(tmp_path / "x.parquet", **how).fingerprint())
                for how in READING
            }
        )
        == 3
    )


def test_labeled_folders(tmp_path):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            content = oriented(Image.fromarray(RAMP), 6, "PNG")
            (tmp_path / "photos" / part / name / "1.png").write_bytes(content)
    for load in (
        functools.partial(load_folder, tmp_path / "photos"),
        functools.partial(load_dataset, "photos", tmp_path),
    ):
        with pytest.raises(
            InvalidDataError, match=r"1.png: its values go up to 4095.* Pass depth="
        ):
            load()
        images = load(exif=True, depth=12).test.images
        assert np.array_equal(
            images[0, ..., 0], np.rint(RAMP.T[:, ::-1] * (255 / 4095))
        )
    data = load_folder(tmp_path / "photos", exif=True, depth=12)
    parts = {"X_train": data.train.images, "y_train": data.train.targets}
    np.savez(
        tmp_path / "x.npz", X_test=data.test.images, y_test=data.test.targets, **parts
    )
    assert torch.equal(load_dataset("x.npz", tmp_path).train[1][0], data.train[1][0])
    with pytest.raises(
        InvalidParameterError,
        match="exif= and depth= are for folders of images, and 'digits' is none",
    ):
        load_dataset("digits", exif=True)


@pytest.mark.parametrize(
    "how, words",
    [
        ({"exif": "yes"}, "exif must be True or False; got 'yes'"),
        ({"depth": 0}, "from 1 to 32.*got 0"),
        ({"depth": 33}, "from 1 to 32.*got 33"),
        ({"depth": 12.0}, "from 1 to 32.*got 12.0"),
        (
            {"size": 0},
            "size must be None or an integer of at least 1, in pixels; got 0",
        ),
    ],
)
def test_wrong_parameters(how, words, tmp_path):
    folder(tmp_path, saved(RGB, "PNG"), "a.png")
    with pytest.raises(InvalidParameterError, match=words):
        ImageFolderPool(tmp_path, **how)
    with pytest.raises(InvalidParameterError, match=words):
        load_folder(tmp_path, **how)


def test_a_depth_beside_a_transform(tmp_path):
    folder(tmp_path, saved(RGB, "PNG"), "a.png")
    with pytest.raises(
        InvalidParameterError,
        match="depth=12 is for images that become 8 bits.*pass one of the two",
    ):
        ImageFolderPool(tmp_path, depth=12, transform=as_given)
