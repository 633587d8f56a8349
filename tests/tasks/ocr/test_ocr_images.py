"""`open_image`: every mode, EXIF, depth and transparency; and every kind of image that is none."""

import random
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
from line_files import encoded, line_image, png_of_size
from PIL import Image

from textkd.errors import TextkdError
from textkd.models import images
from textkd.models.images import image_size, open_image

MODES = [
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I",
    "F",
    "I;16",
    "RGBX",
    "La",
    "RGBa",
]


def halves(mode):
    """Black on the left, white on the right."""
    image = Image.new("L", (8, 4), 0)
    image.paste(255, (4, 0, 8, 4))
    if mode in ("LAB", "I;16"):
        wide = np.where(np.asarray(image) > 0, 65535, 0).astype(np.uint16)
        return (
            Image.fromarray(wide) if mode == "I;16" else Image.merge("LAB", [image, *[Image.new("L", (8, 4), 128)] * 2])
        )
    if mode in ("La", "RGBa"):
        return image.convert(mode.upper()).convert(mode)
    return image.convert("RGB").convert(mode) if mode in ("HSV", "PA", "P") else image.convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb_of_its_own(mode):
    image = halves(mode)
    before = image.tobytes()
    made = open_image(image)
    assert (made.mode, made.size) == ("RGB", (8, 4))
    assert made.getpixel((0, 0)) == (0, 0, 0)
    assert made.getpixel((7, 3)) == (255, 255, 255)
    made.paste((9, 9, 9), (0, 0, 8, 4))
    assert image.mode == mode
    assert image.tobytes() == before


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparent_parts_are_white_paper(kind):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((0, 0), (10, 20, 30, 255))
    image.putpixel((1, 0), (0, 0, 0, 51))
    made = open_image(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert [made.getpixel((x, 0)) for x in range(3)] == [(10, 20, 30), (204, 204, 204), (255, 255, 255)]


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_white_paper(mode):
    image = Image.new(mode, (4, 4), 0)
    key = (0, 0, 0) if mode == "RGB" else 0
    made = open_image(encoded(image, "PNG", transparency=key))
    assert made.getpixel((0, 0)) == (255, 255, 255)
    assert open_image(encoded(image)).getpixel((0, 0)) == (0, 0, 0)


def test_sixteen_bits_are_scaled_and_not_clipped():
    values = np.array([[0, 257, 32896, 65535]] * 2, dtype=np.uint16)
    for data in (values, encoded(Image.fromarray(values)), encoded(Image.fromarray(values), "TIFF")):
        assert np.asarray(open_image(data))[0, :, 0].tolist() == [0, 1, 128, 255]
    as_int = Image.fromarray(values.astype(np.int32))
    assert as_int.mode == "I"
    assert np.asarray(open_image(as_int))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 2048, 4095], np.uint16), [0, 128, 255]),
        (np.array([0, 7, 255], np.int32), [0, 7, 255]),
        (np.array([0, 0.5, 1.0], np.float32), [0, 128, 255]),
        (np.array([0, 99.6, 255.0]), [0, 100, 255]),
        (np.array([-1.0, 0.0, 1.0]), [0, 128, 255]),
        (np.array([0, 1 << 19, 1 << 20], np.int64), [0, 128, 255]),
        (np.array([False, True, True]), [0, 255, 255]),
        (np.array([3, 3, 3], np.uint8), [3, 3, 3]),
    ],
)
def test_numbers_keep_their_order(values, expected):
    array = np.stack([values, values])
    assert np.asarray(open_image(array))[0, :, 0].tolist() == expected
    assert np.asarray(open_image(array[..., None]))[1, :, 2].tolist() == expected


def test_colour_arrays():
    array = np.zeros((2, 3, 3), dtype=np.uint8)
    array[0, 1] = (1, 2, 3)
    assert open_image(array).getpixel((1, 0)) == (1, 2, 3)
    clear = np.zeros((2, 3, 4), dtype=np.uint8)
    assert open_image(clear).getpixel((1, 0)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_is_applied(orientation, kind):
    upright = Image.new("L", (24, 8), 255)
    upright.paste(0, (0, 0, 8, 4))  # ink in the upper left corner
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.convert("RGB") if turn is None else upright.convert("RGB").transpose(turn)
    made = open_image(encoded(stored, kind, exif=exif))
    assert made.size == (24, 8)
    assert [made.getpixel(at)[0] > 128 for at in ((2, 1), (20, 1), (2, 6), (20, 6))] == [False, True, True, True]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_an_exif_block_that_cannot_be_read_leaves_the_image_as_it_is():
    data = encoded(line_image(), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\x01\x12")
    assert open_image(data).size == (40, 16)


def test_sources(tmp_path):
    path = tmp_path / "a b.png"
    line_image().save(path)
    data = path.read_bytes()
    sources = [path, str(path), data, bytearray(data), Image.open(path), {"bytes": data, "path": "gone.png"}]
    sources += [{"bytes": None, "path": str(path)}, np.asarray(line_image())]
    assert {open_image(source).tobytes() for source in sources} == {line_image(mode="RGB").tobytes()}
    assert {image_size(source) for source in sources} == {(40, 16)}


def test_the_first_frame_counts():
    frames = [Image.new("L", (8, 8), tone) for tone in (0, 255)]
    data = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert open_image(data).getpixel((0, 0)) == (0, 0, 0)


def told(data, function=open_image, **options):
    with pytest.raises(TextkdError) as caught:
        function(data, "x.parquet, row 7", **options)
    message = str(caught.value)
    assert message.startswith("asked: x.parquet, row 7: ")
    return message


@pytest.mark.parametrize("function", [open_image, image_size])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "found: 0 bytes"),
        (b"hello, this is no image", "bytes of no known image format\n  fix: formats that are read: PNG, JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "bytes of no known image format"),
        (None, "no value"),
        (5, "a int\n  fix: give encoded bytes, a path"),
        ({"bytes": None, "path": None}, "neither bytes nor a path, but the keys bytes, path"),
        ({"bytes": b"", "path": ""}, "neither bytes nor a path"),
        ("https://example.org/a.png", "fix: download it first"),
        (Image.new("L", (0, 5)), "0 pixels wide, 5 high"),
        (Image.new("L", (30, 1)), "2 x 2 pixels or more\n  found: 30 pixels wide, 1 high"),
        (encoded(Image.new("L", (30, 1))), "30 pixels wide, 1 high"),
        (np.zeros((0, 5), np.uint8), "the shape [0, 5]: no pixels"),
        (np.zeros((2, 5, 2), np.uint8), "the shape [2, 5, 2]"),
        (np.zeros(5, np.uint8), "the shape [5]"),
        (np.full((2, 2), np.nan), "NaN or infinite"),
        (np.array([["a", "b"]] * 2), "dtype <U1"),
    ],
)
def test_what_is_no_image(data, words, function):
    assert words in told(data, function)


