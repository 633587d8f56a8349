"""Processors: the tokenizer writes every train text back, the folder loads without textkd, misfits are told."""

import json
import os
import string
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from places import SHARED
from tiny_lines import TEXTS, tiny_model
from transformers import VisionEncoderDecoderConfig, ViTImageProcessorPil

from textkd.errors import TextkdError
from textkd.tasks.ocr.fitting import size_problems, token_problems
from textkd.tasks.ocr.processor import (
    KINDS,
    decode_texts,
    encode_texts,
    line_processor,
    load_processor,
    missing_characters,
    pixels,
    unwritable,
)

HARD = [
    "\ufb01 \u00bd \u212b \u00c5",  # a ligature, a fraction, the unit and the letter
    "e\u0301 \u00e9",  # decomposed and composed
    "Ⅷ ① ㌔",
    "a\u200db \U0001f600",
    "أهلا وسهلا",
    "漢字 ひら",
    "%s {x} \\n 100%",
    "§" + "x" * 5000,  # longer than what sentencepiece takes by default
]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [TEXTS, HARD], ids=["plain", "hard"])
def test_every_train_text_comes_back(kind, texts):
    tokenizer = line_processor(texts, kind=kind).tokenizer
    labels = encode_texts(tokenizer, texts)
    assert decode_texts(tokenizer, labels) == texts
    assert all(row[-1] == tokenizer.eos_token_id == 2 and not {0, 1, 2, 3} & set(row[:-1]) for row in labels)
    assert unwritable(tokenizer, texts) == []
    assert not missing_characters(tokenizer, texts)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_laid_out_as_in_xlm_roberta(kind):
    tokenizer = line_processor(TEXTS, kind=kind).tokenizer
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["<s>", "<pad>", "</s>", "<unk>"]
    assert tokenizer.convert_ids_to_tokens(len(tokenizer) - 1) == "<mask>"
    assert [tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id] == [0, 1, 3]
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_sizes_of_vocabularies():
    alphabet = len(set("".join(TEXTS)))  # with the space
    assert len(line_processor(TEXTS).tokenizer) == alphabet + 5
    least = alphabet + 5
    words = [*TEXTS, *" ".join(sys.stdlib_module_names).replace("_", " ").split()]
    pieces = line_processor(words, kind="unigram", vocab_size=90).tokenizer.get_vocab()
    assert len(pieces) == 90
    assert sum(len(piece) > 1 for piece in pieces) > 10
    assert len(line_processor(TEXTS, kind="unigram", vocab_size=least).tokenizer) == least
    with pytest.raises(TextkdError, match=f"vocab_size {least - 1}"):
        line_processor(TEXTS, kind="unigram", vocab_size=least - 1)


@pytest.mark.parametrize("kind", ["char", "unigram"])
def test_characters_that_no_text_holds_can_be_written_too(kind: str) -> None:
    assert not set("Ωß▁") & set("".join(TEXTS))
    tokenizer = line_processor(TEXTS, kind=kind, characters="Ω ßß▁").tokenizer
    for text in (*TEXTS, "Ωß", "ß Ω"):
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    bare = line_processor([], kind=kind, characters="abc").tokenizer
    assert bare.decode(bare("cab").input_ids, skip_special_tokens=True) == "cab"


def test_one_token_for_each_character_and_space():
    tokenizer = line_processor(TEXTS).tokenizer
    assert [len(row) for row in encode_texts(tokenizer, TEXTS)] == [len(text) + 2 for text in TEXTS]  # first space, eos


@pytest.mark.parametrize("kind", KINDS)
def test_white_space_becomes_single_spaces(kind):
    odd = ["  a  b", "a\tb ", "a\u00a0b", "a\u3000\u2003b"]
    tokenizer = line_processor([*odd, "a b"], kind=kind).tokenizer
    assert decode_texts(tokenizer, encode_texts(tokenizer, odd)) == ["a b"] * 4
    assert unwritable(tokenizer, odd) == []


