"""The OCR task: splits, what is left out and told, metrics, options."""

import pytest
from line_files import encoded, line_image, parquet
from places import SHARED
from tiny_lines import TEXTS, DrawnLines, tiny_model

from textkd import tasks
from textkd.errors import TextkdError
from textkd.tasks.ocr.generate import Generation
from textkd.tasks.ocr.processor import decode_texts, line_processor
from textkd.tasks.ocr.rows import texts_of
from textkd.tasks.ocr.splits import hold_out
from textkd.tasks.ocr.task import OcrTask

OTHER = ["the mat", "a cat sat", "no lines on it"]


def write(path, texts):
    return parquet(path, [{"image": {"bytes": encoded(line_image(t)), "path": None}, "text": t} for t in texts])


@pytest.fixture
def task(tmp_path):
    train, dev = write(tmp_path / "train.parquet", TEXTS), write(tmp_path / "dev.parquet", OTHER)
    return tasks.get("ocr", train=train, eval=dev, width=128)


def of_tables(**tables):
    """A task of tables that are in memory."""
    made = OcrTask(dict.fromkeys(tables, "unread"), shape={"width": 128})
    made._tables = dict(tables)
    return made


def test_what_a_distiller_asks(task):
    assert (task.name, task.output.problem_type, task.output.main_metric, task.output.greater_is_better) == (
        "ocr", "sequence_to_sequence", "cer", False,
    )  # fmt: skip
    assert list(task.output.metric_names) == ["cer", "wer", "exact"]
    assert (task.output.labels, task.output.head(), task.splits, task.eval_splits) == (
        None,
        {},
        ("train", "eval"),
        ("eval",),
    )
    task.problems()
    assert task.load("eval")["text"] == OTHER
    assert task.load("train")[3]["image"].mode == "RGB"
    assert task.output.auto_class.__name__ == "VisionEncoderDecoderModel"


def test_train_rows_are_augmented_and_eval_rows_are_not(task):
    train, dev = (task.encode(task.processor, split) for split in ("train", "eval"))
    assert [len(train), len(dev)] == [len(TEXTS), len(OTHER)]
    assert dev[1]["image"].tobytes() == task.load("eval")[1]["image"].tobytes()
    images = [train[0]["image"].tobytes()]
    train.set_epoch(1)
    assert images[0] not in (train[0]["image"].tobytes(), task.load("train")[0]["image"].tobytes())
    still = task.encode(task.processor, "train", training=False)
    assert still[0]["image"].tobytes() == task.load("train")[0]["image"].tobytes()
    task.strength = 0.0
    assert task.encode(task.processor, "train").augment is None
    assert task.output.references(dev) == OTHER


def test_the_processor_is_trained_on_train_texts_alone(task):
    assert set(task.processor.tokenizer.get_vocab()) - {"<s>", "<pad>", "</s>", "<unk>", "<mask>", "▁"} == set(
        "".join(TEXTS)
    ) - {" "}
    assert task.processor is task.processor
    unigram = tasks.ocr(task.sources["train"], task.sources["eval"], tokenizer="unigram", vocab_size=50)
    assert len(unigram.processor.tokenizer) <= 50


def test_a_given_processor(task, tmp_path):
    line_processor([*TEXTS, *OTHER, "%"], width=256).save_pretrained(tmp_path / "folder")
    mine = tasks.ocr(task.sources["train"], task.sources["eval"], processor=str(tmp_path / "folder"))
    mine.problems()
    assert "%" in mine.processor.tokenizer.get_vocab()
    assert mine.fingerprint() != task.fingerprint()
    wrong = tasks.ocr(task.sources["train"], tmp_path / "dv.parquet", processor=str(tmp_path))
    with pytest.raises(TextkdError) as caught:
        wrong.problems()
    assert {"processor", "eval"} <= {one.where for one in caught.value.problems}
    assert len(caught.value.problems) == 3  # no dv.parquet, no image processor, no tokenizer


def test_long_train_lines_are_refused_or_left_out_and_told_never_cut():
    task = of_tables(train=DrawnLines(), eval=DrawnLines())
    most = len("sat, on a mat;") + 2
    with pytest.raises(TextkdError) as caught:
        task.encode(task.processor, "train", max_length=most)
    assert f"texts of at most {most} tokens" in str(caught.value)
    assert "2 of 6 lines of drawn lines have more, up to 28 (line 1, line 5)" in str(caught.value)
    assert "skip_long: true" in str(caught.value)
    task.skip_long = True
    rows = task.encode(task.processor, "train", max_length=most)
    assert rows["place"] == [1, 2, 3, 5]
    assert rows["text"] == [TEXTS[i] for i in (1, 2, 3, 5)]
    assert rows[3]["place"] == 5
    assert max(rows["length"]) == most
    dev = task.encode(task.processor, "eval", max_length=most)
    assert dev["text"] == TEXTS  # scored whole
    assert dev["length"] == [min(len(text) + 2, most) for text in TEXTS]
    assert task.output.references(dev) == TEXTS
    found = task.warnings()
    assert f"ocr train: 2 lines have more than {most} tokens and are left out" in found
    note = f"ocr eval: 2 texts have more than {most} tokens (up to 28); "
    assert f"{note}metrics count them whole, the loss their first {most}" in found
    with pytest.raises(TextkdError, match="of 6, 6 have more than 2 tokens"):
        task.encode(task.processor, "train", max_length=2)


