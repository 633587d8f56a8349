"""Generation against a loop written here, settings, confidences, modes."""

import math
import re

import pytest
import torch
from tiny_lines import TEXTS, DrawnLines, tiny_model
from transformers import GenerationConfig

from textkd.errors import TextkdError
from textkd.models.forward import positions
from textkd.tasks.ocr.generate import Generation, generator, token_limit, transcribe
from textkd.tasks.ocr.output import LineTexts
from textkd.tasks.ocr.processor import decode_texts, encode_texts, line_processor
from textkd.tasks.ocr.rows import LineCollator, LineRows


@pytest.fixture(scope="module")
def processor():
    return line_processor(TEXTS, width=128)


@pytest.fixture(scope="module")
def rows(processor):
    return LineRows(DrawnLines(), encode_texts(processor.tokenizer, TEXTS))


@pytest.fixture(scope="module")
def model(processor):
    return tiny_model(len(processor.tokenizer), seed=14, std=1.0)


def greedy(model, pixel_values, limit):
    """Ids and log-probabilities, one row at a time, without a cache."""
    ids, chances = [2], []
    for _ in range(limit):
        with torch.no_grad():
            logits = model(pixel_values=pixel_values, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
        chances.append(float(logits.log_softmax(-1).max()))
        ids.append(int(logits.argmax()))
        if ids[-1] == 2:
            break
    return ids[1:], chances


def forced(model, pixel_values, ids):
    """Log-probabilities of given ids."""
    with torch.no_grad():
        logits = model(pixel_values=pixel_values, decoder_input_ids=torch.tensor([[2, *ids[:-1]]])).logits[0]
    return logits.log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)].tolist()


def test_greedy_texts_and_confidences_are_those_of_a_plain_loop(processor, rows, model):
    collator = LineCollator(processor)
    found = transcribe(model, rows, collator, batch_size=4, generation=Generation(max_new_tokens=20))
    lengths = set()
    for i, reading in enumerate(found):
        ids, chances = greedy(model, collator([rows[i]])["pixel_values"], 20)
        assert reading.text == decode_texts(processor.tokenizer, [ids])[0]
        assert (reading.tokens, reading.finished) == (len(ids), ids[-1] == 2)
        assert reading.mean_log_prob == pytest.approx(sum(chances) / len(ids), abs=1e-4)
        assert reading.min_prob == pytest.approx(math.exp(min(chances)), abs=1e-4)
        lengths.add(len(ids))
    assert len(lengths) > 1  # rows that end early stand beside rows that do not


