"""What wrong files, columns, texts, images and specs of lines are told."""

import pyarrow as pa
import pytest
from line_files import encoded, line_image, parquet, png_of_size, rows_of
from line_sources import table_file, told
from PIL import Image

from textkd.errors import TextkdError
from textkd.models.images import open_image
from textkd.tasks.ocr.sources import lines


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (None, "no value\n  fix: correct the row"),
        ("", "no text"),
        (" \t", "white space alone"),
        ("a\nb", "a line break inside: 'a\\nb'"),
    ],
)
def test_texts_that_are_none(cell, words, tmp_path):
    rows = rows_of(["ab", "cd", "ef"])
    rows[1]["text"] = cell
    path = parquet(tmp_path / "x.parquet", rows)
    message = told(path)
    assert f"{path}, row 2: a transcription in column 'text'\n  found: {words}" in message
    assert len(lines(path, unlabelled=True)) == 3


def test_texts_are_stripped_and_numbers_are_none(tmp_path):
    rows = rows_of([" ab "])
    assert list(lines(parquet(tmp_path / "x.parquet", rows)).texts) == ["ab"]
    path = parquet(tmp_path / "n.parquet", [{"image": rows[0]["image"], "text": 12}])
    assert "a int: 12" in told(path)


def test_bytes_that_are_not_utf8_are_named_by_row(tmp_path):
    rows = [
        {"image": row["image"]["bytes"], "text": text}
        for row, text in zip(rows_of(["a", "b"]), [b"ok", b"n\xe9"], strict=True)
    ]
    path = parquet(tmp_path / "x.parquet", rows)
    assert "row 2: UTF-8 text in column 'text'\n  found: byte 0xE9 at position 2 is not UTF-8" in told(path)
    broken = pa.array([b"ok", b"n\xe9"]).view(pa.string())  # as careless writers leave it
    pa.parquet.write_table(pa.table({"image": [row["image"] for row in rows], "text": broken}), path)
    assert "row 2: UTF-8 text in column 'text'\n  found: byte 0xE9 at position 2" in told(path)
    (tmp_path / "x.csv").write_bytes(b"image,text\na.png,\xe9\n")
    assert "line 2: a whole row\n  found: byte 0xE9" in told(tmp_path / "x.csv")


def test_many_bad_texts_are_counted(tmp_path):
    path = parquet(tmp_path / "x.parquet", [{**row, "text": ""} for row in rows_of(["a"] * 20)])
    message = told(path)
    assert message.count("found: no text") == 8
    assert "12 more bad texts like these" in message


