"""The report of more models than three, and of models that no teacher taught: what page, card and JSON say."""

from __future__ import annotations

import re
from typing import Any

import pytest
from graph_fakes import chain, cohort, read, shipped, teachers
from report_fakes import alone, plain, results, run
from test_report_page import Page

from textkd.report import model_card, plots, summary
from textkd.report.headline import headline, timing_noise
from textkd.report.layer_map import drawings
from textkd.report.looks import looks
from textkd.report.page import render
from textkd.report.results import Results
from textkd.report.table import by_seed, comparison, examples, seed_heads
from textkd.report.words import label, spoken, title

X = "\N{MULTIPLICATION SIGN}"


def cells(found: Results, name: str) -> list[tuple[str, str]]:
    (only,) = [row for row in comparison(found) if row.label == name]
    return [(cell.main, cell.sub) for cell in only.cells]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            chain(),
            f"The student keeps 98.7% of the teacher's accuracy with 77% of its parameters and is 1.91{X} as fast. "
            "Without a teacher the same student reaches 0.8761 instead of 0.9013. The assistant reaches 0.9067.",
        ),
        (
            cohort(),
            "Peer 1 reaches accuracy 0.8891. Without distillation the same model reaches 0.8761 instead of 0.8891. "
            "Peer 2 reaches 0.8885.",
        ),
        (
            teachers(),
            f"The student keeps 96.9% of big's accuracy with 16% of its parameters and is 7.41{X} as fast. Without a "
            "teacher the same student reaches 0.8761 instead of 0.9013. Other reaches 0.9128 and long named teacher "
            "reaches 0.9105.",
        ),
        (
            shipped(2),
            f"The student keeps 98.7% of the teacher's accuracy with 77% of its parameters and is 1.91{X} as fast. "
            "Without a teacher the same student reaches 0.8761 instead of 0.9013. The assistant reaches 0.9067, exit 0 "
            f"reaches 0.8000 and exit 1 reaches 0.8010. Shipped: accuracy 0.8998 in 69.7 MB, 2.64{X} as fast as the "
            f"teacher in batches of one (student_onnx); accuracy 0.8998 in 18.2 MB, 4.37{X} as fast as the teacher in "
            "batches of one (student_int8).",
        ),
    ],
    ids=["chain", "cohort", "teachers", "shipped"],
)
def test_the_headline_speaks_of_those_that_are_compared_and_tells_the_others(data, said):
    assert headline(read(data)) == said


def peers(student: list[float], control: list[float] | None, **changes: Any) -> Results:
    data = {**cohort(), **changes}
    data["models"]["peer_1"]["runs"] = [run(i, v) for i, v in enumerate(student)]
    del data["models"]["peer_2"]
    data["disagreements"] = None
    if control is None:
        del data["models"]["control"]
        data["compare"] = {"student": "peer_1", "teacher": None, "control": None}
    else:
        data["models"]["control"]["runs"] = [run(i, v) for i, v in enumerate(control)]
    return read(data)


@pytest.mark.parametrize(
    ("student", "control", "words"),
    [
        ([0.88], [0.86], "Without distillation the same model reaches 0.8600 instead of 0.8800. With one seed, chance"),
        ([0.86], [0.88], "Distilling did not help: without distillation the same model reaches 0.8800"),
        ([0.86, 0.88], [0.859, 0.879], "No gain is shown: without distillation the same model reaches 0.8690"),
        ([float("nan")], [0.86], "The comparison failed: accuracy of peer 1 is not a number."),
        ([0.88], [float("nan")], "The comparison with the model trained without distillation failed"),
        ([0.88], None, "Peer 1 reaches accuracy 0.8800. Whether distillation helped is unknown: the same model was"),
    ],
)
def test_without_a_teacher_the_headline_compares_with_the_control(student, control, words):
    said = headline(peers(student, control))
    assert words in said
    assert "teacher" not in said


def test_models_that_score_alike_conclude_nothing_unless_one_of_them_differs_or_is_shipped():
    data = cohort()
    data["models"]["control"]["runs"] = data["models"]["peer_1"]["runs"]
    assert "Distillation made no difference: without it the same model reaches the same 0.8891." in headline(read(data))
    data["models"]["peer_2"]["runs"] = data["models"]["peer_1"]["runs"]
    assert headline(read(data)).startswith("Nothing can be concluded")
    data["models"]["peer_2"]["runtime"] = data["models"]["control"]["runtime"] = "onnxruntime 1.22"
    assert "Nothing can be concluded" not in headline(read(data))


