"""Which lines and texts a student gets: filters, interpolation, and what is refused."""

import pytest
from line_tables import WORDS, Table
from places import SHARED

from textkd.errors import TextkdError
from textkd.tasks.ocr.sources import lines
from textkd.teachers.generation.labelling import Filters, PseudoLabels, apply, pseudo_labels
from textkd.teachers.generation.recogniser import Recogniser


def labels_of(texts, confidences=None, references=None):
    count = len(texts)
    return PseudoLabels(texts, confidences or [0.9] * count, references or [None] * count)


def test_without_transcriptions_the_student_gets_what_the_teacher_read():
    selection = apply(Table(3, texts=None), labels_of(["a", "b", "c"]))
    assert (selection.indices, selection.texts) == ([0, 1, 2], ["a", "b", "c"])
    assert selection.notes["cer"] is None
    assert selection.summary() == ("3 of 3 lines: 3 with the teacher's text, 0 with their transcription; dropped: none")


@pytest.mark.parametrize(
    ("filters", "kept", "dropped"),
    [
        (Filters(), [0, 1, 3, 4, 5], {"min_chars": 1}),
        (Filters(min_chars=4), [0, 1, 4, 5], {"min_chars": 2}),
        (Filters(max_chars=5), [3, 4, 5], {"max_chars": 2, "min_chars": 1}),
        (Filters(alphabet="abcdefghijklmnopqrstuvwxyz "), [0, 3, 5], {"alphabet": 2, "min_chars": 1}),
        (Filters(min_confidence=0.8), [0, 3, 5], {"min_confidence": 2, "min_chars": 1}),
        (Filters(max_cer=0.1), [0, 4, 5], {"max_cer": 2, "min_chars": 1}),
        (Filters(max_cer=0.12), [0, 1, 4, 5], {"max_cer": 1, "min_chars": 1}),
        (Filters(min_confidence=0.8, max_cer=0.1), [0, 5], {"min_confidence": 2, "max_cer": 1, "min_chars": 1}),
    ],
)
def test_filters_drop_what_they_say_and_count_it(filters, kept, dropped):
    texts = ["distillation", "knowIedge", "", "dat", "文字文字", "loss"]
    references = ["distillation", "knowledge", "label", "data", None, None]
    labels = labels_of(texts, [0.9, 0.7, 0.0, 0.8, 0.6, 0.95], references)
    selection = apply(Table(6, texts=references), labels, filters)
    assert selection.indices == kept
    assert selection.texts == [texts[i] for i in kept]
    assert selection.notes["dropped"] == dropped
    assert selection.notes["kept"] == selection.notes["teacher"] == len(kept)


def test_notes_tell_the_error_rate_before_and_after():
    references = ["abcd", "abcdef", None]
    labels = labels_of(["abcd", "xxxxxx", "read"], references=references)
    notes = apply(Table(3, texts=references), labels, Filters(max_cer=0.5)).notes
    assert notes["cer"] == pytest.approx(0.6)  # 6 of 10 characters
    assert notes["cer_teacher"] == 0


def mixed(mix, seed=0, count=40, unwritten=()):
    references = [None if i in unwritten else f"true {i}" for i in range(count)]
    labels = labels_of([f"read {i}" for i in range(count)], references=references)
    selection = apply(Table(count, texts=references), labels, mix=mix, seed=seed)
    assert selection.indices == list(range(count))
    assert all(text in (f"read {i}", f"true {i}") for i, text in enumerate(selection.texts))
    return [i for i, text in enumerate(selection.texts) if text.startswith("read")]


def test_mix_is_the_share_of_transcribed_lines_with_the_teachers_text():
    assert mixed(0.0) == []
    assert mixed(1.0) == list(range(40))
    assert len(mixed(0.25)) == 10
    assert len(mixed(0.001)) == 1  # asked for, so there is one


def test_mix_depends_on_seed_alone_and_grows_by_adding():
    assert mixed(0.3, seed=1) != mixed(0.3)
    assert set(mixed(0.3)) < set(mixed(0.6))


def test_lines_without_transcription_always_take_the_teachers_text():
    assert mixed(0.0, unwritten={3, 5}) == [3, 5]
    chosen = mixed(0.5, unwritten={3, 5})
    assert {3, 5} < set(chosen)
    assert len(chosen) == 2 + 19


def test_filters_do_not_touch_lines_that_keep_their_transcription():
    references = [f"true {i}" for i in range(10)]
    labels = labels_of(["read"] * 10, [0.1, 0.9] * 5, references)
    selection = apply(Table(10, texts=references), labels, Filters(min_confidence=0.5), mix=0.5)
    taught = [i for i, text in zip(selection.indices, selection.texts, strict=True) if text == "read"]
    notes = selection.notes
    assert all(i % 2 for i in taught)
    assert notes["transcription"] == 5
    assert notes["teacher"] + notes["dropped"]["min_confidence"] == 5
    assert notes["kept"] == len(selection.indices) == 5 + len(taught)


def test_rewritten_texts_are_compared_anew():
    labels = labels_of(["Total", "TAX"], references=["TOTAL", "TAX"])
    assert labels.cer == [0.8, 0]
    assert labels.rewritten(str.upper).cer == [0, 0]
    assert list(labels.texts) == ["Total", "TAX"]


def test_a_filter_that_drops_everything_says_what_there_is():
    labels = labels_of(["on", "two"], [0.6, 0.7], WORDS[:2])
    said = r"drops everything: 2 texts of the teacher, dropped by min_confidence 2; the highest confidence is 0.7000"
    with pytest.raises(TextkdError, match=said + ", the lowest CER 0.0000"):
        apply(Table(2), labels, Filters(min_confidence=0.99))


def test_lines_left_with_transcriptions_alone_are_no_distillation():
    references = [f"true {i}" for i in range(10)]
    labels = labels_of(["read"] * 10, references=references)
    with pytest.raises(TextkdError, match="drops everything: 5 texts"):
        apply(Table(10, texts=references), labels, Filters(min_confidence=0.95), mix=0.5)


def test_settings_out_of_range_are_told_all_at_once():
    filters = Filters(min_confidence=1.2, max_cer=-0.1, min_chars=0, max_chars=-1)
    with pytest.raises(TextkdError) as caught:
        apply(Table(3), labels_of(["a", "b"]), filters, mix=1.5)
    assert {p.where for p in caught.value.problems} == {
        "",
        "mix",
        "min_confidence",
        "max_cer",
        "min_chars",
        "max_chars",
    }
    said = str(caught.value)
    assert "pseudo labels of 2 lines and a table of 3" in said
    assert "no line has a transcription" in said


@pytest.mark.slow
def test_a_black_box_labels_real_lines(tmp_path):
    """60 dev lines: readings within 15 % of their transcription are nearly all of them and nearly right."""
    file = SHARED / "data" / "ocr_oldbooks" / "dev.parquet"
    if not file.is_file():
        pytest.skip(f"{file} is not here (TEXTKD_SHARED)")
    table = lines({"path": file, "limit": 60, "seed": 0})
    reader = Recogniser(SHARED / "models" / "ppocrv6-rec-small" / "PP-OCRv6_rec_small.onnx", threads=1)
    labels = pseudo_labels(reader, table, tmp_path, shard_size=32)
    selection = apply(table, labels, Filters(min_confidence=0.9, max_cer=0.15))
    assert selection.notes["kept"] >= 54
    assert selection.notes["cer_teacher"] <= 0.015
