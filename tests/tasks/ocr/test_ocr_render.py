"""Rendered lines: what is drawn is what is written, with characters that the fonts have."""

import hashlib
import pickle
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from line_files import same

from textkd.errors import TextkdError
from textkd.tasks.ocr.fonts import Face, find_faces
from textkd.tasks.ocr.phrases import phrase, vocabulary
from textkd.tasks.ocr.render import RenderedLines

FONTS = Path(next(iter(find_spec("matplotlib").submodule_search_locations))) / "mpl-data" / "fonts" / "ttf"


def test_the_same_for_the_same_seed_whatever_n_is():
    one, other = RenderedLines(n=6, seed=1), RenderedLines(n=60, seed=1)
    assert list(one.texts) == list(other.texts[:6])
    assert all(same(one.image(i), other.image(i)) for i in range(6))
    assert same(pickle.loads(pickle.dumps(one)).image(2), one.image(2))
    assert list(RenderedLines(n=6, seed=2).texts) != list(one.texts)
    assert len({one.image(i).tobytes() for i in range(6)}) == 6


@pytest.mark.slow  # because transformers is imported again
def test_another_process_makes_the_same():
    code = (
        "import hashlib; from textkd.tasks.ocr.render import RenderedLines; "
        "r = RenderedLines(n=3, seed=7, fonts='matplotlib'); "
        "print(hashlib.sha256(repr([(t, r.image(i).tobytes()) for i, t in enumerate(r.texts)]).encode()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip()
    lines = RenderedLines(n=3, seed=7, fonts="matplotlib")
    here = repr([(text, lines.image(i).tobytes()) for i, text in enumerate(lines.texts)])
    assert hashlib.sha256(here.encode()).hexdigest() == there


def test_texts_in_order_and_over_again():
    lines = RenderedLines(["one", "two"], n=5, fonts="builtin")
    assert list(lines.texts) == ["one", "two", "one", "two", "one"]
    assert not same(lines.image(0), lines.image(2))
    assert len(RenderedLines(["one", "two"])) == 2


def test_clean_print_shows_the_ink_of_the_text():
    lines = RenderedLines(["i", "iiii iiii", "WWWW WWWW"], strength=0, fonts="matplotlib")
    widths = [lines.image(i).width / lines.image(i).height for i in range(3)]
    assert widths[0] < widths[1] < widths[2]
    for i in range(3):
        page = np.asarray(lines.image(i).convert("L")).astype(int)
        assert page.max() - page.min() > 100
        assert (page[:, 0] == page.max()).all()  # nothing touches the sides
        assert (page[:, -1] == page.max()).all()


def test_italic_letters_are_not_cut():
    lines = RenderedLines(["fJf gjQyf"] * 40, strength=0, fonts=[str(p) for p in FONTS.glob("*Italic.ttf")])
    for i in range(40):
        page = np.asarray(lines.image(i).convert("L")).astype(int)
        for side in (page[:, 0], page[:, -1], page[0]):
            assert (side == page.max()).all(), i


@pytest.mark.long
def test_every_line_can_be_seen():
    lines = RenderedLines(n=80, seed=3)
    for i in range(80):
        page = np.asarray(lines.image(i).convert("L")).astype(int)
        assert 15 <= page.shape[0] <= 110
        dark, light = np.quantile(page, [0.005, 0.6])
        assert light - dark > 50, (i, lines.texts[i])


def test_no_boxes_for_characters_that_a_font_lacks():
    builtin, serif = Face(None), Face(FONTS / "DejaVuSerif.ttf")
    assert serif.draws("Größe ½ Ж Ω")
    assert not builtin.draws("Ж")
    assert not serif.draws("漢")
    assert not serif.draws("a\uffffb")
    assert not serif.draws("שלום")  # right to left: needs shaping
    assert not serif.draws("e\u0301")  # stacked
    assert builtin.draws("plain (ASCII), 'quoted' ~ \\ | ^ `")
    lines = RenderedLines(["plain", "Жук", "漢字"], fonts=["builtin", serif.path], n=20)
    assert set(lines.texts) == {"plain", "Жук"}
    assert lines.notes == ["rendered texts: 1 of 3 were left out, no font draws '字' '漢'"]
    drawn = [
        same(lines.image(i), RenderedLines(["plain", "Жук"], fonts=[serif.path], n=20).image(i)) for i in (1, 3, 5)
    ]
    assert all(lines.image(i).width > 20 for i in range(6))
    assert len(drawn) == 3


def test_a_font_without_the_text_is_never_used(monkeypatch):
    used = []
    at = Face.at
    monkeypatch.setattr(Face, "at", lambda self, size: used.append(self.name) or at(self, size))
    lines = RenderedLines(["Жук"], fonts=["builtin", FONTS / "DejaVuSerif.ttf"], n=12)
    for i in range(12):
        lines.image(i)
    assert set(used) == {"DejaVuSerif.ttf"}


def test_fonts_by_name_and_folder(tmp_path):
    faces = find_faces()
    assert faces[0].path is None
    assert len(faces) >= 17
    assert len({face.name for face in faces}) == len(faces)
    (tmp_path / "a.ttf").write_bytes((FONTS / "DejaVuSans.ttf").read_bytes())
    assert [face.name for face in find_faces(tmp_path)] == ["a.ttf"]
    assert find_faces([FONTS / "DejaVuSans.ttf"])[0].digest() == find_faces(tmp_path)[0].digest()
    assert all(face.draws("Hamburg 123") for face in faces)


def test_the_digest_tells_settings_apart():
    made = [{}, {"seed": 1}, {"n": 4}, {"strength": 0.5}, {"fonts": "builtin"}, {"words": [1, 2]}, {"style": "prose"}]
    digests = {RenderedLines(**{"n": 3, "fonts": "matplotlib", **more}).digest() for more in made}
    assert len(digests) == len(made)
    assert RenderedLines(["a"]).digest() != RenderedLines(["b"]).digest()


@pytest.mark.long
def test_phrases():
    made = [phrase(f"0 {i}") for i in range(3000)]
    assert made == [phrase(f"0 {i}") for i in range(3000)]
    assert all(line == line.strip() and line and len(line.splitlines()) == 1 and "  " not in line for line in made)
    seen = Counter("".join(made))
    missing = [c for c in map(chr, range(33, 127)) if not seen[c]]
    assert missing == []
    assert len(set(made)) > 2900
    assert max(map(len, made)) <= 130
    short = [phrase(f"{i}", (1, 2), "prose").split() for i in range(200)]
    assert max(map(len, short)) <= 5
    receipts = "".join(phrase(f"{i}", style="receipt") for i in range(300))
    assert sum(c.isdigit() for c in receipts) > 0.2 * len(receipts)
    assert len(vocabulary()) > 600
    assert len(set(vocabulary())) == len(vocabulary())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "n: asked: n: how many lines\n  found: neither n nor texts"),
        ({"n": 0}, "n: a whole number from 1 to 100000000\n  found: 0"),
        (
            {"n": 3, "style": "recepit"},
            "style 'recepit'\n  found: the styles are mixed, prose, receipt\n  nearest: receipt",
        ),
        ({"n": 3, "words": [0, 3]}, "words: [least, most], whole numbers from 1"),
        ({"n": 3, "strength": "high"}, "strength: a number from 0 (off) to 3\n  found: 'high'"),
        ({"n": 3, "fonts": []}, "fonts: asked: fonts\n  found: an empty list"),
        ({"n": 3, "fonts": "bultin"}, "font bultin\n  found: no such file or folder\n  nearest: builtin"),
        ({"texts": "one"}, "texts: a list of sentences\n  found: 'one'"),
        ({"texts": []}, "texts: a list of sentences\n  found: []"),
        ({"texts": ["a", " "]}, "1 of 2 are none, such as ' '"),
        ({"texts": ["a\nb"]}, "1 of 1 are none, such as 'a\\nb'"),
        ({"texts": ["漢字"], "fonts": "builtin"}, "none of 1 texts: no font has '字' '漢'"),
        ({"n": 0, "style": "x", "fonts": "nope"}, "3 problems"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(TextkdError) as caught:
        RenderedLines(**options)
    assert words in str(caught.value)


def test_fonts_that_are_none(tmp_path):
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TextkdError) as caught:
        find_faces([tmp_path / "bad.ttf", tmp_path / "empty"])
    assert "bad.ttf\n  found: FreeType cannot read it" in str(caught.value)
    assert "no .ttf, .otf or .ttc file" in str(caught.value)


def test_lines_that_are_not_there():
    for index in (-1, 2):
        with pytest.raises(IndexError):
            RenderedLines(n=2).image(index)