def test_without_a_teacher_errors_are_subtracted_from_the_controls():
    found = peers([0.05, 0.051], [0.07, 0.071], greater_is_better=False)
    assert headline(found).startswith("Peer 1 reaches accuracy 0.0505 (lower is better). Without distillation")
    assert cells(found, "Difference from the control's") == [("-0.0200", "better"), ("–", "")]  # noqa: RUF001
    assert "over_teacher" not in summary(found)


def test_one_model_alone_is_a_report():
    page = Page(render(peers([0.9], None)))
    assert "Nothing can be concluded" not in page.text
    assert "Share of" not in page.text
    assert page.open == []


def test_peers_without_a_control_are_measured_by_each_other():
    data = cohort()
    del data["models"]["control"]
    data["compare"]["control"] = None
    for example in data["disagreements"]["examples"]:
        del example["said"]["control"], example["sure"]["control"]
    page = Page(render(read(data))).text
    assert "Where peer 2 and peer 1 disagree" in page
    assert "Share of peer 2's" in page
    assert "Whether distillation helped is unknown" in page
    assert "trained without" not in page.replace("was not trained without it", "")
    del data["models"]["peer_2"]
    for example in data["disagreements"]["examples"]:
        del example["said"]["peer_2"], example["sure"]["peer_2"]
    assert "disagree" not in Page(render(read(data))).text


def test_models_stand_in_their_own_order_under_their_own_names():
    found = read(teachers())
    names = ["Big", "Other", "Long named teacher", "Student", "Control"]
    text = render(found)
    heads = re.findall(r'<th scope="col" class="m\d+"><b>(.*?)</b>', text)
    assert heads == names
    assert seed_heads(found) == ["Seed", *names, "Student \N{MINUS SIGN} control"]
    assert all(len(row) == 7 for row in by_seed(found))
    turned = {**teachers(), "models": dict(reversed(teachers()["models"].items()))}
    assert seed_heads(read(turned))[1:6] == names[::-1]
    assert headline(read(turned)).startswith("The student keeps 96.9% of big's")


def test_shares_are_those_of_the_teacher_that_is_compared_wherever_it_stands():
    turned = read({**teachers(), "models": dict(reversed(teachers()["models"].items()))})
    assert cells(turned, "Share of big's")[-1] == ("100.0%", "")
    assert cells(turned, "Latency") == [
        ("11.3 ms", f"7.35{X} big's speed"), ("11.2 ms", f"7.41{X} big's speed"), ("21.4 ms", f"3.88{X} big's speed"),
        ("21.4 ms", f"3.88{X} big's speed"), ("83.0 ms", ""),
    ]  # fmt: skip
    assert cells(turned, "Parameters")[0] == ("17,391,746", "15.9% of big's")
    assert cells(read(cohort()), "Share of the control's") == [("101.5%", ""), ("101.4%", ""), ("100.0%", "")]


def test_the_page_says_whose_disagreements_are_counted():
    for data, one, other in ((teachers(), "big", "student"), (cohort(), "control", "peer 1")):
        text = Page(render(read(data))).text
        assert f"Where {one} and {other} disagree" in text
        for part in (f"{one} right", f"{one} wrong", f"{other} right", f"{other} wrong"):
            assert part in text
    shown = examples(read(teachers()))[0]
    assert [said.text for said in shown.said] == ["negative", "positive", "negative", "positive", "negative"]


def test_what_is_shipped_says_its_runtime_and_that_it_was_not_trained():
    found = read(shipped())
    assert [main for main, _ in cells(found, "Runtime")] == ["PyTorch"] * 4 + [
        "onnxruntime 1.22",
        "onnxruntime 1.22, int8",
    ]
    assert cells(found, "accuracy")[-1] == ("0.8998", "(as shipped)")
    assert summary(found)["models"]["student_int8"]["runtime"] == "onnxruntime 1.22, int8"
    assert "runtime" not in summary(found)["student"]
    assert "Runtime" not in [row.label for row in comparison(results())]


def test_a_model_may_be_called_like_a_key_of_the_summary():
    data = cohort()
    data["models"]["kept"] = data["models"].pop("peer_2")
    data["models"]["peer_1"]["taught_by"] = ["kept"]
    data["disagreements"] = None
    got = summary(read(data))
    assert got["kept"] is None
    assert list(got["models"]) == ["peer_1", "control", "kept"]
    assert got["control"] == got["models"]["control"]
    assert got["compare"] == {"student": "peer_1", "teacher": None, "control": "control"}