def test_characters_that_are_not_in_the_texts_are_unknown_and_counted():
    tokenizer = line_processor(["abc def"]).tokenizer
    assert encode_texts(tokenizer, ["axb"])[0][2] == 3
    assert dict(missing_characters(tokenizer, ["ab xx", "y a", "cab"])) == {"x": 2, "y": 1}
    assert unwritable(tokenizer, ["ab", "ax", "Ab"]) == [1, 2]


@pytest.mark.parametrize("text", ["a▁b", "<s> a", "a </s>", "<mask>", "▅"])
def test_texts_that_look_like_special_tokens_are_told(text):
    assert unwritable(line_processor([text, "ab <>/smk"]).tokenizer, ["ab", text]) == [1]


def test_training_twice_gives_the_same():
    words = [w + x for w in string.ascii_letters for x in "aeiou"]
    first, second = (line_processor(words, kind="unigram").tokenizer.backend_tokenizer.to_str() for _ in range(2))
    assert first == second


LOADER = """
import json, sys
from PIL import Image
from transformers import AutoTokenizer, TrOCRProcessor
folder, texts = sys.argv[1], json.loads(sys.argv[2])
processor = TrOCRProcessor.from_pretrained(folder)
image = processor(Image.linear_gradient("L").resize((300, 40)).convert("RGB"), return_tensors="np").pixel_values
ids = [processor.tokenizer(texts)["input_ids"], AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]]
print(json.dumps([ids, float(image.sum()), list(image.shape), "textkd" in sys.modules]))
"""


@pytest.mark.slow
def test_a_saved_folder_loads_in_a_process_without_textkd(tmp_path):
    processor = line_processor(TEXTS, width=256, kind="unigram")
    processor.save_pretrained(tmp_path)
    texts = [*TEXTS, "unseen: §"]
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path), json.dumps(texts)],
        capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    ids, total, shape, imported = json.loads(done.stdout)
    mine = processor.tokenizer(texts)["input_ids"]
    assert ids == [mine, mine]
    image = pixels(processor, [Image.linear_gradient("L").resize((300, 40)).convert("RGB")])
    assert (total, shape, imported) == (pytest.approx(float(image.sum())), [1, 3, 32, 256], False)
    again = load_processor(tmp_path)
    assert again.tokenizer(texts)["input_ids"] == mine
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()


def test_lines_keep_their_aspect_ratio():
    processor = line_processor(TEXTS, width=256)
    values = pixels(processor, [Image.new("RGB", size, "white") for size in ((100, 50), (2048, 64), (20, 80))])
    assert (values.shape, values.dtype) == ((3, 3, 32, 256), np.float32)
    ink = [values[i, 0] > 0 for i in range(3)]
    # (height, width) of what is not padding: scaled to the height; shrunk to the width; narrow
    assert [(m.any(1).sum(), m.any(0).sum()) for m in ink] == [(32, 64), (8, 256), (32, 8)]
    assert set(np.unique(values)) == {-1.0, 1.0}
    assert ink[0].any(0).nonzero()[0].min() == 96  # padded alike on both sides


def test_all_wrong_options_at_once():
    with pytest.raises(TextkdError) as caught:
        line_processor([" ", ""], height=64, width=32, kind="chr", vocab_size=None)
    assert len(caught.value.problems) == 3
    assert "nearest: char" in str(caught.value)
    with pytest.raises(TextkdError, match="one token for each character"):
        line_processor(TEXTS, vocab_size=300)


