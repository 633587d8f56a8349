"""Small line images and files of them for the tests of OCR data."""

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image, ImageDraw


def line_image(text="ab", size=(40, 16), mode="L"):
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).text((2, 2), text, fill=0)
    return image.convert(mode)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_size(width, height):
    """A PNG that claims a size and has next to no pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def parquet(path, rows, **columns):
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, **columns), path)
    return path


def rows_of(texts):
    return [{"image": {"bytes": encoded(line_image(t)), "path": None}, "text": t, "source": t[:1]} for t in texts]


def same(one, other):
    return one.size == other.size and one.mode == other.mode and np.array_equal(np.asarray(one), np.asarray(other))
