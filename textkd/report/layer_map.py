"""The drawing of which block of one model learned from which of another: positions; the template writes the SVG."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textkd.report.evidence import LayerMap
from textkd.report.results import Results
from textkd.report.words import label, title

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
    """One stage, or a part of its comparisons, of two models: `source` learned from `target`. `kinds` are the legend:
    (text, colour, dashes)."""

    stage: int
    title: str
    source: str
    target: str
    height: float
    sources: list[Box]
    targets: list[Box]
    lines: list[Line]
    kinds: list[tuple[str, str, str]]
    text: str


def drawings(results: Results) -> list[Drawing]:
    """One drawing for every two models, stage, and side of encoder-decoders, that compares blocks."""
    compared = [layer_map for layer_map in results.layer_maps if layer_map.pairs]
    models = list(dict.fromkeys((m.source, m.target) for m in compared))
    keys = {(models.index((m.source, m.target)), m.stage, SIDES.index(_side(m))) for m in compared}
    found = []
    for which, stage, side in sorted(keys):
        ends = models[which]
        maps = [m for m in compared if ((m.source, m.target), m.stage, _side(m)) == (ends, stage, SIDES[side])]
        names = list(dict.fromkeys(_name(m) for m in maps))
        groups = [names[i : i + len(LINES)] for i in range(0, len(names), len(LINES))]
        for index, group in enumerate(groups, 1):
            parts = [f"Stage {stage}", SIDES[side]]
            if len(models) > 1:
                parts = [f"{title(ends[0])} from {label(ends[1])}", f"stage {stage}", SIDES[side]]
            head = ", ".join(filter(None, parts)) + (f" ({index} of {len(groups)})" if len(groups) > 1 else "")
            found.append(_drawing(head, group, [m for m in maps if _name(m) in group]))
    return found


def _side(layer_map: LayerMap) -> str:
    """Block 1 of an encoder is not block 1 of a decoder, nor need there be as many."""
    side = layer_map.tap.partition(".")[0]
    return side if side in SIDES else ""


def _name(layer_map: LayerMap) -> str:
    return f"{layer_map.tap} / {layer_map.loss}"


def _drawing(head: str, names: list[str], maps: list[LayerMap]) -> Drawing:
    """maps: of the same two models, stage and side."""
    look, (source, target) = dict(zip(names, LINES, strict=False)), (maps[0].source, maps[0].target)
    sources, targets = max(m.source_blocks for m in maps), max(m.target_blocks for m in maps)
    used_sources = {pair[0] for m in maps for pair in m.pairs}
    used_targets = {pair[1] for m in maps for pair in m.pairs}
    embeddings = 0 in used_sources or 0 in used_targets
    rows = max(sources, targets) + embeddings
    left = _column(LEFT, sources, embeddings, rows, used_sources)
    right = _column(RIGHT, targets, embeddings, rows, used_targets)
    lines = []
    for m in maps:
        name = _name(m)
        aside = (names.index(name) - (len(names) - 1) / 2) * STEP
        for mine, theirs in m.pairs:
            y1, y2 = (left[mine].y + BOX_HEIGHT / 2 + aside, right[theirs].y + BOX_HEIGHT / 2 + aside)
            what = f"{name}: {label(source)} {_block(mine)} learns from {label(target)} {_block(theirs)}"
            lines.append(Line(LEFT + BOX_WIDTH, y1, RIGHT, y2, *look[name], what))
    text = "; ".join(_sentence(name, [p for m in maps if _name(m) == name for p in m.pairs]) for name in names)
    kinds = [(name, *look[name]) for name in names]
    boxes = list(left.values()), list(right.values())
    return Drawing(maps[0].stage, head, source, target, TOP + rows * ROW, *boxes, lines, kinds, text)


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
    return f"{name}: " + ", ".join(f"{mine} from {theirs}" for mine, theirs in pairs)
