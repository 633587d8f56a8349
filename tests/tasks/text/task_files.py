"""Small files and a small tokenizer for the tests of tasks."""

from transformers import BertTokenizerFast

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "good",
    "bad",
    "film",
    "the",
    "was",
    "long",
    "and",
    "not",
    "it",
]


def tokenizer(**options):
    return BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)}, **options)


def write(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    (folder / name).write_bytes(data)
    return folder / name


def tsv(*rows):
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)