def test_files_that_are_none(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("image,text\n")
    (tmp_path / "none.jsonl").write_text("\n \n[]\n")
    (tmp_path / "dir").mkdir()
    parquet(tmp_path / "ints.parquet", [{"image": 5, "text": "a"}])
    parquet(tmp_path / "norows.parquet", [], schema=pa.schema([("image", pa.binary()), ("text", pa.string())]))
    assert "not a parquet file" in told(tmp_path / "bad.parquet")
    assert "the file is empty" in told(tmp_path / "empty.csv")
    assert "the file has no rows (a header alone is no data)" in told(tmp_path / "header.csv")
    assert "the file has no rows (a header alone is no data)" in told(tmp_path / "norows.parquet")
    assert "none that can be read; line 3: a list" in told(tmp_path / "none.jsonl")
    assert "the folder holds nothing" in told(tmp_path / "dir")
    assert "images in column 'image'" in told(tmp_path / "ints.parquet")
    assert "found: the type int64\n  fix: store encoded bytes" in told(tmp_path / "ints.parquet")
    assert "nearest: bad.parquet" in told(tmp_path / "bat.parquet")
    assert "no such file or folder\n  nearest: dir" in told(tmp_path / "dirr")
    assert "{dataset: ID, split: train}" in told("someone/some-lines")


def test_columns_that_are_not_there(tmp_path):
    path = parquet(tmp_path / "x.parquet", rows_of(["a"]))
    message = told({"path": path, "image": "imgae", "text": "txt"})
    assert "2 problems" in message
    assert "column 'imgae'" in message
    assert "nearest: image" in message
    assert "nearest: text" in message
    lost = told({"path": path, "where": {"sauce": "x"}})
    assert "column 'sauce'" in lost
    assert "the columns 'image', 'text', 'source'" in lost
    assert "no such row; the column holds 'a' (1 rows)" in told({"path": path, "where": {"source": "b"}})


def test_all_problems_of_a_list_at_once(tmp_path):
    path = parquet(tmp_path / "x.parquet", [{"image": b"", "text": ""}])
    message = told([path, tmp_path / "gone.csv", {"digits": {"n": 0}}, {"path": path, "limt": 3}])
    assert "7 problems" in message  # the file that stands there twice has two
    for place in ("[0]: asked:", "[1]: asked:", "[2].digits.n: asked:", "[3].limt: asked: key 'limt'"):
        assert place in message
    assert "nearest: limit" in message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ([], "lines of text\n  found: []"),
        (5, "lines of text\n  found: 5"),
        ({}, "one source of lines\n  found: the keys (none)"),
        ({"renderd": {"n": 3}}, "one source of lines\n  found: the keys renderd\n  nearest: rendered"),
        ({"rendered": {"n": 3}, "digits": {"n": 3}}, "rendered and digits together"),
        ({"digits": {"n": 3}, "limit": 0}, "limit: a whole number from 1\n  found: 0"),
        ({"digits": {"n": 3}, "repeat": "2"}, "repeat: a whole number from 1 to 10000\n  found: '2'"),
        ({"digits": {"n": 3}, "seed": 1}, "no limit: to draw"),
        ({"digits": {"n": 3}, "unlabelled": "yes"}, "unlabelled: true or false\n  found: 'yes'"),
        (
            {"digits": {"n": 3}, "text": "x"},
            "key 'text'\n  found: with digits: go words, limit, repeat, seed, unlabelled",
        ),
        ({"digits": 3}, "digits: options\n  found: 3\n  fix: write digits: {n: 1000}"),
        ({"path": 5}, "path: a path\n  found: 5"),
        ({"path": "x.csv", "where": "a"}, "where: {column: value, ...}\n  found: 'a'"),
        ({"path": "x.csv", "text": ["a"], "quoted": 1}, "2 problems"),
        ({"rendered": {"n": 3, "fonts": 5}}, "rendered.fonts: asked: fonts: a list of files"),
        ({"rendered": {"n": 3, "fonts": [5]}}, "rendered.fonts: asked: fonts: a list of files"),
        ({"digits": {"n": 2, "splitt": "eval"}}, "digits.splitt: asked: option 'splitt'"),
        ({"digits": {"n": 0, "splitt": "eval"}}, "2 problems"),
        ({"digits": {"split": "test"}}, "fix: split: train or eval"),
        ({"rendered": {"n": 0, "texts": "nowhere.txt", "style": "x", "font": "y"}}, "5 problems"),
        ({"path": "nowhere.csv", "limit": 0, "word": 2}, "3 problems"),
        ({"path": "nowhere.csv", "delimiter": ",,"}, "2 problems"),
        ({"rendered": {"n": 3, "font": "x"}}, "nearest: fonts"),
        ({"rendered": {"n": 3, "texts": 5}}, "rendered.texts: asked: texts: a list of sentences\n  found: 5"),
    ],
)
def test_wrong_specs(spec, words):
    assert words in told(spec)


def test_images_that_are_none_are_found_by_their_headers(tmp_path):
    rows = rows_of([f"t{n}" for n in range(30)])
    for place, data in ((3, b""), (11, b"nothing"), (17, encoded(Image.new("L", (9, 1))))):
        rows[place]["image"]["bytes"] = data
    rows[5]["image"] = {"bytes": None, "path": "gone.png"}
    path = parquet(tmp_path / "x.parquet", rows)
    table = lines(path)
    with pytest.raises(TextkdError) as caught:
        table.problems(sample=0)
    message = str(caught.value)
    assert "4 problems" in message
    for row in (4, 6, 12, 18):
        assert f"{path}, row {row}: an image" in message or f"{path}, row {row}: the image" in message
    with pytest.raises(TextkdError, match="row 12: an image"):
        table.image(11)
    assert open_image(table.image(0)).mode == "RGB"


def test_a_cut_image_is_found_and_named_when_met(tmp_path):
    rows = rows_of([f"t{n}" for n in range(200)])
    for place in (0, 99, 150, 199):
        rows[place]["image"]["bytes"] = rows[place]["image"]["bytes"][:-30]
    path = parquet(tmp_path / "x.parquet", rows)
    table = lines(path)
    with pytest.raises(TextkdError) as caught:
        table.problems(sample=0)
    assert all(f"row {row}: a whole image" in str(caught.value) for row in (1, 100, 151, 200))  # by its missing end
    assert "4 problems" in str(caught.value)
    with pytest.raises(TextkdError, match="row 151: a whole image"):
        table.image(150)


