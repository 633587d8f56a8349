"""The drawing of which student block learnt from which teacher block: positions only, the template writes the SVG."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textkd.report.results import LayerMap, Results

ROW, BOX_WIDTH, BOX_HEIGHT, TOP = 34.0, 118.0, 24.0, 30.0
LEFT, RIGHT = 8.0, 354.0
WIDTH = RIGHT + BOX_WIDTH + 8
STEP, SPAN = 4.5, 20.0
# Told apart in print and by colour-blind readers by the dashes as well.
LINES = (
    ("#2563eb", ""),
    ("#c2570c", "7 3"),
    ("#15803d", "2 3"),
    ("#7e22ce", "9 3 2 3"),
    ("#be123c", "4 2"),
    ("#0e7490", "12 4"),
)


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
    """One stage. `kinds` are the legend: (text, colour, dashes)."""

    stage: int
    height: float
    students: list[Box]
    teachers: list[Box]
    lines: list[Line]
    kinds: list[tuple[str, str, str]]
    text: str


def drawings(results: Results) -> list[Drawing]:
    """One drawing for every stage that compares blocks."""
    stages = sorted({layer_map.stage for layer_map in results.layer_maps if layer_map.pairs})
    return [_drawing(stage, [m for m in results.layer_maps if m.stage == stage and m.pairs]) for stage in stages]


def _drawing(stage: int, maps: list[LayerMap]) -> Drawing:
    names = list(dict.fromkeys(f"{m.tap} / {m.loss}" for m in maps))
    look = {name: LINES[i % len(LINES)] for i, name in enumerate(names)}
    students, teachers = max(m.student_blocks for m in maps), max(m.teacher_blocks for m in maps)
    used_students = {pair[0] for m in maps for pair in m.pairs}
    used_teachers = {pair[1] for m in maps for pair in m.pairs}
    embeddings = 0 in used_students or 0 in used_teachers
    rows = max(students, teachers) + embeddings
    left = _column(LEFT, students, embeddings, rows, used_students)
    right = _column(RIGHT, teachers, embeddings, rows, used_teachers)
    lines = []
    for m in maps:
        name = f"{m.tap} / {m.loss}"
        aside = (names.index(name) - (len(names) - 1) / 2) * min(STEP, SPAN / max(len(names) - 1, 1))
        for student, teacher in m.pairs:
            y1, y2 = (left[student].y + BOX_HEIGHT / 2 + aside, right[teacher].y + BOX_HEIGHT / 2 + aside)
            what = f"{name}: student {_block(student)} learns from teacher {_block(teacher)}"
            lines.append(Line(LEFT + BOX_WIDTH, y1, RIGHT, y2, *look[name], what))
    text = "; ".join(
        _sentence(name, [p for m in maps if f"{m.tap} / {m.loss}" == name for p in m.pairs]) for name in names
    )
    kinds = [(name, *look[name]) for name in names]
    return Drawing(stage, TOP + rows * ROW, list(left.values()), list(right.values()), lines, kinds, text)


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
