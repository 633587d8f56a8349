"""The black-box recogniser: preprocessing, decoding, what it refuses; on real lines, how well it reads."""

import io
import sys

import jiwer
import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import tiny_onnx
from PIL import Image
from places import SHARED

from textkd.errors import TextkdError
from textkd.teachers.generation.recogniser import Reading, Recogniser, decode

COLOURS = {"a": (0, 255, 0), " ": (255, 0, 0), "-": (0, 0, 255)}


def line(letters: str, height: int = 48) -> Image.Image:
    """Letters of 24 pixels at height 48, the blank between any two."""
    letters = "-".join(letters)
    pixels = np.array([[COLOURS[letter] for letter in letters]], np.uint8).repeat(height, 0).repeat(height // 2, 1)
    return Image.fromarray(pixels)


@pytest.fixture
def reader(tmp_path):
    return Recogniser(tiny_onnx.make(tmp_path / "tiny.onnx"), batch_size=2, threads=1)


@pytest.mark.parametrize("letters", ["a", "aa a", "a" * 100, "a aa " * 30 + "a"])
@pytest.mark.parametrize("height", [48, 96])
def test_a_line_is_read_at_its_aspect_however_wide(reader, letters, height):
    (reading,) = reader.read([line(letters, height)])
    assert reading.text == letters
    assert 0.9 < reading.lowest <= reading.confidence <= 1


def test_lines_come_back_in_their_order_whatever_the_batches(reader, tmp_path):
    images = [line("a" * count) for count in (30, 1, 12, 5, 30, 3, 12)]
    readings = reader.read(images)
    assert [len(reading.text) for reading in readings] == [30, 1, 12, 5, 30, 3, 12]
    alone = Recogniser(tmp_path / "tiny.onnx", batch_size=1, threads=1)
    assert [alone.read([image])[0].text for image in images] == [reading.text for reading in readings]
    assert reader(images) == [(reading.text, reading.confidence) for reading in readings]
    assert reader.read([]) == []


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_grey_is_read_as_nothing_without_confidence(reader, mode):
    assert reader.read([Image.new("RGB", (200, 40), "white").convert(mode)]) == [Reading("", 0.0, 0.0)]


def test_decoding_joins_repeats_and_leaves_blanks_out():
    frames = np.array([[0.1, 0.9, 0], [0.4, 0.6, 0], [0.8, 0.2, 0], [0.3, 0.7, 0], [0, 0.5, 0.5], [0.1, 0.1, 0.8]])
    reading = decode(frames.astype(np.float32), ["", "x", "y"])
    assert reading.text == "xxy"
    assert reading.confidence == pytest.approx((0.9 + 0.7 + 0.8) / 3)
    assert reading.lowest == pytest.approx(0.7)


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    made = [Recogniser(tiny_onnx.make(tmp_path / f"{i}.onnx", characters=c)) for i, c in enumerate([b"a", b"a", b"b"])]
    same, again, other = (one.fingerprint() for one in made)
    assert same == again != other


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sizes": ("batch", 1, 48, "width")}, r"x \['batch', 1, 48, 'width'\]"),
        ({"sizes": ("batch", 3, 32, "width")}, r"\[batch, 3, 48, width\] of float"),
        ({"sizes": ("batch", 3, 48, 640)}, r"x \['batch', 3, 48, 640\]"),
        ({"inputs": 2}, "other0"),
        ({"characters": None}, "no 'character' list"),
        ({"characters": b"a\nb"}, r"3\] with 4 classes"),
        ({"softmax": False}, "not probabilities"),
    ],
)
def test_a_model_of_another_kind_is_refused(tmp_path, changes, said):
    with pytest.raises(TextkdError, match=said):
        Recogniser(tiny_onnx.make(tmp_path / "other.onnx", **changes))


def test_files_that_are_no_model_are_refused(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(tiny_onnx.make(tmp_path / "whole.onnx").read_bytes()[:100])
    with pytest.raises(TextkdError, match=r"the recogniser .*broken.onnx[\s\S]*download or copy the file again"):
        Recogniser(tmp_path / "broken.onnx")
    onnx.save_model(
        onnx.load(tmp_path / "whole.onnx"), tmp_path / "two.onnx", save_as_external_data=True, location="two.bin",
        size_threshold=0,
    )  # fmt: skip
    with pytest.raises(TextkdError, match=r"two\.bin[\s\S]*in this one file"):
        Recogniser(tmp_path / "two.onnx")
    with pytest.raises(TextkdError, match=r"no such file[\s\S]*nearest: whole.onnx"):
        Recogniser(tmp_path / "whol.onnx")
    with pytest.raises(TextkdError, match="a folder"):
        Recogniser(tmp_path)


def test_a_missing_onnxruntime_is_told_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(TextkdError, match=r"pip install 'textkd\[ppocr\]'"):
        Recogniser(tiny_onnx.make(tmp_path / "tiny.onnx"))


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"threads": 0}])
def test_numbers_below_one_are_refused(tmp_path, settings):
    with pytest.raises(TextkdError, match="not a number from 1"):
        Recogniser(tiny_onnx.make(tmp_path / "tiny.onnx"), **settings)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.new("RGBA", (100, 10)), "mode RGBA"),
        (Image.new("I;16", (100, 10)), "mode I;16"),
    ],
)
def test_what_is_no_line_is_refused(reader, image, said):
    with pytest.raises(TextkdError, match=said):
        reader.read([line("a"), image])


def test_nothing_is_read_in_what_is_too_wide_for_a_line(reader, caplog):
    wide, a = Image.new("RGB", (1000, 1)), line("a")
    alone = reader.read([a])[0]
    assert reader.read([a, wide, a]) == [alone, ("", 0.0, 0.0), alone]
    assert reader.prepared([wide, a])() == [("", 0.0, 0.0), alone]
    assert "nothing is read in it: an image 1000 pixels wide, 1 high" in caplog.text


def lines_of(name: str, count: int) -> tuple[list[Image.Image], list[str]]:
    """`count` dev lines, evenly spaced."""
    file = SHARED / "data" / name / "dev.parquet"
    if not file.is_file():
        pytest.skip(f"{file} is not here (TEXTKD_SHARED)")
    rows = pq.read_table(file).to_pylist()
    rows = rows[:: len(rows) // count][:count]
    return [Image.open(io.BytesIO(row["image"]["bytes"])) for row in rows], [row["text"] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("ocr_oldbooks", 0.015), ("ocr_sroie", 0.05)])
def test_the_real_model_reads_real_lines(name, most):
    images, texts = lines_of(name, 60)
    model = SHARED / "models" / "ppocrv6-rec-small" / "PP-OCRv6_rec_small.onnx"
    readings = Recogniser(model, threads=1).read(images)
    # the receipts are transcribed in upper case
    read = [reading.text.upper() if name == "ocr_sroie" else reading.text for reading in readings]
    assert jiwer.cer(texts, read) <= most
    wrong = [reading.confidence for reading, text, one in zip(readings, texts, read, strict=True) if text != one]
    assert np.mean(wrong) < np.mean([reading.confidence for reading in readings])
