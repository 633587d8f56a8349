"""The page: it says what is so, holds all its parts, escapes what it quotes and needs nothing from elsewhere."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import pytest
from report_fakes import alone, plain, results, run

from textkd.report import build, save
from textkd.report.headline import headline
from textkd.report.layer_map import drawings
from textkd.report.page import render, write_page
from textkd.report.results import Results

VOID = {"meta", "img", "br", "wbr", "line", "rect"}


class Page(HTMLParser):
    """Reads a page: its tags in order, its addresses, its visible text; open and closed tags must match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def with_student(values: list[float], control: list[float], teacher: float = 0.9, **changes: object) -> Results:
    data = {**plain(100), **changes}
    data["models"]["teacher"]["runs"] = [run(None, teacher, None)]
    data["models"]["student"]["runs"] = [run(i, v) for i, v in enumerate(values)]
    data["models"]["control"]["runs"] = [run(i, v) for i, v in enumerate(control)]
    return Results.model_validate(data)


def test_the_page_holds_every_part_in_order():
    page = Page(render(results()))
    assert page.open == []
    parts = """sst2_minilm6_to_3|The student keeps 98.5%
        Before you rely on these numbers|Side by side|± 0.0023 (3 seeds)
        17,391,746|1.91\N{MULTIPLICATION SIGN} the teacher's speed|Speed: forward passes|Learning curves
        Which block learned from which|block 6|Where teacher and student disagree|teacher right|unflinchingly bleak
        Seeds|+0.0275|Recipe|temperature: 4|Versions and hardware|Imaginary Xeon"""
    parts = [part.strip() for line in parts.splitlines() for part in line.split("|")]
    places = [page.text.find(part, 40) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)


@pytest.mark.long
@pytest.mark.usefixtures("whole_pictures")
def test_the_page_needs_nothing_from_elsewhere():
    text = render(results())
    page = Page(text)
    assert len(page.images) == 3
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert all(image["alt"] for image in page.images)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    pictures = [base64.b64decode(address.partition(",")[2]).decode() for address in page.addresses]
    for code in [text, *pictures]:
        assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", code)
        assert "url(http" not in code
        assert "@import" not in code
        assert set(re.findall(r"https?://[^\"'\s]+", code)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }


def test_texts_of_examples_are_shown_and_never_run():
    text = render(results(name="<img src=x onerror=alert(1)>", recipe="</pre><script>1</script>"))
    page = Page(text)
    assert "script" not in page.tags
    assert len(page.images) == 3
    assert "<script>alert('x')</script>" in page.text
    assert "</pre><script>1</script>" in page.text
    assert "<img src=x onerror=alert(1)>" in page.text


@pytest.mark.long
@pytest.mark.usefixtures("whole_pictures")
def test_the_same_results_give_the_same_bytes_whatever_the_plotting_settings(tmp_path):
    save(tmp_path, results())
    first = build(tmp_path).read_bytes()
    summary = (tmp_path / "report.json").read_bytes()
    with mpl.rc_context({"lines.linewidth": 9, "svg.hashsalt": "other", "axes.xmargin": 0.3, "xtick.direction": "in"}):
        assert build(tmp_path).read_bytes() == first
    assert (tmp_path / "report.json").read_bytes() == summary
    assert write_page(tmp_path).read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json", "results.json"]


@pytest.mark.slow
def test_rendering_leaves_the_plotting_settings_alone():
    # In a process of its own: matplotlib must have chosen a backend (from then on its default) before ours loads.
    code = """
import matplotlib as mpl, sys
assert mpl.rcParams["backend"]
mpl.rcParams["backend"] = "pdf"
mpl.rcParams["lines.linewidth"] = 7.0
before = dict(mpl.rcParams)
sys.path.insert(0, sys.argv[1])
from report_fakes import results
from textkd.report.page import render
render(results())
after = dict(mpl.rcParams)
assert before["backend"] == "pdf" and after == before, after["backend"]
"""
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_control_the_page_says_what_is_unknown():
    page = Page(render(Results.model_validate(alone(400))))
    assert "Whether the teacher helped is unknown" in page.text
    assert "Control" not in page.text
    assert "Student \N{MINUS SIGN} control" not in page.text


def test_a_given_teacher_and_no_history_at_all():
    page = Page(render(with_student([0.88], [0.86])))
    assert page.images == []
    assert "Learning curves" not in page.text
    assert "as given" in page.text
    assert "(1 seed)" in page.text


def test_regression_shows_the_largest_differences_first():
    examples = [
        {"text_a": "small one", "text_b": "a", "label": 2.0, "said": {"teacher": 2.1, "student": 2.3}},
        {"text_a": "large one", "text_b": "b", "label": 4.0, "said": {"teacher": 4.1, "student": 1.1}},
    ]
    data = {**plain(100), "disagreements": {"counts": None, "examples": examples}}
    page = Page(render(Results.model_validate(data)))
    assert "differ most" in page.text
    assert "teacher right" not in page.text
    assert -1 < page.text.index("large one") < page.text.index("small one")
    assert "3.00" in page.text
    assert "✓" not in page.text
    assert "✗" not in page.text


