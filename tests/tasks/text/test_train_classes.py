"""The classes of a text task come from its train data: what is told where these are damaged, or lack one."""

import pytest
from task_files import write

from textkd import tasks
from textkd.errors import TextkdError


def test_labels_are_not_judged_by_what_is_left_of_damaged_train_data(tmp_path):
    good = write(tmp_path, "good.csv", "text,label\na,x\nb,y\n")
    for name, cells, words in (
        ("none.csv", "", "no rows"),
        ("damaged.csv", "a,x\nb\nc,y,z\n", "1 columns where 2"),
    ):
        bad = write(tmp_path, name, f"text,label\n{cells}")
        with pytest.raises(TextkdError, match=words) as told:
            tasks.text(bad, good).problems()
        assert {name in one.asked for one in told.value.problems} == {True}
        with pytest.raises(TextkdError, match=words):
            tasks.text(bad, good).load("eval")
    both = write(tmp_path, "both.csv", "text,label\na\n")
    with pytest.raises(TextkdError, match=r"damaged\.csv, line 3[\s\S]*both\.csv, line 2"):
        tasks.text(bad, both).problems()


def test_a_class_that_train_lacks_can_be_named(tmp_path):
    train = write(tmp_path, "train.csv", "text,label\na,x\nb,y\n")
    more = write(tmp_path, "more.csv", "text,label\na,x\nc,z\n")
    with pytest.raises(TextkdError, match=r"'z'; the classes are x, y[\s\S]*those of train: labels: \[\.\.\.\]"):
        tasks.text(train, more).load("eval")
    task = tasks.text(train, more, labels=["x", "y", "z"])
    assert task.load("eval")["label"][:] == [0, 2]
    with pytest.raises(TextkdError, match=r"where labels: \[\.\.\.\] is given, it names every class$"):
        tasks.text(train, more, labels=["x", "y"]).load("eval")