def test_ids_are_judged_against_whole_transcriptions_in_any_order():
    table = DrawnLines()
    task = of_tables(train=table, eval=table)
    small = line_processor(["acehilmnorstw Wd3"], width=128)
    rows, collator = task.encode(small, "eval", max_length=10), task.collator(small)
    order = [4, 0, 3, 5, 1, 2]
    labels = collator([{"image": table.image(i), "labels": rows["labels"][i], "example_id": i} for i in order])[
        "labels"
    ]
    cut = decode_texts(small.tokenizer, [rows["labels"][i] for i in order])
    due = task.output.compute_metrics(cut, [TEXTS[i] for i in order])
    assert due["cer"] > 0.1  # what is cut, or cannot be written, is missing
    assert task.output.judge_ids(collator, labels.numpy(), labels.numpy(), rows) == due


def test_rows_with_the_same_labels_take_turns():
    assert texts_of([[2], [1], [1], [1]], [[1], [2], [1]], ["a", "b", "c"]) == ["b", "a", "c", "a"]


def test_train_characters_that_a_tokenizer_lacks_are_an_error():
    small = line_processor(["acehilmnorstw Wd3"], width=128)
    task = of_tables(train=DrawnLines(), eval=DrawnLines())
    with pytest.raises(TextkdError) as caught:
        task.encode(small, "train")
    said = str(caught.value)
    assert "4 of 6 texts of train" in said
    assert "'£' (1)" in said
    assert "skip_unwritable" in said
    task.skip_unwritable = True
    assert task.encode(small, "train")["place"] == [0, 2]
    task.encode(small, "eval")
    found = task.warnings()
    assert "ocr train: 4 lines have characters that are not in the tokenizer and are left out" in found
    assert any(note.startswith("ocr eval: ") and "in 4 lines are not in the tokenizer" in note for note in found)


def test_lines_without_transcription():
    table = DrawnLines(["abc", None, "b a"])
    task = of_tables(train=table, eval=DrawnLines(["ab"]))
    rows = task.encode(task.processor, "train")
    assert rows["place"] == [0, 2]
    assert "ocr train: 1 lines have no transcription and are left out" in task.warnings()
    every = task.encode(task.processor, "train", training=False)
    assert (every["length"], every["text"]) == ([5, 0, 5], ["abc", None, "b a"])
    with pytest.raises(TextkdError, match="1 of 3 lines have no transcription"):
        task.output.references(every)
    bare = of_tables(train=table, eval=table)
    with pytest.raises(TextkdError, match="1 of 3 have none"):
        bare.problems()
    bare.problems(["train"])


def test_a_teachers_texts_take_the_place_of_transcriptions():
    task = of_tables(train=DrawnLines(["abc", None, "b a"]), eval=DrawnLines(["ab"]))
    before, prints = task.processor, task.fingerprint()
    told = task.with_lines("train", [2, 1], ["c", "a b"])
    assert told.load("train")["text"] == ["c", "a b"]
    assert told.load("train")[1]["image"].tobytes() == task.load("train")[1]["image"].tobytes()
    assert told.encode(told.processor, "train")["text"] == ["c", "a b"]
    assert told.processor is before
    assert told.fingerprint() != prints == task.fingerprint()
    assert task.load("train")["text"] == ["abc", None, "b a"]
    with pytest.raises(TextkdError, match="a text for each of 3 lines"):
        task.with_lines("train", texts=["a"])


def test_a_held_out_part_shares_no_text_with_the_rest(tmp_path):
    texts = [f"line {i % 20}" for i in range(60)]
    train, dev = hold_out(DrawnLines([*texts, None]), 0.2, seed=3)
    assert len(train) + len(dev) == 61
    assert not {t for t in train.texts if t} & set(dev.texts)
    assert len(dev) == 12
    assert None in train.texts
    again, other = hold_out(DrawnLines([*texts, None]), 0.2, 3)[1], hold_out(DrawnLines([*texts, None]), 0.2, 4)[1]
    assert dev.texts == again.texts != other.texts
    assert dev.image(0).tobytes() == DrawnLines([dev.texts[0]]).image(0).tobytes()
    task = tasks.ocr(write(tmp_path / "all.parquet", texts), {"fraction": 0.1, "seed": 1})
    assert task.splits == ("train", "eval")
    task.problems()
    assert task.warnings() == []
    with pytest.raises(TextkdError, match="would be empty"):
        hold_out(DrawnLines(["a", "a"]), 0.5, 0)


def test_further_evaluations(task, tmp_path):
    more = tasks.ocr(task.sources["train"], task.sources["eval"],
                     extra_evals={"cats": write(tmp_path / "cats.parquet", ["cat"])})  # fmt: skip
    assert more.eval_splits == ("eval", "eval_cats")
    assert more.load("eval_cats")["text"] == ["cat"]
    assert more.fingerprint() != task.fingerprint()
    with pytest.raises(TextkdError, match="nearest: eval_cats"):
        more.load("eval_cat")


