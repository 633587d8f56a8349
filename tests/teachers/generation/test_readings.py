"""The store of readings: goes on after a kill, belongs to one reader and one table, is one for all processes."""

import errno
import json
import math
import os
import socket
from pathlib import Path

import pytest
import torch.multiprocessing as mp
from line_tables import WORDS, Table, WordReader

from textkd.errors import TextkdError
from textkd.teachers.generation import readings
from textkd.teachers.generation.labelling import pseudo_labels


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("pseudo-*/*") if path.name != "about.json")


def test_every_line_is_read_once_and_kept(tmp_path):
    reader = WordReader(wrong={3: "fuor"})
    labels = pseudo_labels(reader, Table(), tmp_path, shard_size=4)
    assert reader.read == list(range(10))
    assert list(labels.texts) == ["one", "two", "three", "fuor", *WORDS[4:]]
    assert list(labels.confidences) == [0.5 + i / 100 for i in range(10)]
    assert labels.cer == [0, 0, 0, 0.5, *[0] * 6]
    assert shards(tmp_path) == ["shard-00000.jsonl", "shard-00001.jsonl", "shard-00002.jsonl"]
    again = WordReader(wrong={3: "fuor"})
    assert pseudo_labels(again, Table(), tmp_path, shard_size=4) == labels
    assert again.read == []


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    killed = WordReader(dies_at=5)
    with pytest.raises(KeyboardInterrupt):
        pseudo_labels(killed, Table(), tmp_path, shard_size=2)
    assert killed.read == [0, 1, 2, 3]
    again = WordReader()
    resumed = pseudo_labels(again, Table(), tmp_path, shard_size=2)
    assert again.read == [4, 5, 6, 7, 8, 9]
    straight = pseudo_labels(WordReader(), Table(), tmp_path / "other", shard_size=2)
    assert (resumed.texts, resumed.confidences) == (straight.texts, straight.confidences)


def test_a_kill_while_a_shard_is_written_leaves_no_half_shard(tmp_path, monkeypatch):
    def killed(path, text):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(readings, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            pseudo_labels(WordReader(), Table(), tmp_path, shard_size=5)
    assert shards(tmp_path) == []
    again = WordReader()
    pseudo_labels(again, Table(), tmp_path, shard_size=5)
    assert again.read == list(range(10))
    assert shards(tmp_path) == ["shard-00000.jsonl", "shard-00001.jsonl"]


@pytest.mark.parametrize(
    "torn", ["", '{"text": "o', '{"text": "one", "confidence": 0.5}\n', "[]\n[]\n[]\n[]\n", "\xff"]
)
def test_a_damaged_shard_is_read_again(tmp_path, torn):
    whole = pseudo_labels(WordReader(), Table(), tmp_path, shard_size=4)
    (shard,) = tmp_path.glob("pseudo-*/shard-00000.jsonl")
    shard.write_text(torn, encoding="latin-1")
    again = WordReader()
    assert pseudo_labels(again, Table(), tmp_path, shard_size=4) == whole
    assert again.read == [0, 1, 2, 3]


def test_another_reader_table_or_shard_size_has_a_store_of_its_own(tmp_path):
    cases = [
        (WordReader(), Table(), 4), (WordReader("other"), Table(), 4), (WordReader(), Table(name="other"), 4),
        (WordReader(), Table(9), 4), (WordReader(), Table(), 5),
    ]  # fmt: skip
    for reader, table, size in cases:
        pseudo_labels(reader, table, tmp_path, shard_size=size)
        assert len(reader.read) == len(table)
    assert len(list(tmp_path.glob("pseudo-*"))) == len(cases)


def test_a_plain_function_is_told_apart_by_the_fingerprint_given(tmp_path):
    def reader(images):
        return [("x", 1.0) for _ in images]

    with pytest.raises(TextkdError, match="without fingerprint"):
        pseudo_labels(reader, Table(), tmp_path)
    one = pseudo_labels(reader, Table(), tmp_path, fingerprint="one")
    other = pseudo_labels(reader, Table(), tmp_path, fingerprint="other")
    assert one.folder != other.folder
    assert json.loads((one.folder / "about.json").read_text())["reader"] == "one"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda images: [("x", 1.0)], "1 readings of 10 lines"),
        (lambda images: [("x", math.nan) for _ in images], "nan"),
        (lambda images: [("x", 1.5) for _ in images], "1.5"),
        (lambda images: [("x", None) for _ in images], "None"),
        (lambda images: [(None, 1.0) for _ in images], "None"),
        (lambda images: ["text" for _ in images], "'text'"),
        (lambda images: [None for _ in images], "10 of 10 are no readings"),
    ],
)
def test_a_reader_that_gives_something_else_is_refused(tmp_path, given, said):
    with pytest.raises(TextkdError, match=said):
        pseudo_labels(given, Table(), tmp_path, fingerprint="bad")
    assert shards(tmp_path) == []


def test_texts_are_one_line_without_outer_white_space(tmp_path):
    def reader(images):
        return [(" a\u2028b\nc ", 1.0) for _ in images]

    labels = pseudo_labels(reader, Table(1), tmp_path, fingerprint="x")
    assert list(labels.texts) == ["a b c"]


def test_empty_tables_and_shards_are_refused(tmp_path):
    with pytest.raises(TextkdError, match="without lines"):
        pseudo_labels(WordReader(), Table(0), tmp_path)
    with pytest.raises(TextkdError, match="shard_size 0"):
        pseudo_labels(WordReader(), Table(), tmp_path, shard_size=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "due"), [(errno.ENOSPC, "no space left"), (errno.EROFS, "Read-only file system")])
def test_a_disk_that_takes_no_more_is_told_and_what_was_read_is_kept(tmp_path, monkeypatch, number, due):
    replaced = []

    def full(*paths):
        replaced.append(paths)
        if len(replaced) > 3:  # about.json and two shards
            raise OSError(number, os.strerror(number))
        original(*paths)

    original = os.replace
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(TextkdError, match=due):
        pseudo_labels(WordReader(), Table(), tmp_path, shard_size=2)
    assert shards(tmp_path) == ["shard-00000.jsonl", "shard-00001.jsonl"]


def work(rank, port, folder):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    reader = WordReader()
    labels = pseudo_labels(reader, Table(), folder, shard_size=2)
    found = {"read": reader.read, "texts": labels.texts, "confidences": labels.confidences}
    (folder / f"{rank}.json").write_text(json.dumps(found))


@pytest.mark.slow
def test_two_processes_share_the_work_and_end_with_the_same(tmp_path):
    alone = pseudo_labels(WordReader(), Table(), tmp_path / "alone", shard_size=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    mp.spawn(work, args=(port, tmp_path), nprocs=2, join=True)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0]["read"] == [0, 1, 4, 5, 8, 9]
    assert ranks[1]["read"] == [2, 3, 6, 7]
    for found in ranks:
        assert (found["texts"], found["confidences"]) == (alone.texts, alone.confidences)
    again = WordReader()
    pseudo_labels(again, Table(), tmp_path, shard_size=2)
    assert again.read == []


def test_shards_that_another_process_has_not_left_here_are_told(tmp_path, monkeypatch):
    from textkd.teachers.generation import readings

    class Second:  # of two that see different folders
        process_index, num_processes, is_main_process = 1, 2, True

        def wait_for_everyone(self):
            pass

    monkeypatch.setattr(readings, "processes", Second)
    with pytest.raises(TextkdError, match=r"2 of 3 shards are not there: 1, 3[\s\S]*shared disk"):
        pseudo_labels(WordReader(), Table(), tmp_path, shard_size=4)
