"""Further files that finished models of a text task are measured on."""

import pytest
from task_files import write

from textkd import tasks
from textkd.errors import TextkdError


def test_further_files_to_evaluate_on(tmp_path):
    train = write(tmp_path, "train.csv", "text,label\ngood,pos\nbad,neg\n")
    test = write(tmp_path, "test.csv", "text,label\nfine,pos\nworse,neg\ngood,pos\n")
    task = tasks.text(train, train, extra_evals={"test": test})
    assert task.splits == ("train", "eval", "eval_test")
    assert task.load("eval_test")["label"][:] == [1, 0, 1]
    assert any("1 of 3 texts also stand in train" in note for note in task.warnings())
    assert task.fingerprint() != tasks.text(train, train).fingerprint()
    bad = write(tmp_path, "bad.csv", "text,label\nfine,good\n")
    with pytest.raises(TextkdError, match="good"):
        tasks.text(train, train, extra_evals={"test": bad}).problems()
    with pytest.raises(TextkdError) as caught:
        tasks.text(dataset="some/rows", extra_evals={"test": test, "no name": test})
    assert all(word in str(caught.value) for word in ("splits: {", "eval_test: ...", "the name 'no name'"))
    assert "extra_evals.test" in str(caught.value)
    with pytest.raises(TextkdError, match="no files by name"):
        tasks.text(train, train, extra_evals=[test])
