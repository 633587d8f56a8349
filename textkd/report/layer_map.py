"""The drawing of which student block learnt from which teacher block: positions only, the template writes the SVG."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textkd.report.results import LayerMap, Results

ROW, BOX_WIDTH, BOX_HEIGHT, TOP = 34.0, 118.0, 24.0, 30.0
LEFT, RIGHT = 8.0, 354.0
WIDTH = RIGHT + BOX_WIDTH + 8
STEP = 4.5
SIDES = ("", "encoder", "decoder")
# Told apart in print and by colour-blind readers by the dashes as well.
# More kinds of comparison than this go into a second drawing.
LINES = (("#2563eb", ""), ("#c2570c", "7 3"), ("#15803d", "2 3"), ("#7e22ce", "9 3 2 3"))


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    label: str
    used: bool


@dataclass(frozen=True)
class Line:
    x1: float
    y1: float
    x2: float
    y2: float
    colour: str
    dashes: str
    what: str


@dataclass(frozen=True)
class Drawing:
    """One stage, or a part of its comparisons. `kinds` are the legend: (text, colour, dashes)."""

    stage: int
    title: str
    height: float
    students: list[Box]
    teachers: list[Box]
    lines: list[Line]
    kinds: list[tuple[str, str, str]]
    text: str


def drawings(results: Results) -> list[Drawing]:
    """One drawing for every stage, and every side of encoder-decoders, that compares blocks."""
    compared = [layer_map for layer_map in results.layer_maps if layer_map.pairs]
    found = []
    for stage, side in sorted({(m.stage, _side(m)) for m in compared}, key=lambda key: (key[0], SIDES.index(key[1]))):
        maps = [m for m in compared if (m.stage, _side(m)) == (stage, side)]
        names = list(dict.fromkeys(_name(m) for m in maps))
        groups = [names[i : i + len(LINES)] for i in range(0, len(names), len(LINES))]
        for index, group in enumerate(groups, 1):
            title = f"Stage {stage}{side and ', ' + side}" + (f" ({index} of {len(groups)})" if len(groups) > 1 else "")
            found.append(_drawing(stage, title, group, [m for m in maps if _name(m) in group]))
    return found


def _side(layer_map: LayerMap) -> str:
    """Block 1 of an encoder is not block 1 of a decoder, nor need there be as many."""
    side = layer_map.tap.partition(".")[0]
    return side if side in SIDES else ""


def _name(layer_map: LayerMap) -> str:
    return f"{layer_map.tap} / {layer_map.loss}"


def _drawing(stage: int, title: str, names: list[str], maps: list[LayerMap]) -> Drawing:
    look = dict(zip(names, LINES, strict=False))
    students, teachers = max(m.student_blocks for m in maps), max(m.teacher_blocks for m in maps)
    used_students = {pair[0] for m in maps for pair in m.pairs}
    used_teachers = {pair[1] for m in maps for pair in m.pairs}
    embeddings = 0 in used_students or 0 in used_teachers
    rows = max(students, teachers) + embeddings
    left = _column(LEFT, students, embeddings, rows, used_students)
    right = _column(RIGHT, teachers, embeddings, rows, used_teachers)
    lines = []
    for m in maps:
        name = _name(m)
        aside = (names.index(name) - (len(names) - 1) / 2) * STEP
        for student, teacher in m.pairs:
            y1, y2 = (left[student].y + BOX_HEIGHT / 2 + aside, right[teacher].y + BOX_HEIGHT / 2 + aside)
            what = f"{name}: student {_block(student)} learns from teacher {_block(teacher)}"
            lines.append(Line(LEFT + BOX_WIDTH, y1, RIGHT, y2, *look[name], what))
    text = "; ".join(_sentence(name, [p for m in maps if _name(m) == name for p in m.pairs]) for name in names)
    kinds = [(name, *look[name]) for name in names]
    return Drawing(stage, title, TOP + rows * ROW, list(left.values()), list(right.values()), lines, kinds, text)


def _column(x: float, blocks: int, embeddings: bool, rows: int, used: set[int]) -> dict[int, Box]:
    """Blocks spread evenly over the height that the longer side needs, the input on top."""
    first = TOP + (ROW if embeddings else 0.0)
    pitch = (rows - embeddings) * ROW / max(blocks, 1)
    column = {0: Box(x, TOP, "embeddings", 0 in used)} if embeddings else {}
    for k in range(1, blocks + 1):
        column[k] = Box(x, first + (k - 0.5) * pitch - BOX_HEIGHT / 2, _block(k), k in used)
    return column


def _block(k: int) -> str:
    return f"block {k}" if k else "embeddings"


def _sentence(name: str, pairs: Iterable[tuple[int, int]]) -> str:
    return f"{name}: " + ", ".join(f"{student} from {teacher}" for student, teacher in pairs)
