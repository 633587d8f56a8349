"""Words found by the gaps between them, and where each token stands."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from places import SHARED

from textkd import tasks
from textkd.tasks.ocr.marks import ink_of, middles, token_marks, word_spans

BOOKS = SHARED / "data" / "ocr_oldbooks"


def ink(*runs, width=60):
    columns = np.zeros(width, dtype=bool)
    for start, end in runs:
        columns[start:end] = True
    return columns


def test_words_are_cut_at_the_widest_gaps():
    letters = ink((4, 8), (9, 12), (18, 22), (24, 30), (37, 50))
    assert word_spans(letters, 3) == [(4, 12), (18, 30), (37, 50)]
    assert word_spans(letters, 1) == [(4, 50)]


@pytest.mark.parametrize("border", [0, 255])
@pytest.mark.parametrize("inverted", [False, True])
def test_ink_is_what_there_is_less_of_and_no_border(border, inverted):
    page = np.full((10, 30), 255, dtype=np.uint8)
    page[3:7, 4:6] = page[2:8, 20:25] = 0
    page = 255 - page if inverted else page
    for width in (((0, 0), (0, 0)), ((2, 3), (4, 5)), ((0, 0), (6, 0)), ((1, 1), (0, 0))):
        padded = np.pad(page, width, constant_values=border)
        expected = [i + width[1][0] for i in (4, 5, 20, 21, 22, 23, 24)]
        assert np.flatnonzero(ink_of(padded)).tolist() == expected
    assert not ink_of(np.full((4, 6), border, dtype=np.uint8)).any()


@pytest.mark.parametrize(
    ("columns", "count"),
    [
        (ink(), 1),
        (ink((4, 8)), 2),
        (ink((4, 8), (14, 20), (26, 30)), 2),  # two gaps of one width: which?
        (ink((4, 8), (10, 20)), 2),  # a gap within a word
        (ink((4, 8)), 0),
    ],
    ids=["blank", "too few gaps", "no gap stands out", "narrow", "no words"],
)
def test_unclear_gaps_tell_nothing(columns, count):
    assert word_spans(columns, count) is None


def test_characters_share_their_word_by_their_widths():
    places = middles(ink((0, 40), (50, 60)), "aaaa bb")
    assert places == pytest.approx([5, 15, 25, 35, 45, 52.5, 57.5])
    narrow, wide = middles(ink((0, 30)), "im")
    assert (narrow, wide) == pytest.approx((30 * 0.3 / 2.1, 30 * (0.6 + 0.75) / 2.1))
    assert middles(ink((0, 40), (50, 60)), "aaaa  bb") is None


def test_tokens_stand_where_their_characters_do():
    columns = ink((0, 40), (50, 60))
    assert token_marks(columns, [*"▁aaaa▁bb"])[1:] == pytest.approx(
        [x / 60 for x in (5.5, 15.5, 25.5, 35.5, 45.5, 53, 58)]
    )
    assert np.isnan(token_marks(columns, [*"▁aaaa▁bb"])[0])
    pieces = token_marks(columns, ["▁aa", "aa", "▁", "bb"])
    assert pieces == pytest.approx([x / 60 for x in (10.5, 30.5, 45.5, 55.5)])
    assert np.isnan(token_marks(columns, ["▁aaaa", "▁bb", "▁bb"])).all()


def test_byte_level_pieces_stand_where_their_words_do():
    letters = ink((5, 20), (50, 90), width=100)
    mine = token_marks(letters, ["▁", "ab", "▁cd"])[1:]
    assert token_marks(letters, ["ab", "Ġcd"]) == pytest.approx(mine)
    maltese = token_marks(letters, ["▁", "Ġ", "▁", "d"])  # a letter where there are sentencepiece's signs
    assert maltese[1] == pytest.approx(0.13, abs=0.01)


def test_printed_characters_are_found_within_half_of_one():
    font, text = ImageFont.load_default(24), "Within a printed line the gaps between words are wide"
    size = int(font.getlength(text)) + 20
    image = Image.new("L", (size, 32), 255)
    ImageDraw.Draw(image).text((10, 2), text, 0, font)
    columns = np.asarray(image).min(0) < 128
    truth = [10 + (font.getlength(text[:i]) + font.getlength(text[: i + 1])) / 2 for i in range(len(text))]
    found = middles(columns, text)
    assert found is not None
    pitch = font.getlength(text) / len(text)
    assert np.abs(found - truth).max() < 0.6 * pitch


@pytest.mark.slow
@pytest.mark.skipif(not BOOKS.is_dir(), reason=f"no real lines in {BOOKS}")
@pytest.mark.parametrize("width", [640, 832, 1024])
def test_marks_are_found_on_most_real_lines_however_they_are_padded(width):
    task = tasks.ocr(train=BOOKS / "dev.parquet", eval={"path": BOOKS / "dev.parquet", "limit": 100}, width=width)
    rows = task.encode(task.processor, "eval")
    marks = task.collator(task.processor)([rows[i] for i in range(100)])["marks"]
    known = ~marks.isnan().all(1)
    assert known.float().mean() > 0.65
    for row in marks[known]:
        assert (row[~row.isnan()].diff() > 0).all()