def test_pixels_are_damaged_in_the_sample_or_when_met(tmp_path):
    """With the end mark there, only decoding tells."""
    rows = rows_of([f"t{n}" for n in range(20)])
    whole = rows[7]["image"]["bytes"]
    rows[7]["image"]["bytes"] = whole[:60] + whole[70:]
    rows[3]["image"]["bytes"] = b""
    table = lines(parquet(tmp_path / "x.parquet", rows))
    with pytest.raises(TextkdError) as caught:
        table.problems()
    assert "row 4: an image" in str(caught.value)  # both kinds are told at once
    assert "row 8: a whole image" in str(caught.value)
    with pytest.raises(TextkdError, match="row 8: a whole image"):
        table.image(7)


def test_texts_in_quotes_of_a_tsv_are_noted(tmp_path):
    line_image().save(tmp_path / "a.png")
    file = tmp_path / "x.tsv"
    file.write_text('image\ttext\na.png\t"so ""he"" said"\na.png\tplain\n')
    table = lines(file)
    assert list(table.texts) == ['"so ""he"" said"', "plain"]
    (note,) = table.notes
    assert "1 texts in quotes are read with their quotes; quoted: true" in note
    table = lines({"path": str(file), "quoted": True})
    assert (list(table.texts), table.notes) == (['so "he" said', "plain"], [])


def test_paths_of_csv_that_are_not_there(tmp_path):
    path = table_file(tmp_path, "csv")
    (tmp_path / "scans" / "1.png").unlink()
    with pytest.raises(TextkdError) as caught:
        lines(path).problems()
    assert f"line 3: the image {tmp_path / 'scans' / '1.png'}\n  found: no such file\n  nearest: 2.png, 0.png" in str(
        caught.value
    )


def test_a_folder_does_not_reach_outside(tmp_path):
    line_image().save(tmp_path / "secret.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "metadata.csv").write_text(f"file_name,text\n../secret.png,a\n{tmp_path / 'secret.png'},b\n")
    message = told(tmp_path / "in")
    assert "2 problems" in message
    assert "line 2: an image inside" in message


def test_texts_paths_and_images_are_told_together(tmp_path):
    rows = rows_of(["a", "", "c"])
    rows[2]["image"]["bytes"] = b"none"
    message = told(parquet(tmp_path / "x.parquet", rows))
    assert "2 problems" in message
    assert "row 2: a transcription" in message
    assert "row 3: an image\n  found: bytes of no known image format" in message
    folder = tmp_path / "in"
    folder.mkdir()
    line_image().save(folder / "0.png")
    (folder / "metadata.csv").write_text("file_name,text\n0.png,a\n../x.png,b\n1.png,c\n,d\n0.png,\n")
    message = told(folder)
    for words in ("line 3: an image inside", "line 4: the image", "line 5: the path of an image", "line 6: a transcr"):
        assert words in message, message


def test_images_and_texts_of_a_dictionary_are_read(tmp_path):
    rows = rows_of(["a", "b", "a"])
    images = pa.array([row["image"]["bytes"] for row in rows]).dictionary_encode()
    texts = pa.array([row["text"] for row in rows]).dictionary_encode()
    pa.parquet.write_table(pa.table({"image": images, "text": texts}), tmp_path / "x.parquet")
    table = lines(tmp_path / "x.parquet")
    table.problems()
    assert list(table.texts) == ["a", "b", "a"]
    assert table.image(1).size == line_image().size


def test_only_the_chosen_images_are_checked(tmp_path):
    for number, data in enumerate((b"", b"")):
        rows = rows_of(["a", "b"])
        rows[1]["image"]["bytes"] = data
        parquet(tmp_path / f"train-{number}.parquet", rows)
    lines({"path": tmp_path / "train-*.parquet", "limit": 1, "repeat": 3}).problems(sample=0)
    with pytest.raises(TextkdError) as caught:
        lines({"path": tmp_path / "train-*.parquet", "limit": 4, "repeat": 3}).problems(sample=0)
    assert str(caught.value).startswith("2 problems")


def test_a_bomb_is_told_with_the_name_of_its_file(tmp_path):
    path = table_file(tmp_path, "csv")
    (tmp_path / "scans" / "1.png").write_bytes(png_of_size(60_000, 60_000))
    with pytest.raises(TextkdError) as caught:
        lines(path).problems()
    (only,) = caught.value.problems
    assert f"{path}, line 3 (1.png): an image of a line\n  found: a decompression bomb" in str(only)
