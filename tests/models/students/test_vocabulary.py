"""A trimmed vocabulary: texts whose pieces are kept are cut and answered as before, for every kind of tokenizer;
special tokens and limits stay; training on it is training on the whole one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from ocr_lab import make_reader
from tiny_lab import Tiny, make_teacher, make_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import textkd
from textkd.errors import TextkdError
from textkd.models.loading import own_tokenizer
from textkd.models.students.vocabulary import Kept, choose, kept_of, trim
from textkd.models.students.wanted import wanted_problems

TEXTS = [
    "the film was very good",
    "a dull plot, and awful actors!",
    "Großartig: très bien",
    "not bad at all",
    "42 scenes",
]
OTHERS = ["unheard-of words 日本", "quite fine; wonderful", ""]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def made(kind: str) -> Any:
    corpus = [*TEXTS * 3, *OTHERS, "many other words that nobody in the task ever says, nor writes"]
    kinds = {
        "WordPiece": (models.WordPiece(unk_token="<unk>"), trainers.WordPieceTrainer),
        "BPE": (models.BPE(), trainers.BpeTrainer),
        "Unigram": (models.Unigram(), trainers.UnigramTrainer),
    }
    model, trainer = kinds[kind]
    inner = Tokenizer(model)
    more: dict[str, Any] = {}
    if kind == "WordPiece":
        inner.normalizer = normalizers.BertNormalizer(lowercase=True)
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif kind == "BPE":
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        more["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
        more["unk_token"] = "<unk>"
    inner.train_from_iterator(corpus, trainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False, **more))
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"bos": "<s>", "cls": "<s>", "pad": "<pad>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=30, **{f"{name}_token": word for name, word in names.items()}
    )


def model_of(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    return hf.RobertaForSequenceClassification(
        hf.RobertaConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=40, pad_token_id=1, initializer_range=0.3,
        )
    ).eval()  # fmt: skip


def answers(model: Any, tokenizer: Any, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
    return logits


@pytest.mark.parametrize("kind", ["WordPiece", "BPE", "Unigram"])
def test_texts_of_the_task_are_cut_and_answered_as_before(tmp_path: Path, kind: str) -> None:
    tokenizer = made(kind)
    teacher = model_of(tokenizer)
    kept = choose(tokenizer, [[text] for text in TEXTS])
    student = trim(teacher, tokenizer, kept)
    own = own_tokenizer(student)
    assert (kept.cut, len(own), student.config.vocab_size) == (0, len(kept.ids), len(kept.ids))
    assert len(kept.ids) < len(tokenizer)
    assert [own.tokenize(text) for text in TEXTS] == [tokenizer.tokenize(text) for text in TEXTS]
    assert torch.equal(answers(student, own, TEXTS), answers(teacher, tokenizer, TEXTS))
    assert own.decode(own(TEXTS[0])["input_ids"]) == tokenizer.decode(tokenizer(TEXTS[0])["input_ids"])
    assert own.special_tokens_map == tokenizer.special_tokens_map
    assert (own.model_max_length, student.config.pad_token_id) == (30, own.pad_token_id)
    assert kept_of(student) is kept
    assert len(tokenizer) == teacher.config.vocab_size == teacher.get_input_embeddings().num_embeddings
    student.save_pretrained(tmp_path)
    own.save_pretrained(tmp_path)
    again = hf.AutoTokenizer.from_pretrained(tmp_path)
    loaded = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    both = [*TEXTS, *OTHERS]
    assert torch.equal(answers(loaded, again, both), answers(student, own, both))


@pytest.mark.parametrize("kind", ["WordPiece", "BPE", "Unigram"])
def test_the_most_frequent_stay_and_a_list_in_any_case(kind: str) -> None:
    tokenizer, rows = made(kind), [[text] for text in TEXTS]
    whole = choose(tokenizer, rows)
    least = len(choose(tokenizer, [["a"]]).ids)
    fewer = choose(tokenizer, [*rows, ["good good good"]], most=len(whole.ids) - 3)
    assert len(fewer.ids) <= len(whole.ids) - 1
    assert 0 < fewer.cut < 1
    assert set(choose(tokenizer, rows, words=["unheard wonderful"]).ids) > set(whole.ids)
    with pytest.raises(TextkdError, match="have to stay"):
        choose(tokenizer, rows, most=min(least, 5))


def test_a_pair_is_both_its_texts() -> None:
    tokenizer = made("WordPiece")
    assert choose(tokenizer, [["the film", "dull plot"]]) == choose(tokenizer, [["the film dull plot"]])


def test_what_has_no_such_vocabulary_is_refused() -> None:
    reader: Any = make_reader()
    reader.config.decoder.model_type = "bert"
    with pytest.raises(TextkdError, match="it writes by a bert decoder"):
        trim(reader, None, Kept((0, 1), 2, 0.0))
    slow = hf.PreTrainedTokenizerBase()
    with pytest.raises(TextkdError, match=r"no tokenizer\.json"):
        choose(slow, [["a"]])


BAD = [5, "all", {"keeps": 5}, {"keep": 0}, {"keep": "many"}, {"keep": True}, {"list": 5}, {"list": " "}, {"from": "x"}]


@pytest.mark.parametrize("block", BAD)
def test_a_block_that_cannot_be_is_told(block: object) -> None:
    (one,) = wanted_problems(block)
    assert one.where.startswith("vocabulary")
    assert one.fix


def trained(tiny: Tiny, name: str, **student: object) -> tuple[list[float], dict[str, Any], Any]:
    recipe, artifacts = tiny.recipe, student.pop("artifacts", [])
    recipe["student"] = {"shrink": {"layers": [2, 4]}, **student}
    recipe["training"] |= {"output_dir": str(tiny.folder / name), "weight_decay": 0.0, "dropout": 0.0}
    recipe["control"], recipe["artifacts"] = False, artifacts
    run = textkd.from_recipe(tiny.write(recipe))
    result = run.run()
    results = json.loads((tiny.folder / name / "results.json").read_text())["models"]["student"]
    return [row["loss"] for row in results["runs"][0]["history"] if row.get("loss")], result.metrics["student"], result


@pytest.mark.long
def test_training_with_fewer_pieces_is_training_with_all(tiny: Tiny) -> None:
    """Hidden states are compared too, each model reads ids of its own; all words of the task's 16 are in its texts."""
    teacher = make_teacher()
    teacher.resize_token_embeddings(40)  # rows that no text needs
    (tiny.folder / "teacher").unlink()
    teacher.save_pretrained(tiny.folder / "teacher")
    tokenizer = make_tokenizer()
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    told["model"]["vocab"] |= {f"unused{i}": i for i in range(len(told["model"]["vocab"]), 40)}
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(told))
    tokenizer.save_pretrained(tiny.folder / "teacher")
    whole, metrics, _ = trained(tiny, "whole")
    fewer, same, result = trained(tiny, "fewer", vocabulary="task", artifacts=[{"format": "onnx"}])
    assert fewer == pytest.approx(whole, abs=1e-6)
    assert same == metrics == result.metrics["student-onnx"]
    student = hf.AutoModelForSequenceClassification.from_pretrained(result.student)
    assert student.config.vocab_size == len(hf.AutoTokenizer.from_pretrained(result.student)) == 21
    whole_student = hf.AutoModelForSequenceClassification.from_pretrained(tiny.folder / "whole" / "seed-1" / "student")
    for name, value in student.state_dict().items():
        if "word_embeddings" not in name:
            assert torch.allclose(value, whole_student.state_dict()[name], atol=1e-6), name
