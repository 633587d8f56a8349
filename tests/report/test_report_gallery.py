"""The gallery: which lines are chosen, how errors are marked, how small the pictures are, what the page shows."""

from __future__ import annotations

import base64
import io
import random
import re

import numpy as np
import pytest
from PIL import Image
from recogniser_fakes import drawn, misread, ocr_results, read_by_all, recognisers, references
from test_report_page import Page

from textkd.errors import TextkdError
from textkd.report import gallery
from textkd.report.alignment import align, character_error_rate, errors
from textkd.report.page import render
from textkd.report.results import Results
from textkd.report.thumbnails import thumbnail


def opened(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def row_of(cers: list[int], limit: int, length: int = 40) -> list[dict]:
    """A gallery of lines whose student makes so many errors; the teacher makes none."""
    texts = [f"{i:03}".ljust(length, "a") for i in range(len(cers))]
    said = {"teacher": texts, "student": [t[: length - e] + "z" * e for t, e in zip(texts, cers, strict=True)]}
    return gallery([Image.new("L", (9, 9))] * len(cers), texts, said, limit)


def test_lines_are_chosen_by_the_students_cer_and_by_their_order():
    cers = [0] * 10 + [5] * 10 + [9, 8, 7, 6]
    rows = row_of(cers, 12)
    numbers = {
        kind: [int(r["reference"][:3]) for r in rows if r["chosen"] == kind] for kind in ("good", "median", "worst")
    }
    assert numbers == {"good": [0, 1, 2, 3], "median": [10, 11, 12, 13], "worst": [23, 22, 21, 20]}
    assert [r["rank"] for r in rows] == [1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24]
    assert rows[-1]["cer"] == {"teacher": 0.0, "student": pytest.approx(9 / 40)}
    assert {r["lines"] for r in rows} == {24}


@pytest.mark.parametrize("limit", [1, 2, 5, 12])
def test_no_line_is_shown_twice_and_the_worst_is_always_there(limit):
    for count in range(15):
        rows = row_of(list(range(count)), limit)
        assert len(rows) == min(count, limit)
        assert [r["rank"] for r in rows] == sorted({r["rank"] for r in rows})
        assert not rows or (rows[-1]["chosen"], rows[-1]["rank"]) == ("worst", count)


def test_only_the_chosen_images_are_opened():
    read = []

    class Images(list):
        def __getitem__(self, i):
            read.append(i)
            return Image.new("L", (9, 9))

    texts = ["ab"] * 30
    assert len(gallery(Images([None] * 30), texts, {"student": texts}, 6)) == 6
    assert len(read) == 6


def test_all_that_does_not_fit_is_told_at_once():
    with pytest.raises(TextkdError) as caught:
        gallery([], ["a"], {"pupil": ["a", "b"]}, 99)
    said = str(caught.value)
    for what in ("the student read is missing", "2 texts of pupil", "0 images", "1 to 24"):
        assert what in said


def test_pieces_rebuild_both_texts_and_count_the_fewest_edits():
    draw = random.Random(1)
    for text in references(40):
        said = misread(text, 0.2, draw)
        pieces = align(text, said)
        assert "".join(p.text for p in pieces if p.kind != "missing") == said
        back = [p.instead_of if p.kind == "wrong" else p.text for p in pieces if p.kind != "added"]
        assert "".join(back) == text
        assert errors(pieces) == edits(text, said)
        assert character_error_rate(text, said) == pytest.approx(edits(text, said) / len(text))


def edits(a: str, b: str) -> int:
    """Levenshtein's distance by the book."""
    row = np.arange(len(b) + 1)
    for i, character in enumerate(a, 1):
        above, row = row, np.full(len(b) + 1, i)
        for j in range(1, len(b) + 1):
            row[j] = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (character != b[j - 1]))
    return int(row[-1])


@pytest.mark.parametrize(
    ("reference", "said", "kinds", "cer"),
    [
        ("cat", "cat", ["same"], 0.0),
        ("cat", "", ["missing"], 1.0),
        ("", "cat", ["added"], 3.0),
        ("", "", [], 0.0),
        ("cat", "cut", ["same", "wrong", "same"], 1 / 3),
        ("cat ", "cat", ["same", "missing"], 0.25),
        ("a b", "ab", ["same", "missing", "same"], 1 / 3),
    ],
)
def test_kinds_of_errors(reference, said, kinds, cer):
    assert [p.kind for p in align(reference, said)] == kinds
    assert character_error_rate(reference, said) == pytest.approx(cer)


