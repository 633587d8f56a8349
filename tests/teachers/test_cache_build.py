"""A cache is filled once, by any number of processes, whatever kills them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cache_lab
import pytest
import torch
from cache_lab import Rows, batches, collate, fill, teacher
from filelock import FileLock
from second_proofs import but_few

from textkd.errors import TextkdError
from textkd.teachers import LiveTeacher
from textkd.teachers.cache import CachedTeacher, build, estimate, refuse_augmented, refuse_too_large, store

LAB = [sys.executable, str(Path(cache_lab.__file__))]


def assert_whole(folder: Path, rows: Rows) -> None:
    """Every row is on disk, and what a live teacher says."""
    cached = teacher(folder)
    live = LiveTeacher(cached.model, cache_lab.TAPS)
    for batch in batches(rows):
        taps, expected = cached.taps(batch), live.taps(batch)
        where = batch["attention_mask"].bool()
        assert torch.allclose(taps["hidden:2"][where], expected["hidden:2"][where], rtol=2**-8)
        assert torch.allclose(taps["logits"], expected["logits"], atol=1e-5)
    assert cached.computed == 0
    live.close()


@pytest.mark.long
def test_every_row_is_computed_once(tmp_path: Path) -> None:
    rows, told = Rows(50), list[int]()
    made = teacher(tmp_path)
    build(made, rows, collate, 4, estimate(made, rows, collate), told.append)
    assert (made.computed, sum(told)) == (50, 50)
    assert len(made.store.shards) > 4
    assert_whole(tmp_path, rows)
    assert fill(tmp_path, rows).computed == 0


@pytest.mark.long
def test_rows_that_somebody_works_on_are_waited_for(tmp_path: Path) -> None:
    rows, made = Rows(50), teacher(tmp_path)
    size = estimate(made, rows, collate)
    lock = made.store.folder / "claims" / "50-8-0.lock"
    lock.parent.mkdir(parents=True)
    held = threading.Event()

    def die_slowly() -> None:
        with FileLock(lock):
            held.set()
            time.sleep(0.3)

    other = threading.Thread(target=die_slowly)
    other.start()
    held.wait()
    build(made, rows, collate, 4, size)
    other.join()
    assert made.computed == 50


@pytest.mark.long
def test_more_rows_compute_what_is_new_alone(tmp_path: Path) -> None:
    fill(tmp_path, Rows(30))
    assert fill(tmp_path, Rows(42)).computed == 12
    assert_whole(tmp_path, Rows(42))


@pytest.mark.slow
def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    killed = subprocess.run([*LAB, str(tmp_path), "200", "40", "1"], check=False, capture_output=True)
    assert killed.returncode == -9
    kept = len(teacher(tmp_path).store.shards)
    assert kept >= 2
    made = fill(tmp_path, Rows(200))
    assert 0 < made.computed <= 200 - kept * 20
    assert_whole(tmp_path, Rows(200))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_processes_build_one_cache(tmp_path: Path) -> None:
    running = [subprocess.Popen([*LAB, str(tmp_path), "240", "0", "2"], stdout=subprocess.PIPE) for _ in range(2)]
    computed = [int(process.communicate()[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    # each looks at 15 rows beforehand, on its own
    assert 240 <= sum(computed) <= 240 + 2 * 15
    assert min(computed) > 60
    assert_whole(tmp_path, Rows(240))


def test_an_unfinished_file_of_a_dead_process_goes(tmp_path: Path) -> None:
    folder = fill(tmp_path, Rows(8)).store.folder
    left = folder / f".shard-{store.socket.gethostname()}-99999999-ab.safetensors.part"
    mine = folder / f".shard-{store.socket.gethostname()}-{store.os.getpid()}-ab.safetensors.part"
    for path in (left, mine):
        path.write_bytes(b"half")
    teacher(tmp_path)
    assert (left.exists(), mine.exists()) == (False, True)


@pytest.mark.long
@pytest.mark.parametrize(
    "how", but_few(["data", "index", "type", "index type", "cut", "empty", "no safetensors"], "type")
)
def test_a_damaged_shard_is_named_and_made_anew(how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows(40)
    shard = sorted(fill(tmp_path, rows).store.shards)[1]
    data = bytearray(shard.read_bytes())
    spoilt = {"cut": data[:-7], "empty": b"", "no safetensors": b"x" * len(data)}.get(how)
    if how == "type":  # a letter of the header: numbers that are read as others
        spoilt = data.replace(b'"F32"', b'"I32"').replace(b'"BF16"', b'"F16" ')
    elif how == "index type":
        spoilt = data.replace(b'"I64"', b'"F64"', 1)
    elif spoilt is None:
        place = len(data) - 3 if how == "data" else data.index(b'dims\\": [') + 9
        data[place] ^= 1
        spoilt = data
    shard.write_bytes(spoilt)
    cached = teacher(tmp_path)
    live = LiveTeacher(cached.model, ["hidden:2"])
    for batch in [*batches(rows), *batches(rows)]:  # rows that were read before the damage was met are lost with it
        where, taps = batch["attention_mask"].bool(), cached.taps(batch)
        assert torch.allclose(taps["hidden:2"][where], live.taps(batch)["hidden:2"][where], rtol=2**-8)
    assert shard.name in caplog.text
    assert 0 < cached.computed < 40
    cached.close()
    assert not shard.exists()
    assert_whole(tmp_path, rows)


@pytest.mark.long
def test_a_shard_that_is_cut_while_it_is_read_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reading behind the end of a mapped file would kill the process."""
    rows = Rows(40)
    fill(tmp_path, rows)
    cached = teacher(tmp_path)
    cached.taps(next(iter(batches(rows))))
    for shard in cached.store.shards:
        os.truncate(shard, 200)
    for batch in batches(rows):
        cached.taps(batch)
    assert " bytes of " in caplog.text
    cached.close()
    assert_whole(tmp_path, rows)


