"""Pieces of words cut out of lines: texts, images, what is left out, options of a spec."""

import numpy as np
import pytest
from line_files import parquet, rows_of
from PIL import Image
from tiny_lines import DrawnLines

from textkd.errors import TextkdError
from textkd.tasks.ocr.cut import Cut
from textkd.tasks.ocr.linetable import Joined, Part
from textkd.tasks.ocr.marks import ink_of
from textkd.tasks.ocr.sources import lines
from textkd.tasks.ocr.splits import hold_out

LINES = ["one  two three four five", "aaaa bb", "nothing", None, "wide    open"]


class SpacedLines(DrawnLines):
    """Words of filled boxes, 6 columns of white between letters, 15 between words; the fifth line has no wider gaps."""

    def image(self, index):
        pixels, at = np.full((24, 400), 255, dtype=np.uint8), 10
        for word in (self.texts[index] or "").split():
            for _ in word:
                pixels[6:18, at : at + 2] = 0
                at += 8
            at += 0 if index == 4 else 9
        return Image.fromarray(pixels).convert("RGB")


def test_words_come_in_their_order_with_their_own_ink():
    table = Cut(SpacedLines(LINES), (1, 1))
    assert table.texts == ["one", "two", "three", "four", "five", "aaaa", "bb", "nothing"]
    for index, text in enumerate(table.texts):
        ink = np.flatnonzero(ink_of(np.asarray(table.image(index).convert("L"))))
        assert ink[-1] - ink[0] == 8 * len(text) - 7  # the whole word and nothing else
        assert 0 < ink[0] <= 6
    assert "line 1, 'three'" in table.where(2)


def test_unclear_lines_are_left_out_and_told():
    packed = Cut(SpacedLines([*LINES[:4], "ab cd ef"]), (1, 1))
    assert "ab" not in packed.texts
    assert packed.notes == ["1 of 4 lines of drawn lines are left out: no clear gaps between words"]
    assert Cut(SpacedLines(LINES[:4]), (1, 1)).notes == []


def test_pieces_have_the_sizes_asked_for_and_are_the_same_every_time():
    texts = [" ".join("abcdefghij"[: n + 2]) for n in range(8)]
    table, again = Cut(SpacedLines(texts[:4]), (2, 3)), Cut(SpacedLines(texts[:4]), (2, 3))
    sizes = [len(text.split()) for text in table.texts]
    assert set(sizes) <= {2, 3, 4}
    assert " ".join(table.texts).split() == " ".join(texts[:4]).split()
    assert table.texts == again.texts
    assert table.digest() == again.digest() != Cut(SpacedLines(texts[:4]), (1, 3)).digest()
    assert Cut(SpacedLines(["ab"]), (3, 4)).texts == ["ab"]


def test_the_header_of_a_scan_is_looked_at_once_for_all_its_pieces(monkeypatch):
    table, seen = SpacedLines(LINES[:4]), []
    monkeypatch.setattr(SpacedLines, "check_header", lambda self, index: seen.append(index))
    pieces = Cut(table, (1, 1))
    Joined([Part(pieces, repeat=3), table]).problems()
    assert sorted(seen) == [0, 0, 1, 1, 2, 2, 3]  # as a scan that is cut, and as a line


def test_a_spec_cuts_before_it_limits(tmp_path):
    path = parquet(tmp_path / "x.parquet", rows_of(["ab", "cd", "ef"]))
    assert lines({"path": path, "words": 1, "limit": 2}).texts == ["ab", "cd"]
    assert lines({"path": path, "words": [1, 2]}).texts == ["ab", "cd", "ef"]


@pytest.mark.parametrize("bad", [0, "two", [2, 1], [1], True, 1.5])
def test_bad_sizes(bad, tmp_path):
    path = parquet(tmp_path / "x.parquet", rows_of(["ab"]))
    with pytest.raises(TextkdError, match="words"):
        lines({"path": path, "words": bad})
    for spec, unlabelled in (
        ({"path": path, "words": 1, "unlabelled": True}, False),
        ([path, {"path": path, "words": 1}], True),
    ):
        with pytest.raises(TextkdError, match="says how many words"):  # not: no pieces, silently
            lines(spec, unlabelled=unlabelled)


def test_pieces_of_held_out_lines_are_not_trained_on():
    texts = ["one two", "three four", "five six", "seven eight", "nine ten", "one two"]
    scans = SpacedLines(texts)
    both = Joined([scans, Cut(scans, (1, 1))])
    train, dev = hold_out(both, 0.2, seed=1)
    whole = {i for i in range(len(dev)) if " " in dev.texts[i]}
    assert whole  # and not their pieces:
    held = {word for i in whole for word in dev.texts[i].split()}
    assert not held & set(train.texts)
    pieces = {dev.texts[i] for i in range(len(dev))} - {dev.texts[i] for i in whole}
    assert not any(word in text.split() for word in pieces for text in train.texts)
    lost = len(both) - len(train) - len(dev)
    assert lost > 0
    assert any(f"{lost} lines of drawn lines show parts of held-out scans" in note for note in train.notes)
    train, dev = hold_out(Cut(scans, (1, 1)), 0.2, seed=1)  # pieces of one cut show nothing of each other
    assert len(train) + len(dev) == len(Cut(scans, (1, 1)))
    assert not any("held-out" in note for note in train.notes)
