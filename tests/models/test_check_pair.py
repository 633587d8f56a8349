from __future__ import annotations

import pytest
import torch
import transformers as hf

from textkd.models.loading import check_pair

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def tiny(vocab_size: int = 20, **changes) -> hf.PreTrainedModel:
    torch.manual_seed(0)
    return hf.BertForSequenceClassification(hf.BertConfig(vocab_size=vocab_size, **SIZES, **changes)).eval()


def tokenizer(words: list[str]) -> hf.PreTrainedTokenizerBase:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return hf.BertTokenizer(vocab={word: i for i, word in enumerate([*special, *words])})


def labelled(*names: str, **changes) -> hf.PreTrainedModel:
    return tiny(id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)}, **changes)


def test_a_fitting_pair_has_no_problems() -> None:
    words = tokenizer(["good", "bad"])
    assert check_pair(tiny(), tiny()) == []
    assert check_pair(labelled("no", "yes"), labelled("No", "Yes"), words, tokenizer(["good", "bad"])) == []
    assert check_pair(labelled("no", "yes"), tiny()) == []  # LABEL_0, LABEL_1 says nothing
    assert check_pair(tiny(vocab_size=24), tiny(), words, words) == []  # rows added for speed


@pytest.mark.parametrize(
    ("teacher", "student", "words"),
    [
        (tiny(), tiny(vocab_size=21), ["vocab_size is 20", "21 in the student"]),
        (tiny(num_labels=3), tiny(), ["3 in the teacher, 2 in the student", "num_labels=3"]),
        (labelled("no", "yes"), labelled("yes", "no"), ["another order", "id2label"]),
        (labelled("no", "yes"), labelled("cat", "dog"), ["other names"]),
    ],
)
def test_what_does_not_fit_is_told(teacher, student, words: list[str]) -> None:
    (only,) = check_pair(teacher, student)
    assert only.fix
    assert all(word in str(only) for word in words), str(only)


def test_several_problems_at_once() -> None:
    assert len(check_pair(tiny(num_labels=3), tiny(vocab_size=21))) == 2


def test_tokenizers_are_compared_by_their_ids() -> None:
    one, two = tokenizer(["good", "bad"]), tokenizer(["bad", "good"])
    (only,) = check_pair(tiny(), tiny(), one, two)
    assert "5 of them with the same id" in only.found
    (only,) = check_pair(tiny(), tiny(vocab_size=6), one, one)
    assert "7 tokens with ids up to 6, its embeddings 6 rows" in only.found


def test_label_names_of_a_language_model_do_not_count() -> None:
    config = hf.BertConfig(vocab_size=20, num_labels=3, **SIZES)
    assert check_pair(hf.BertForMaskedLM(config), hf.BertForMaskedLM(hf.BertConfig(vocab_size=20, **SIZES))) == []