@pytest.mark.long
def test_the_size_is_known_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, made = Rows(300), teacher(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(store, "SHARD_BYTES", 100)  # however large its rows are
        size = estimate(made, rows, collate)
    assert not any(tmp_path.iterdir())
    build(made, rows, collate, 4, size)
    on_disk = sum(path.stat().st_size for path in made.store.shards)
    assert size.total == pytest.approx(made.store.written, rel=0.5)
    assert made.store.written == on_disk
    assert size.dense > size.bytes * 0.9
    again = estimate(teacher(tmp_path), rows, collate)
    assert (again.there, again.missing) == (1, 0)
    assert again.bytes == pytest.approx(size.bytes)


def test_max_gb_refuses_before_anything_is_written(tmp_path: Path) -> None:
    made = teacher(tmp_path, max_gb=1e-5)
    with pytest.raises(TextkdError, match=r"max_gb is 1e-05.*\n.*fix: max_gb: "):
        refuse_too_large(made, estimate(made, Rows(300), collate))
    assert not any(tmp_path.iterdir())
    refuse_too_large(made, estimate(made, Rows(4), collate))


def test_max_gb_holds_where_nobody_estimated(tmp_path: Path) -> None:
    made = teacher(tmp_path, max_gb=1e-5)
    for batch in batches(Rows(40)):
        made.taps(batch)
    with pytest.raises(TextkdError, match="max_gb"):
        made.close()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_disk_without_room_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = teacher(tmp_path)
    size = estimate(made, Rows(100), collate)
    monkeypatch.setattr("textkd.teachers.cache.building.shutil.disk_usage", lambda _: type("Usage", (), {"free": 999}))
    with pytest.raises(TextkdError, match="999 B of the disk are free"):
        refuse_too_large(made, size)


FAULTS = [
    (OSError(28, "No space left on device"), "no space left on the disk"),
    (RuntimeError("I/O error: Read-only file system (os error 30)"), "Read-only file system"),  # as safetensors says it
]


@pytest.mark.long
@pytest.mark.parametrize(("error", "due"), FAULTS, ids=["full", "read-only"])
def test_a_disk_that_takes_no_more_loses_nothing(
    error: Exception, due: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_written(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise error

    rows = Rows(40)
    fill(tmp_path, Rows(20))
    before = sorted(path.name for path in tmp_path.rglob("*.safetensors"))
    with monkeypatch.context() as patch:
        patch.setattr("textkd.teachers.cache.shards.save_file", half_written)
        with pytest.raises(TextkdError, match=due):
            fill(tmp_path, rows)
    assert sorted(path.name for path in tmp_path.rglob("*safetensors*")) == before
    assert fill(tmp_path, rows).computed == 20
    assert_whole(tmp_path, rows)


def test_rows_that_change_every_epoch_are_refused() -> None:
    rows = Rows(4)
    refuse_augmented(rows)
    rows.augment = lambda image, seed: image  # type: ignore[attr-defined]
    with pytest.raises(TextkdError, match="augmented anew in every epoch"):
        refuse_augmented(rows)


def test_other_processes_shards_are_found_while_running(tmp_path: Path) -> None:
    early, batch = teacher(tmp_path), batches(Rows(5))[0]
    fill(tmp_path, Rows(5))
    early.taps(batch)
    assert early.computed == 0


@pytest.mark.long
def test_reading_loads_no_whole_file(tmp_path: Path) -> None:
    """A shard of 64 MB: a row of it brings in pages, not the file."""
    made = CachedTeacher(cache_lab.make_teacher(hidden=256, layers=1), ["hidden:1"], tmp_path)
    rows = {"input_ids": torch.randint(5, 20, (256, 40)), "attention_mask": torch.ones(256, 40, dtype=torch.long)}
    for _ in range(4):
        rows["input_ids"] = torch.randint(5, 20, (256, 40))
        made.taps(rows)
    made.close()
    size = sum(path.stat().st_size for path in made.store.shards)
    again = CachedTeacher(made.model, ["hidden:1"], tmp_path)
    before = _resident()
    again.taps({name: column[:2] for name, column in rows.items()})
    assert size > 20e6
    assert _resident() - before < size / 4


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096