def test_beams_and_their_confidences(processor, rows, model):
    collator = LineCollator(processor)
    beams = transcribe(model, rows, collator, generation=Generation(num_beams=4, max_new_tokens=12))
    plain = transcribe(model, rows, collator, generation=Generation(max_new_tokens=12))
    assert [one.text for one in beams] != [one.text for one in plain]
    images = collator([rows[i] for i in range(len(rows))])["pixel_values"]
    out = model.generate(
        images, num_beams=4, max_new_tokens=12, decoder_start_token_id=2, pad_token_id=1, eos_token_id=2
    )
    for i, reading in enumerate(beams):
        ids = out[i, 1:].tolist()[: reading.tokens]
        assert reading.text == decode_texts(processor.tokenizer, [ids])[0]
        chances = forced(model, images[i : i + 1], ids)
        assert reading.mean_log_prob == pytest.approx(sum(chances) / len(ids), abs=1e-4)
        assert reading.min_prob == pytest.approx(math.exp(min(chances)), abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_rows_keep_their_order(processor, rows, model, batch_size):
    collator = LineCollator(processor)
    alone = [transcribe(model, LineRows(rows.table, [rows["labels"][i]], [i]), collator,
                        generation=Generation(max_new_tokens=15))[0].text for i in range(6)]  # fmt: skip
    assert len(set(alone)) > 2
    together = transcribe(model, rows, collator, batch_size, Generation(max_new_tokens=15), scores=False)
    assert [one.text for one in together] == alone
    assert math.isnan(together[0].mean_log_prob)


def test_modes_and_settings_of_the_model_stay(processor, rows):
    model = tiny_model(len(processor.tokenizer), seed=14, std=1.0)
    before = transcribe(model, rows, LineCollator(processor), generation=Generation(max_new_tokens=15))
    model.generation_config.num_beams, model.generation_config.max_length = 5, 3
    model.generation_config.no_repeat_ngram_size, model.generation_config.min_length = 1, 9
    model.train()
    model.decoder.eval()
    modes = [module.training for module in model.modules()]
    settings = model.generation_config.to_dict()
    after = transcribe(model, rows, LineCollator(processor), generation=Generation(max_new_tokens=15))
    assert after == before  # a folder's settings do not count
    assert [module.training for module in model.modules()] == modes
    assert model.generation_config.to_dict() == settings
    assert all(p.grad is None for p in model.parameters())


FOREIGN = {"forced_bos_token_id": 3, "suppress_tokens": [5, 6], "min_new_tokens": 9, "max_time": 1e-6}


@pytest.mark.long
def test_what_a_folder_says_of_generation_does_not_count(processor, rows, model):
    """`generate` fills in what its settings leave open from the model's own."""
    collator, own = LineCollator(processor), model.generation_config
    batch = collator([rows[i] for i in range(2)])
    plain = [one.text for one in transcribe(model, rows, collator)]
    ids = generator(collator, Generation(), 6)(model, batch)
    model.generation_config = GenerationConfig(**{**own.to_dict(), **FOREIGN})
    try:
        assert [one.text for one in transcribe(model, rows, collator)] == plain
        assert torch.equal(generator(collator, Generation(), 6)(model, batch), ids)
        assert model.generation_config.max_time == FOREIGN["max_time"]
    finally:
        model.generation_config = own


def test_modes_come_back_after_a_failure(processor, rows):
    model = tiny_model(len(processor.tokenizer)).train()
    with pytest.raises(ValueError, match="doesn't match model"):
        transcribe(model, rows, LineCollator(line_processor(TEXTS, width=64)))
    assert all(module.training for module in model.modules())


def test_limits(processor, rows, model):
    longest = max(rows["length"])
    assert token_limit(model, None, longest) == int(1.25 * longest) + 8
    assert token_limit(model, None, 60) == positions(model) == 64
    assert token_limit(model, None, 0) == 64
    assert token_limit(model, 500, 3) == 64
    assert token_limit(model, 7, 60) == 7
    found = transcribe(model, rows, LineCollator(processor), generation=Generation(max_new_tokens=64))
    assert max(one.tokens for one in found) <= 64  # the last position works
    said = Generation().settings(model, longest)
    assert said["max_new_tokens"] == int(1.25 * longest) + 8
    assert (said["num_beams"], said["do_sample"]) == (1, False)
    assert "longest label" in Generation().settings()["max_new_tokens"]


def test_every_wrong_setting_at_once():
    with pytest.raises(TextkdError) as caught:
        Generation.of({"num_beam": 2, "num_beams": 0, "early_stopping": 1, "max_new_tokens": 2.5, "do_sample": True})
    assert len(caught.value.problems) == 5
    assert "nearest: num_beams" in str(caught.value)
    assert Generation.of(None) == Generation()
    assert Generation.of({"num_beams": 3, "length_penalty": -1.0}).num_beams == 3


def no_words(model):
    def generate(**words):
        raise RuntimeError("the cache is of another kind")

    model.generate = generate


def no_logits(model):
    forward = model.forward
    model.forward = lambda pixel_values, decoder_input_ids: forward(pixel_values, decoder_input_ids=decoder_input_ids)[
        :1
    ]


def short_logits(model):
    forward = model.forward
    model.forward = lambda pixel_values, decoder_input_ids: {
        "logits": forward(pixel_values, decoder_input_ids=decoder_input_ids).logits[:, 1:]
    }


@pytest.mark.parametrize(
    ("spoil", "due"),
    [
        (no_words, r"texts of VisionEncoderDecoderModel(.|\n)*another kind(.|\n)*generate\(pixel_values\)"),
        (no_logits, r"answers of VisionEncoderDecoderModel to ocr(.|\n)*it fails on the first rows"),
        (short_logits, r"logits of shape \[2, \d+, \d+\] for labels of \[2, \d+\]"),
    ],
)
def test_a_model_that_does_not_write_is_met_before_training(processor, rows, spoil, due):
    model, batch = tiny_model(len(processor.tokenizer), seed=14), LineCollator(processor)([rows[0], rows[1]])
    for settings in (Generation(), Generation(num_beams=3, max_new_tokens=1)):
        assert LineTexts(settings=settings).tried(model, batch) == []
    spoil(model)
    (told,) = LineTexts().tried(model, batch)
    assert re.search(due, str(told))