NOISE = np.random.default_rng(0).integers(0, 256, (200, 4000, 4)).astype(np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(NOISE[..., :3]),
        Image.fromarray(NOISE),
        Image.fromarray(NOISE[..., 0]),
        Image.fromarray(NOISE[..., 0] > 99),
        Image.fromarray(NOISE[..., 0].astype(np.uint16) * 255),
        Image.fromarray(NOISE[..., 0].astype(np.int32) * 9999),
        Image.fromarray(NOISE[..., :3]).convert("CMYK"),
        Image.fromarray(NOISE[..., :3]).quantize(9, Image.Quantize.FASTOCTREE),  # the others take long
        Image.new("RGB", (20000, 1)),
        Image.new("L", (1, 1)),
        Image.new("I;16", (5, 5)),
    ],
    ids=lambda image: f"{image.mode} {image.width}",
)
def test_pictures_of_any_kind_become_small_pngs(image):
    before = image.tobytes()
    address = thumbnail(image)
    assert len(address) <= 40_000
    small = opened(address)
    assert small.format == "PNG"
    assert small.height <= min(64, image.height)
    assert image.tobytes() == before


def test_a_line_stays_legible_in_its_picture():
    line = drawn("abc")
    assert np.array_equal(np.asarray(opened(thumbnail(line))), np.asarray(line))
    assert opened(thumbnail(line.convert("RGB"))).mode == "L"
    deep = Image.fromarray(np.asarray(line).astype(np.uint16) * 16)
    low, high = opened(thumbnail(deep)).getextrema()
    assert (low, high) == (0, 255)
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert opened(thumbnail(clear)).getextrema() == (255, 255)


@pytest.mark.long
def test_the_page_shows_the_lines_with_their_errors_marked():
    page, text = Page(render(ocr_results())), render(ocr_results())
    assert page.open == []
    for part in (
        "Lines read best",
        "Lines in the middle",
        "Lines read worst",
        "all 60 lines",
        "first 4",
        "place 60 of 60",
    ):
        assert part in page.text
    assert "(nothing)" in Page(render(shown_line("cat", ""))).text
    assert text.count("<ins>") > 3
    assert text.count("<del>") > 3
    assert '<mark title="instead of ' in text
    assert len(text) < 2_000_000
    assert sum((image["src"] or "").startswith("data:image/png;base64,") for image in page.images) == 12
    assert not re.search(r"(src|href)=\"(?!data:)", text)


def shown_line(reference: str, said: str, **changes: object) -> Results:
    row = gallery([drawn("x")], [reference], {"student": [said], "teacher": [reference], "control": [said]})[0]
    return ocr_results(gallery=[{**row, **changes}])


def test_spaces_that_are_errors_are_seen_and_long_texts_are_cut():
    assert "a<del>␣</del>b" in render(shown_line("a b", "ab"))
    assert '<mark title="instead of ␣">x</mark>' in render(shown_line("a b", "axb"))
    assert "(+700 characters)" in Page(render(shown_line("", "y" * 1000))).text


def test_texts_of_the_gallery_are_shown_and_never_run():
    bad = "<script>alert(1)</script>\"><img src=x onerror='a'>"
    text = render(shown_line(bad, "instead"))
    page = Page(text)
    assert "script" not in page.tags
    assert all((image["src"] or "").startswith("data:") for image in page.images)
    assert bad in page.text
    assert not any(name.startswith("on") for image in page.images for name in image)


@pytest.mark.parametrize("image", ["https://example.org/x.png", "data:image/svg+xml;base64,AA==", "x" * 50_000])
def test_pictures_from_elsewhere_are_damage(image):
    with pytest.raises(ValueError, match="image"):
        shown_line("a", "b", image=image)


def test_marks_are_read_on_their_own_background_and_without_colours():
    style = render(ocr_results())
    for tag, line in (("ins", "underline"), ("del", "line-through"), ("mark", "wavy")):
        back, ink, rest = re.findall(rf"\.gallery {tag} {{ background: (#\w{{6}}); color: (#\w{{6}}); (.*?) }}", style)[
            0
        ]
        assert line in rest
        light, dark = sorted((luminance(back), luminance(ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance of sRGB."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_a_run_without_lines_has_no_gallery_and_its_lines_need_no_teacher():
    assert "gallery" not in render(ocr_results(gallery=[]))
    texts = references(5)
    rows = gallery([drawn(t) for t in texts], texts, {"student": read_by_all(references())["student"][:5]})
    page = Page(render(Results.model_validate(recognisers(gallery=rows))))
    assert "Shown are all 5 lines" in page.text
