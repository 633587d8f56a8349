"""Metrics against numbers computed by hand and against SciPy and scikit-learn called directly."""

import math
import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from textkd.errors import TextkdError
from textkd.tasks import metrics

TRUTH = np.array([1, 1, 1, 0, 0, 0, 0, 1])
GUESS = np.array([1, 1, 0, 0, 0, 1, 0, 1])  # 3 true positives, 1 false positive, 1 false negative, 3 true negatives


def _compute(name, config, predictions, references):
    return metrics.load(name, config).compute(predictions=predictions, references=references)


@pytest.mark.parametrize("subset", ["sst2", "mnli", "mnli_mismatched", "qnli", "rte", "wnli", "snli"])
def test_accuracy_subsets(subset):
    assert _compute("glue", subset, GUESS, TRUTH) == {"accuracy": 6 / 8}


@pytest.mark.parametrize("subset", ["mrpc", "qqp"])
def test_accuracy_and_f1_of_the_positive_class(subset):
    guess = np.array([1, 1, 1, 1, 1, 0, 0, 0])  # 3 true positives, 2 false positives, 1 false negative
    values = _compute("glue", subset, guess, TRUTH)
    assert values == {"accuracy": pytest.approx(5 / 8), "f1": pytest.approx(2 * 3 / (2 * 3 + 2 + 1))}


def test_matthews_correlation_by_hand():
    value = _compute("glue", "cola", GUESS, TRUTH)["matthews_correlation"]
    assert value == pytest.approx((3 * 3 - 1 * 1) / math.sqrt(4 * 4 * 4 * 4))


@pytest.mark.parametrize(("name", "config"), [("glue", "stsb"), ("text_classification", "regression")])
def test_correlations_against_scipy(name, config):
    truth, guess = np.array([0.0, 1.5, 3.0, 5.0, 2.0]), np.array([0.2, 1.0, 4.0, 4.5, 4.1])
    values = _compute(name, config, guess, truth)
    assert values["pearson"] == pytest.approx(pearsonr(guess, truth).statistic)
    assert values["spearmanr"] == pytest.approx(spearmanr(guess, truth).statistic)
    if name != "glue":
        assert values["mse"] == pytest.approx(((guess - truth) ** 2).mean())


@pytest.mark.parametrize(
    ("name", "config", "guess", "truth"),
    [
        ("glue", "stsb", [2.5, 2.5, 2.5], [1.0, 2.0, 3.0]),
        ("glue", "stsb", [2.5], [1.0]),
        ("glue", "stsb", [1.0, 2.0], [3.0, 3.0]),
        ("glue", "cola", [1, 1, 1], [1, 0, 1]),
        ("text_classification", "regression", [2.5, 2.5, 2.5], [1.0, 2.0, 3.0]),
    ],
)
def test_an_undefined_correlation_is_zero_with_a_note(name, config, guess, truth, caplog):
    values = _compute(name, config, np.array(guess), np.array(truth))
    assert {key: value for key, value in values.items() if key != "mse"} == dict.fromkeys(values.keys() - {"mse"}, 0.0)
    assert "counted as 0.0" in caplog.text


def test_classification_macro_f1_by_hand():
    values = _compute("text_classification", "classification", np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2]))
    assert values == {"accuracy": 0.75, "f1_macro": pytest.approx((1 + 2 / 3 + 2 / 3) / 3)}
    assert metrics.load("text_classification", "default").config_name == "classification"


def test_multi_label_by_hand():
    truth, guess = np.array([[1, 0, 1], [0, 1, 0]]), np.array([[1, 0, 0], [0, 1, 0]])
    values = _compute("text_classification", "multi_label", guess, truth)
    micro = 2 * 2 / (2 * 2 + 0 + 1)
    assert values == {"f1_micro": pytest.approx(micro), "f1_macro": pytest.approx(2 / 3), "subset_accuracy": 0.5}


@pytest.mark.parametrize(("name", "config", "told"), [("gleu", "sst2", "glue"), ("glue", "sst3", "sst2")])
def test_unknown_names(name, config, told):
    with pytest.raises(TextkdError, match=told):
        metrics.load(name, config)


def _evaluate(_):
    return _compute("glue", "mrpc", GUESS, TRUTH)["accuracy"]


def test_two_processes_at_once():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_evaluate, range(6)) == [0.75] * 6


@pytest.mark.slow
def test_a_cache_that_cannot_be_made(tmp_path):
    """The caches lie under a path that is a file, as unusable as a read-only disk (which root would not notice)."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    code = (
        "from textkd.tasks import metrics; import numpy as np;"
        "print(metrics.load('glue', 'sst2').compute(predictions=np.array([1, 0]), references=np.array([1, 1])))"
    )
    env = {
        **os.environ,
        "HF_MODULES_CACHE": str(blocked / "modules"),
        "HF_METRICS_CACHE": str(blocked / "metrics"),
        "HF_HUB_OFFLINE": "1",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "{'accuracy': 0.5}", done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["file"]  # the scratch folder is gone


def test_the_modules_lie_on_disk_as_files():
    root = Path(metrics.__file__).parent
    for name in metrics.NAMES:
        assert stat.S_ISREG((root / name / f"{name}.py").stat().st_mode)
        assert (root / name / "__init__.py").is_file()  # so that find: packages it