@pytest.mark.parametrize(
    "data", [chain(), cohort(), teachers(), shipped(18)], ids=["chain", "cohort", "teachers", "24"]
)
def test_every_model_has_a_look_of_its_own_that_is_read_on_white(data):
    found = read(data)
    look = looks(found)
    assert list(look) == list(found.models)
    assert len({(one.colour, str(one.dashes)) for one in look.values()}) == len(look)
    assert len({one.style for one in look.values()}) == len(look)
    compare = found.compare
    assert look[compare.student].colour == "#2563eb"
    assert compare.control is not None
    assert look[compare.control].colour == "#c2570c"
    text = render(found)
    for one in look.values():
        assert f".{one.style} {{ --own: {one.colour}; }}" in text
        assert 1.05 / (luminance(one.colour) + 0.05) >= 4.5
    page = Page(text)
    assert page.open == []
    assert len(text) < 2_000_000


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance of sRGB."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_each_two_models_have_a_drawing():
    first, second = drawings(read(teachers()))
    assert [d.title for d in (first, second)] == ["Student from big, stage 1", "Student from other, stage 1"]
    assert (first.target, len(first.targets), second.target, len(second.targets)) == ("big", 12, "other", 6)
    assert first.lines[0].what == "hidden / mse: student block 1 learns from big block 4"
    assert [(d.source, d.target) for d in drawings(read(chain()))] == [
        ("assistant", "teacher"),
        ("student", "assistant"),
    ]
    data = teachers()
    data["layer_maps"][0]["target"] = "a_model_that_is_not_shown"
    assert "a model that is not shown" in Page(render(read(data))).text


@pytest.mark.long
@pytest.mark.usefixtures("whole_pictures")
def test_curves_are_of_those_that_learn_and_levels_of_those_that_only_teach(monkeypatch):
    seen: dict[str, Any] = {}
    monkeypatch.setattr(plots, "_finish", lambda axes, results, ylabel, log: seen.update({ylabel: axes}))
    for data, curves, levels in (
        (chain(), ["assistant", "student", "control"], ["teacher"]),
        (cohort(), ["peer 1", "peer 2", "control"], []),
        (teachers(), ["student", "control"], ["big", "other", "long named teacher"]),
    ):
        assert plots.metric_plot(read(data))
        told = seen["accuracy"].get_legend_handles_labels()[1]
        assert told == [f"{name}, mean of 3 seeds" for name in curves] + [f"{n}, after its training" for n in levels]
        assert plots.loss_plot(read(data))
        told = seen["total loss"].get_legend_handles_labels()[1]
        assert [one.split(",")[0] for one in told] == curves
    assert told == ["student, taught by big, other and long named teacher", "control, without a teacher"]


def test_cards_of_every_model():
    found = read(teachers())
    card = model_card(found)
    assert "# sst2_three_teachers (student)" in card
    assert ": the student of a distillation with textkd, blocks 2, 4, 6 of other." in card
    assert "Its teachers: BertForSequenceClassification 12x768, BERT-base fine-tuned on SST-2; Bert" in card
    assert "| big | other | long named teacher | student | control |" in card
    peer = model_card(read(cohort()))
    assert "(peer 1)" in peer
    assert "the model peer 1 of a distillation" in peer
    assert "It learnt together with peer 2: each from the answers of the others." in peer
    assert "Its teacher" not in peer
    assert "A student learns its teacher's mistakes" not in model_card(found, "big")
    assert "distillation\n" not in model_card(found, "big").split("model-index")[0]


def test_the_noise_of_the_timing_is_that_of_two_named_models():
    data = cohort()
    data["models"]["control"]["latency_ms"] *= 2
    found = read(data)
    assert timing_noise(found) == pytest.approx(22.6 / 11.2)
    assert "Peer 1 and control are models of one shape" in Page(render(found)).text


def test_a_student_that_does_not_say_who_taught_it_was_taught_by_the_teacher():
    assert read(plain(40)).student.taught_by == ["teacher"]
    data = alone()
    data["models"]["student"]["taught_by"] = ["another"]
    assert read(data).student.taught_by == ["another"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("student", ("student", "Student", "the student")),
        ("peer_1", ("peer 1", "Peer 1", "peer 1")),
        ("student_onnx", ("student ONNX", "Student ONNX", "student ONNX")),
        ("_", ("_", "_", "_")),
    ],
)
def test_names_as_words(name, words):
    assert (label(name), title(name), spoken(name)) == words