@pytest.mark.long
def test_leaks_are_told_and_images_compared():
    train = DrawnLines(["one", "two", "three"])
    assert not any("train" in note for note in of_tables(train=train, eval=DrawnLines(["four"])).warnings())
    leaking = of_tables(train=train, eval=DrawnLines(["two", "four"]))
    assert "ocr eval: 1 of 2 texts also stand in train, 1 of them with the very same image (leak)" in leaking.warnings()

    class OtherScan(DrawnLines):
        def image(self, index):
            return super().image(index).rotate(180)

    many = [f"{i}" for i in range(700)]
    large = of_tables(train=DrawnLines(many), eval=DrawnLines(many[::-1]))
    assert any("700 of 700 texts also stand in train, of 202 compared, 202" in note for note in large.warnings())
    rescanned = of_tables(train=train, eval=OtherScan(["two", "four"]))
    assert "ocr eval: 1 of 2 texts also stand in train, with other images" in rescanned.warnings()


def test_lines_that_are_squeezed_and_odd_spaces_are_told():
    task = of_tables(train=DrawnLines(["x" * 60, "ab  c"], notes=["a note"]), eval=DrawnLines(["x" * 60, "a  b c"]))
    found = task.warnings()
    note = "ocr eval: 1 of 2 lines looked at are wider than 128 at height 32; "
    assert f"{note}they are shrunk, to 7 pixels of height at worst (a larger width keeps them)" in found
    assert any("1 texts have white space other than single spaces" in note for note in found)
    assert "a note" in found


def test_reading_end_to_end(task):
    processor = task.processor
    model, collator = tiny_model(len(processor.tokenizer), seed=14, std=1.0), task.collator(processor)
    rows = task.encode(processor, "eval")
    task.output.settings = Generation(max_new_tokens=9)
    texts = task.output.predict(model, rows, collator, batch_size=2)
    readings = task.output.transcribe(model, rows, collator)
    assert [one.text for one in readings] == texts
    assert all(one.mean_log_prob < 0 and 0 < one.min_prob < 1 for one in readings)
    found = task.output.compute_metrics(texts, task.output.references(rows))
    assert list(found) == list(task.output.metric_names)
    assert found["cer"] > 0
    assert task.output.compute_metrics(OTHER, OTHER) == {"cer": 0.0, "wer": 0.0, "exact": 1.0}
    assert task.output.compute_metrics(["the mat", "a cat sit", "no lines on it"], OTHER) == {
        "cer": pytest.approx(1 / 30), "wer": pytest.approx(1 / 9), "exact": pytest.approx(2 / 3),
    }  # fmt: skip
    assert task.output.generation([model], rows)["max_new_tokens"] == 9
    with pytest.raises(TextkdError, match="2 predictions, 3 references"):
        task.output.compute_metrics(["a", "b"], OTHER)


def test_a_file_to_evaluate_on(task, tmp_path):
    file = parquet(tmp_path / "own.parquet", [{"scan": encoded(line_image("ab")), "said": "ab"}])
    named = tasks.ocr(eval={"path": str(tmp_path / "x.parquet"), "image": "scan", "text": "said"}).with_file(file)
    assert (named.splits, named.load("eval")["text"]) == (("eval",), ["ab"])
    plain = task.with_file(task.sources["train"])
    assert plain.load("eval")["text"] == TEXTS
    with pytest.raises(TextkdError, match="give train"):
        _ = plain.processor


def test_fingerprints(task, tmp_path):
    first = task.fingerprint()
    copied = tasks.ocr(write(tmp_path / "again.parquet", TEXTS), task.sources["eval"], width=128)
    assert copied.fingerprint() == first  # where files lie does not count
    changes = [
        {"width": 64},
        {"augment": False},
        {"seed": 1},
        {"tokenizer": "unigram"},
        {"generation": {"num_beams": 2}},
    ]
    prints = [tasks.ocr(task.sources["train"], task.sources["eval"], **{"width": 128, **one}).fingerprint()
              for one in changes]  # fmt: skip
    assert len({first, *prints}) == 6


def test_a_split_that_is_not_there(task):
    with pytest.raises(TextkdError, match="it has train, eval"):
        task.encode(task.processor, "test")


@pytest.mark.slow
def test_old_books():
    files = {split: SHARED / "data" / "ocr_oldbooks" / f"{split}.parquet" for split in ("train", "dev")}
    if not all(file.is_file() for file in files.values()):
        pytest.skip("no ../shared here")
    task = tasks.ocr(files["train"], files["dev"])
    task.problems()
    train, dev = (task.encode(task.processor, split, max_length=128) for split in ("train", "eval"))
    assert (len(train), len(dev)) == (4198, 531)
    assert max(train["length"]) == 101
    batch = task.collator(task.processor)([train[i] for i in range(0, 4198, 300)])
    assert batch["pixel_values"].shape == (14, 3, 32, 1024)
    assert "ocr eval: 17 of 531 texts also stand in train, with other images" in task.warnings()
