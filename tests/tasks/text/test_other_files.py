"""Files that are written in another way than their suffix says, and folders that `datasets` wrote."""

import datasets
import pytest
import yaml
from task_files import write

from textkd import tasks
from textkd.errors import TextkdError


def test_a_file_of_other_columns_or_another_encoding_is_told_and_read(tmp_path):
    for name, sign in (("semi.csv", ";"), ("tabs.csv", "\t"), ("commas.tsv", ",")):
        file = write(tmp_path, name, f"text{sign}label\ngood film{sign}1\nbad film{sign}0\n")
        with pytest.raises(TextkdError, match="columns apart by") as told:
            tasks.text(file, file).load("train")
        fix = yaml.safe_load(told.value.problems[0].fix)
        assert fix == {"delimiter": sign}
        assert len(tasks.text(file, file, **fix).load("train")) == 2
    for name in ("gb18030", "cp1252", "utf-16"):
        file = tmp_path / f"{name}.csv"
        text = "\u597d film,1\n" if name == "gb18030" else "caf\xe9 ,1\n"
        file.write_bytes(f"text,label\n{text}bad film,0\n".encode(name))
        with pytest.raises(TextkdError, match=f"encoding: {name}"):
            tasks.text(file, file).load("train")
        task = tasks.text(file, file, encoding=name)
        assert task.load("train")["text_a"] == [text.partition(",")[0], "bad film"]
        assert task.with_file(file).load("eval")["text_a"][0] == text.partition(",")[0]
    western = tmp_path / "western.csv"  # as gb18030 its accent and the letter behind it would be a Chinese sign
    western.write_bytes("text,label\n\xc7a va,1\nbad film,0\n".encode("cp1252"))
    with pytest.raises(TextkdError, match="encoding: cp1252"):
        tasks.text(western, western).load("train")
    with pytest.raises(TextkdError, match="gb18030 text in"):
        tasks.text(tmp_path / "cp1252.csv", {"fraction": 0.5}, encoding="gb18030").load("train")
    with pytest.raises(TextkdError, match=r"encoding: asked.*'gbk9'[\s\S]*nearest: gbk"):
        tasks.text(file, file, encoding="gbk9")
    plain = write(tmp_path, "plain.csv", "text,label\na,1\nb,0\n")
    assert tasks.text(plain, plain).fingerprint() == tasks.text(plain, plain, encoding="utf-8").fingerprint()


def test_a_column_without_a_name_can_be_named(tmp_path):
    file = write(tmp_path, "a.csv", ",label\ngood,1\nbad,0\n")
    assert tasks.text(file, file, text="").load("train")["text_a"] == ["good", "bad"]


@pytest.mark.parametrize("several", [True, False])
def test_a_folder_that_save_to_disk_wrote(several, tmp_path):
    rows = datasets.Dataset.from_dict({"text": ["a", "b"] * 4, "label": ["x", "y"] * 4})
    saved = datasets.DatasetDict(train=rows, validation=rows) if several else rows
    saved.save_to_disk(tmp_path / "saved")
    with pytest.raises(TextkdError, match=r"save_to_disk[\s\S]*dataset: "):
        tasks.text(tmp_path / "saved", tmp_path / "saved")
    task = tasks.text(dataset=str(tmp_path / "saved"))
    if not several:
        with pytest.raises(TextkdError, match=r"split 'validation'[\s\S]*it has train\n  fix: eval: {fraction"):
            task.problems()
        task = tasks.text(dataset=str(tmp_path / "saved"), eval={"fraction": 0.25})
    assert (len(task.load("train")), len(task.load("eval"))) == ((8, 8) if several else (6, 2))