def test_folders_that_are_no_processor(tmp_path):
    processor = line_processor(TEXTS)
    processor.tokenizer.save_pretrained(tmp_path / "words")
    processor.image_processor.save_pretrained(tmp_path / "images")
    with pytest.raises(TextkdError, match="no file of an image processor"):
        load_processor(tmp_path / "words")
    with pytest.raises(TextkdError, match="no file of a tokenizer"):
        load_processor(tmp_path / "images")
    (tmp_path / "none").mkdir()
    with pytest.raises(TextkdError) as caught:
        load_processor(tmp_path / "none")
    assert len(caught.value.problems) == 2
    processor.save_pretrained(tmp_path / "cut")
    (tmp_path / "cut" / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(TextkdError, match=r"tokenizer\.json is no JSON"):
        load_processor(tmp_path / "cut")
    (tmp_path / "cut" / "tokenizer.json").write_text("{}")
    with pytest.raises(TextkdError, match="does not load"):
        load_processor(tmp_path / "cut")
    with pytest.raises(TextkdError, match="give the folder"):
        load_processor(tmp_path / "cut" / "tokenizer.json")


def test_no_such_processor(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TextkdError, match="no such folder here"):
        load_processor("no/such-processor")


def test_a_processor_must_make_images_of_the_encoders_size():
    processor, model = line_processor(TEXTS, width=128), tiny_model(60)
    assert size_problems(processor, model) == []
    (wide,) = size_problems(line_processor(TEXTS, width=256), model)
    assert "32 x 128" in wide.asked
    assert "32 x 256" in wide.found
    square = SimpleNamespace(image_processor=ViTImageProcessorPil(size={"height": 32, "width": 32}))
    assert "32 x 32 with 3 channels" in size_problems(square, model)[0].found
    model.config.encoder.image_size = 32
    assert size_problems(square, model) == []
    loose = SimpleNamespace(image_processor=ViTImageProcessorPil(do_resize=False))
    assert "depends on the image: 20 x 40 and 50 x 900" in size_problems(loose, model)[0].found


def test_tokens_must_fit_the_model():
    processor = line_processor(TEXTS)
    model = tiny_model(len(processor.tokenizer))
    assert token_problems(processor, model) == []
    assert "rows" in token_problems(processor, tiny_model(len(processor.tokenizer) - 1))[0].found
    model.config.pad_token_id = 0
    assert "0 in the model, 1 in the tokenizer" in token_problems(processor, model)[0].found
    model.config.pad_token_id = 1
    bare = SimpleNamespace(config=SimpleNamespace(pad_token_id=1, decoder=SimpleNamespace(vocab_size=99)))
    (start,) = token_problems(processor, bare)
    assert start.asked == "a decoder_start_token_id of the model"
    assert "= 2" in start.fix
    bare.config.decoder.decoder_start_token_id = 2  # where the folders of the hub have it
    assert token_problems(processor, bare) == []


@pytest.mark.slow
def test_the_processor_of_trocr_small_loads_and_fits():
    folder = SHARED / "models" / "trocr-small-printed-config"
    if not folder.is_dir():
        pytest.skip("no ../shared here")
    processor = load_processor(folder)
    config = VisionEncoderDecoderConfig.from_pretrained(folder)
    assert size_problems(processor, SimpleNamespace(config=config)) == []
    assert token_problems(processor, SimpleNamespace(config=config)) == []
    labels = encode_texts(processor.tokenizer, ["Hello World"])
    assert decode_texts(processor.tokenizer, labels) == ["Hello World"]
    assert labels[0][-1] == 2
    assert set(missing_characters(processor.tokenizer, ["½ “a” é"])) == {"½"}  # it normalises


@pytest.mark.slow
@pytest.mark.parametrize("data", ["ocr_oldbooks/train", "ocr_sroie/train_6k"])
@pytest.mark.parametrize("kind", KINDS)
def test_real_transcripts_come_back(data, kind):
    file = SHARED / "data" / f"{data}.parquet"
    if not file.is_file():
        pytest.skip("no ../shared here")
    import pyarrow.parquet

    texts = [" ".join(text.split()) for text in pyarrow.parquet.read_table(file)["text"].to_pylist()]
    tokenizer = line_processor(texts, kind=kind).tokenizer
    assert decode_texts(tokenizer, encode_texts(tokenizer, texts)) == texts


@pytest.mark.long
@pytest.mark.parametrize("size", [(3, 100), (3000, 2), (2, 3000), (64_000, 2), (2, 2)])
def test_very_flat_and_very_narrow_lines_are_taken(size):
    values = pixels(line_processor(["abc"], height=32, width=512), [Image.new("RGB", size, "white")])
    assert values.shape == (1, 3, 32, 512)
    assert (values[0, 0] > 0).sum() >= 4  # two by two pixels or more of it are left