def test_several_labels_are_joined_and_judged_as_a_set():
    example = {
        "text_a": "t",
        "label": ["joy", "love"],
        "said": {"teacher": ["joy", "love"], "student": []},
        "sure": {"teacher": 0.7, "student": 0.6},
    }
    counts = {"both_right": 1, "only_reference": 1, "only_student": 0, "both_wrong": 0}
    page = Page(render(results(disagreements={"counts": counts, "examples": [example]})))
    assert "✓ joy, love" in page.text
    assert "✗ (none)" in page.text


def test_no_disagreements_no_layers_no_warnings():
    page = Page(render(results(disagreements=None, layer_maps=[], warnings=[])))
    for part in ("Where teacher", "Which block", "Before you rely"):
        assert part not in page.text


@pytest.mark.parametrize(
    ("student", "control", "words"),
    [
        ([0.88, 0.882], [0.86, 0.862], "Without a teacher the same student reaches 0.8610 instead of 0.8810."),
        ([0.86, 0.862], [0.88, 0.882], "Distilling did not help: without a teacher the same student reaches 0.8810"),
        (
            [0.86, 0.88],
            [0.859, 0.879],
            "No gain is shown: without a teacher the same student reaches 0.8690 instead of 0.8700",
        ),
        ([0.86, 0.88], [0.859, 0.879], "within the spread over 2 seeds (±0.0141)"),
        ([0.88], [0.86], "With one seed, chance is not ruled out."),
        ([0.86], [0.86], "The teacher made no difference"),
        ([float("nan")], [0.86], "The comparison failed"),
    ],
)
def test_the_headline_says_plainly_whether_the_teacher_helped(student, control, words):
    assert words in headline(with_student(student, control))


def test_the_headline_compares_with_the_teacher():
    assert headline(with_student([0.855, 0.855], [0.8, 0.8])).startswith(
        "The student keeps 95.0% of the teacher's accuracy with 77% of its parameters "
        "and is 1.91\N{MULTIPLICATION SIGN} as fast."
    )
    assert "reaches 102.0% of the teacher's accuracy" in headline(with_student([0.918], [0.8]))
    assert "(a difference within the spread)" in headline(with_student([0.88, 0.91], [0.8, 0.8]))


def test_where_lower_is_better_the_headline_turns_round():
    said = headline(with_student([0.12], [0.10], teacher=0.08, greater_is_better=False))
    assert "reaches accuracy 0.1200 (lower is better), +0.0400 over the teacher's 0.0800, with 77%" in said
    assert "Distilling did not help" in said


def test_a_slower_student_is_called_slower():
    data = plain(100)
    data["models"]["student"]["latency_ms"] = data["models"]["control"]["latency_ms"] = 42.8
    assert "is no faster: it takes 2.00\N{MULTIPLICATION SIGN} the time" in headline(Results.model_validate(data))


def test_every_pair_of_blocks_is_a_line_between_its_boxes():
    first, second = drawings(results())
    assert (first.stage, second.stage) == (1, 2)
    assert (len(first.lines), len(second.lines)) == (10, 1)
    assert [box.label for box in first.targets] == ["embeddings", *(f"block {k}" for k in range(1, 7))]
    assert [box.label for box in second.sources] == ["block 1", "block 2", "block 3"]
    assert [box.used for box in second.targets] == [False] * 5 + [True]
    line, box = second.lines[0], second.targets[5]
    assert (line.x2, line.y2) == (box.x, pytest.approx(box.y + 12))
    assert (line.x1, line.y1) == (second.sources[2].x + 118, pytest.approx(second.sources[2].y + 12))
    assert "hidden / mse: 0 from 0, 1 from 2, 2 from 4, 3 from 6" in first.text


def test_many_kinds_of_comparison_are_drawn_in_several_pictures():
    maps = [{**plain(100)["layer_maps"][3], "tap": f"tap{i}"} for i in range(6)]
    found = drawings(results(layer_maps=maps))
    assert [(d.title, len(d.lines)) for d in found] == [("Stage 2 (1 of 2)", 4), ("Stage 2 (2 of 2)", 2)]
    assert len({kind[1:] for kind in found[0].kinds}) == 4


def test_models_that_all_score_the_same_conclude_nothing():
    said = headline(with_student([0.5], [0.5], teacher=0.5))
    assert said.startswith("Nothing can be concluded")
    assert "the same answer" in said
    assert "keeps" not in said
    best = headline(with_student([1.0], [1.0], teacher=1.0))
    assert "none can score better (accuracy 1.0000)" in best
    assert "the same answer" not in best


def test_a_speed_difference_smaller_than_the_timing_noise_is_called_that():
    data = plain(100)
    data["models"]["control"]["latency_ms"] = data["models"]["student"]["latency_ms"] * 2.5
    noisy = Results.model_validate(data)
    assert "is about as fast (a difference within the noise of the timing)" in headline(noisy)
    assert "their latencies differ by 150.0%: that much is noise" in Page(render(noisy)).text
    data["models"]["control"]["parameters"] -= 1
    assert "noise" not in Page(render(Results.model_validate(data))).text
