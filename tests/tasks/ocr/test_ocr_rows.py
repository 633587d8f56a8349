"""Rows of lines and their batches: lazy images, augmentation by seed, epoch and row, labels and decoder inputs."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from accelerate import Accelerator, skip_first_batches
from accelerate.utils import DataLoaderConfiguration
from PIL import Image
from tiny_lines import TEXTS, DrawnLines, tiny_model
from torch.utils.data import DataLoader
from transformers.models.vision_encoder_decoder.modeling_vision_encoder_decoder import shift_tokens_right

from textkd.errors import TextkdError
from textkd.tasks.ocr import rows
from textkd.tasks.ocr.augment import augment
from textkd.tasks.ocr.linetable import Joined
from textkd.tasks.ocr.processor import encode_texts, line_processor, pixels
from textkd.tasks.ocr.rows import LineCollator, LineRows, Lines
from textkd.tasks.ocr.task import OcrTask


@pytest.fixture(scope="module")
def processor():
    return line_processor(TEXTS, width=128)


def rows_of(processor, **options):
    return LineRows(DrawnLines(), encode_texts(processor.tokenizer, TEXTS), **options)


def same(one, other):
    return one.size == other.size and one.tobytes() == other.tobytes()


def test_columns_decode_no_image(processor):
    labels = encode_texts(processor.tokenizer, TEXTS)
    rows = LineRows(DrawnLines(), [labels[4], labels[1]], [4, 1])
    assert rows["text"] == [TEXTS[4], TEXTS[1]]
    assert rows["labels"] == [labels[4], labels[1]]
    assert rows["length"] == [len(labels[4]), len(labels[1])]
    assert rows["place"] == [4, 1]
    assert (len(rows), rows.table.asked) == (2, [])
    assert set(rows.column_names) == {"image", "text", "labels", "length", "example_id", "place"}
    with pytest.raises(TextkdError, match="nearest: length"):
        rows["lengths"]


def test_a_row_is_its_own_line(processor):
    rows = rows_of(processor, places=[3, 0, 1, 2, 4, 5])
    row = rows[1]
    assert same(row["image"], DrawnLines().image(0))
    assert (row["place"], row["length"]) == (0, len(row["labels"]))
    assert same(rows[-1]["image"], DrawnLines().image(5))
    row["labels"].append(99)
    assert 99 not in rows[1]["labels"]
    with pytest.raises(IndexError):
        rows[6]
    with pytest.raises(ValueError, match="6 rows and 1 rows"):
        LineRows(DrawnLines(), [[2]])


def test_lines_are_the_split_as_it_is():
    lines = Lines(DrawnLines([*TEXTS, None]))
    assert lines["text"] == [*TEXTS, None]
    assert lines["example_id"] == list(range(7))
    assert lines[6]["text"] is None
    assert same(lines[0]["image"], DrawnLines().image(0))


def test_augmentation_hangs_on_seed_epoch_and_row_alone(processor):
    strong = partial(augment, strength=2.0)
    rows = rows_of(processor, augment=strong, seed=5)
    first = [rows[i]["image"] for i in range(6)]
    assert not any(same(image, DrawnLines().image(i)) for i, image in enumerate(first))
    rows.set_epoch(1)
    second = [rows[i]["image"] for i in reversed(range(6))][::-1]
    assert not any(same(a, b) for a, b in zip(first, second, strict=True))
    resumed = rows_of(processor, augment=strong, seed=5)  # another process, started at epoch 1
    resumed.set_epoch(1)
    assert all(same(resumed[i]["image"], second[i]) for i in (4, 0, 2))
    other = rows_of(processor, augment=strong, seed=6)
    assert not same(other[0]["image"], first[0])
    chosen = LineRows(DrawnLines(), rows["labels"][3:4], [3], strong, 5)
    assert same(chosen[0]["image"], first[3])  # whatever else is left out


def test_without_augmentation_epochs_are_alike(processor):
    rows = rows_of(processor)
    before = rows[0]["image"]
    rows.set_epoch(3)
    assert same(rows[0]["image"], before)


@pytest.mark.long
@pytest.mark.parametrize("persistent", [True, False])
def test_the_epoch_reaches_workers(processor, persistent):
    rows = rows_of(processor, augment=augment, seed=1)
    loader = DataLoader(
        rows, batch_size=6, collate_fn=LineCollator(processor), num_workers=1, persistent_workers=persistent
    )
    for epoch in range(3):
        rows.set_epoch(epoch)
        (batch,) = loader
        expected = LineCollator(processor)([rows[i] for i in range(6)])
        assert torch.equal(batch["pixel_values"], expected["pixel_values"])


@pytest.mark.parametrize("seedable", [True, False])
def test_what_a_trainer_sets_stays_in_a_resumed_epoch(processor, seedable):
    """As transformers' Trainer does it: skip, then set the epoch of the loader. With a seedable sampler (its default)
    that does not reach the data set, so the trainer has to call `set_epoch` of the rows too."""
    rows = rows_of(processor, augment=augment)
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(use_seedable_sampler=seedable))
    loader = accelerator.prepare(DataLoader(rows, batch_size=2, shuffle=True, collate_fn=LineCollator(processor)))
    rows.set_epoch(2)
    resumed = skip_first_batches(loader, 1)
    resumed.set_epoch(2)
    seen = [rows.epoch for _ in resumed]
    assert seen == [2, 2]


def test_rows_pickle(processor):
    rows = rows_of(processor, augment=partial(augment, strength=1.0))
    rows.set_epoch(4)
    again = pickle.loads(pickle.dumps(rows))
    assert again.epoch == 4
    assert same(again[2]["image"], rows[2]["image"])


def test_a_batch(processor):
    rows = rows_of(processor)
    batch = LineCollator(processor)([rows[0], rows[2]])
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items()} == {
        "pixel_values": (torch.float32, (2, 3, 32, 128)),
        "labels": (torch.int64, (2, 19)),
        "decoder_input_ids": (torch.int64, (2, 19)),
        "example_id": (torch.int64, (2,)),
        "marks": (torch.float32, (2, 19)),
    }
    assert batch["labels"][1].tolist() == [*rows[2]["labels"], *[-100] * 16]
    assert batch["decoder_input_ids"][1].tolist() == [2, *rows[2]["labels"][:-1], *[1] * 16]
    assert batch["example_id"].tolist() == [0, 2]
    # the one letter of the second line: not the space in front of it, not the end
    assert (~batch["marks"][1].isnan()).nonzero().flatten().tolist() == [1]
    assert batch["marks"][1, 1] == pytest.approx(0.5, abs=0.1)
    assert np.array_equal(batch["pixel_values"][1].numpy(), pixels(processor, [rows[2]["image"]])[0])


@pytest.mark.parametrize("lead", [[0], [2], [2, 0]])
def test_what_stands_before_a_text_moves_its_marks(processor, lead):
    rows = rows_of(processor)
    plain = LineCollator(processor)([rows[0], rows[2]])["marks"]
    features = [{**row, "labels": [*lead, *row["labels"]]} for row in (rows[0], rows[2])]
    moved = LineCollator(processor)(features)["marks"]
    assert moved[:, : len(lead)].isnan().all()
    assert np.array_equal(moved[:, len(lead) :], plain, equal_nan=True)


def test_decoder_inputs_are_those_of_transformers(processor):
    """At every place that counts; behind the end of a row transformers has its eos, where nothing is learnt."""
    rows = rows_of(processor)
    collator = LineCollator(processor)
    batch = collator([rows[i] for i in range(6)])
    valid = batch["labels"] != -100
    theirs = shift_tokens_right(batch["labels"], 1, 2)
    assert torch.equal(batch["decoder_input_ids"][valid], theirs[valid])
    assert (batch["decoder_input_ids"][~valid] == 1).all()
    model = tiny_model(len(processor.tokenizer))
    given = {name: batch[name] for name in ("pixel_values", "labels", "decoder_input_ids")}
    del batch["decoder_input_ids"], batch["example_id"]
    assert torch.allclose(model(**given).loss, model(**batch).loss)


def test_another_start_token(processor):
    batch = LineCollator(processor, decoder_start_token_id=0)([rows_of(processor)[2]])
    assert batch["decoder_input_ids"][0, 0] == 0


def test_lines_without_transcription_make_a_batch(processor):
    rows = LineRows(DrawnLines([None, "a"]), [[], encode_texts(processor.tokenizer, ["a"])[0]])
    batch = LineCollator(processor)([rows[0], rows[1]])
    assert batch["labels"][0].tolist() == [-100] * 3
    assert batch["decoder_input_ids"][0].tolist() == [2, 1, 1]
    alone = LineCollator(processor)([rows[0]])
    assert (alone["labels"].tolist(), alone["decoder_input_ids"].tolist()) == ([[-100]], [[2]])


def test_an_image_that_the_processor_cannot_take_is_named(processor, monkeypatch):
    def picky(processor, images):
        if any(image.width == 9000 for image in images):
            raise ValueError("too wide")
        return pixels(processor, images)

    monkeypatch.setattr(rows, "pixels", picky)
    good = rows_of(processor)[0]
    thread = {"image": Image.new("RGB", (9000, 2)), "labels": [2], "example_id": 7, "length": 1}
    with pytest.raises(TextkdError, match=r"line 8(.|\n)*9000 x 2 pixels"):
        LineCollator(processor)([good, thread])


def test_a_tokenizer_without_pad(processor):
    bare = line_processor(TEXTS)
    bare.tokenizer.pad_token = None
    with pytest.raises(TextkdError, match="no pad"):
        LineCollator(bare)


def test_rows_of_joined_tables_keep_their_places():
    task = OcrTask({"train": "unread", "eval": "unread"}, shape={"width": 128}, skip_long=True)
    joined = Joined([DrawnLines(["a", "bb"]), DrawnLines(["b a", "ab"])])
    task._tables = {"train": joined, "eval": DrawnLines(["ab"])}
    rows = task.encode(task.processor, "train", max_length=4)
    assert rows["place"] == [0, 1, 3]
    assert rows["text"] == ["a", "bb", "ab"]
