"""Augmentation: the same for the same seed, readable, of paper's tone, nothing cut off."""

import numpy as np
import pytest
from line_files import line_image, same
from PIL import Image

from textkd.tasks.ocr.augment import augment
from textkd.tasks.ocr.render import RenderedLines


@pytest.fixture(scope="module")
def line():
    return RenderedLines(["The quick brown fox, 1875."], strength=0, fonts="builtin").image(0)


def test_the_seed_decides(line):
    before = line.tobytes()
    first, again = augment(line, (3, 1, 4)), augment(line, (3, 1, 4))
    assert same(first, again)
    assert first.mode == "RGB"
    assert line.tobytes() == before
    others = {augment(line, (3, 1, row)).tobytes() for row in range(20)}
    assert len(others) >= 19
    assert not same(augment(line, (3, 1)), augment(line, (1, 3)))


def test_no_strength_is_a_plain_copy(line):
    made = augment(line, (1,), 0)
    assert same(made, line)
    assert made is not line
    assert augment(line.convert("L"), (1,), 0.0).mode == "RGB"


@pytest.mark.long
def test_strength_changes_more(line):
    def change(strength):
        sizes = [augment(line, (0, k), strength).size for k in range(40)]
        return np.abs(np.array(sizes) - line.size).mean()

    assert change(0.2) < change(1.0) < change(2.0)


def ink_of(image):
    """Darkness of all pixels above the paper's, in black pixels."""
    grey = np.asarray(image.convert("L")).astype(float)
    paper = np.median(grey)
    return np.clip((paper - grey) / max(paper - grey.min(), 1), 0, 1).sum()


@pytest.mark.long
@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_ink_stays_on_the_page_and_apart_from_the_paper(line, strength):
    ratios = []
    for k in range(30):
        made = augment(line, (5, k), strength)
        grey = np.asarray(made.convert("L")).astype(int)
        dark, light = np.quantile(grey, [0.01, 0.5])
        assert light - dark > 45, k
        ratios.append(ink_of(made) / ink_of(line))
        assert made.height <= line.height * (1 + 0.5 * strength)
    assert 0.6 < np.median(ratios) < 1.8


@pytest.mark.long
def test_thin_strokes_of_two_tones_survive():
    page = np.full((48, 600), 255, dtype=np.uint8)
    page[10:38, 20::8] = 0  # strokes of one pixel
    ink = (page == 0).sum()
    made = [np.asarray(augment(Image.fromarray(page).convert("RGB"), (k,), 2.0))[..., 0] for k in range(120)]
    two = [image for image in made if np.unique(image).size == 2]
    assert 30 < len(two) < 90
    shares = [(image == 0).sum() / ink for image in two]
    assert min(shares) > 0.3
    assert max(shares) < 4


@pytest.mark.long
def test_the_last_letter_of_a_long_line_is_not_cut_off():
    page = Image.new("RGB", (1800, 50), "white")
    page.paste((255, 0, 0), (0, 0, 12, 12))  # the corners
    page.paste((0, 0, 255), (1788, 38, 1800, 50))
    for k in range(30):
        made = np.asarray(augment(page, (k,), 1.0)).astype(int)
        red, green, blue = made[..., 0], made[..., 1], made[..., 2]
        assert ((red - blue > 20) & (red - green > 20)).sum() > 70, k
        assert ((blue - red > 20) & (blue - green > 20)).sum() > 70, k


def test_new_paper_has_the_tone_of_the_old():
    page = np.full((40, 300), 180, dtype=np.uint8)
    page[15:25, 20:280] = 20
    corners = []
    for k in range(40):
        made = np.asarray(augment(Image.fromarray(page).convert("RGB"), (k,), 0.5).convert("L")).astype(int)
        corners.append(abs(int(np.median(made[:3, :3])) - int(np.median(made[:, :5]))))
    assert max(corners) < 25  # no white triangles


@pytest.mark.long
@pytest.mark.parametrize("size", [(2, 2), (1, 3), (3, 15), (700, 8), (9, 200)])
def test_odd_sizes(size):
    for k in range(25):
        made = augment(Image.new("RGB", size, (200, 200, 200)), (k,), 2.0)
        assert min(made.size) >= 1
        assert augment(Image.new("L", size, 0), (k,)).mode == "RGB"


def test_grey_stays_grey_and_colour_stays_colour(line):
    for k in range(10):
        bands = [np.asarray(band) for band in augment(line_image("grey", mode="RGB"), (k,)).split()]
        assert np.array_equal(bands[0], bands[1])
        assert np.array_equal(bands[0], bands[2])
    blue = Image.new("RGB", (60, 20), (20, 40, 220))
    made = np.asarray(augment(blue, (1,))).astype(int)
    assert (made[..., 2] - made[..., 0]).mean() > 40