def test_files_that_are_not_there(tmp_path):
    line_image().save(tmp_path / "line_1.png")
    (tmp_path / "empty").touch()
    assert "no such file\n  nearest: line_1.png\n  fix: correct the path" in told(tmp_path / "line_2.png")
    assert f"no such folder as {tmp_path / 'gone'}" in told(tmp_path / "gone" / "a.png")
    assert "found: a folder" in told(tmp_path)
    assert "the file has 0 bytes" in told(tmp_path / "empty")


@pytest.mark.parametrize("function", [open_image, image_size])
def test_bombs_are_refused_before_they_are_decoded(function, monkeypatch):
    words = "at most 64,000,000 pixels\n  found: 8,001 x 8,000 = 64,008,000 pixels (a decompression bomb"
    assert words in told(png_of_size(8001, 8000), function)
    assert "a decompression bomb: Image size (4000000000 pixels)" in told(png_of_size(80000, 50000), function)
    assert "of at most 600 pixels" in told(line_image(), function, max_pixels=600)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # ours holds without Pillow's
    assert "80,000 x 50,000" in told(png_of_size(80000, 50000), function)


@pytest.mark.long
def test_a_bomb_in_a_text_chunk_is_refused():
    chunk = b"zTXtkey\0\0" + zlib.compress(b"\0" * (1 << 26))
    text = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    data = encoded(line_image())
    assert "cut short" in told(data[:33] + text + data[33:])


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "JPEG2000"])
def test_cut_and_spoilt_bytes_are_told_or_survived(kind):
    noise = np.random.default_rng(0).integers(0, 256, (24, 40), dtype=np.uint8)
    data = encoded(Image.fromarray(noise).convert("RGB"), kind)
    for length in range(1, len(data) // 2, max(1, len(data) // 40)):
        assert told(data[:length])
    rng = random.Random(0)
    for _ in range(150):
        spoilt = bytearray(data)
        for _ in range(4):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        with suppress(TextkdError):  # and nothing else
            assert open_image(bytes(spoilt), "x").mode == "RGB"


@pytest.mark.parametrize("mode", MODES)
def test_a_large_image_is_read_in_bands(mode, monkeypatch):
    """Alike to the last pixel, whatever fits into a band."""
    rng = np.random.default_rng(0)
    image = halves(mode).resize((31, 17)) if mode in ("La", "RGBa") else halves(mode).crop((0, 0, 7, 4))
    if mode in ("I", "F", "I;16"):
        image = Image.fromarray(rng.integers(0, 4000, (17, 31)).astype({"I": "i4", "F": "f4", "I;16": "u2"}[mode]))
    whole = np.asarray(open_image(image))
    monkeypatch.setattr(images, "BAND", 40)
    assert np.array_equal(np.asarray(open_image(image)), whole)


def test_an_array_is_read_in_bands(monkeypatch):
    for kind, more in ((">u2", ()), ("f8", (3,)), ("?", ()), ("i4", (1,))):
        array = (np.random.default_rng(0).random((17, 31, *more)) * 3000 - 20 * (kind == "i4")).astype(kind)
        monkeypatch.setattr(images, "BAND", 10**6)
        whole = np.asarray(open_image(array))
        monkeypatch.setattr(images, "BAND", 40)
        assert np.array_equal(np.asarray(open_image(array)), whole)


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_depth_takes_no_memory(mode, monkeypatch):
    """Of a million pixels, what Pillow does not hold itself is a part: numbers of 8 bytes are made of a band alone."""
    monkeypatch.setattr(images, "BAND", 10_000)
    image = Image.new(mode, (1000, 1000))
    tracemalloc.start()
    open_image(image)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2_000_000
