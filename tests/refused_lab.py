"""Whether plain transformers refuses a folder, in a process that knows nothing of textkd."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

PLAIN = """
import json, sys, transformers as t
from functools import partial
folder, classes = sys.argv[1], sys.argv[2].split()
ways = {name: getattr(t, name).from_pretrained for name in classes}
ways["pipeline"] = lambda folder: t.pipeline("text-classification", folder)
told = json.load(open(folder + "/config.json"))
kind = told["textkd"]["model_type"]
for name in [name for name in classes if name != "AutoConfig"]:
    way = ways[name]
    ways[name + ", any sizes"] = partial(way, ignore_mismatched_sizes=True)
    if kind in t.CONFIG_MAPPING:  # its real sizes, so that nothing but the names of weights could be in the way
        ways[name + ", its sizes"] = partial(way, config=t.CONFIG_MAPPING[kind].from_dict({**told, "model_type": kind}))
loaded = []
for name, way in ways.items():
    try:
        way(folder)
        loaded.append(name)
    except Exception as error:
        print(name, type(error).__name__)
t.AutoTokenizer.from_pretrained(folder)
assert "textkd" not in sys.modules
assert not loaded, loaded
"""
CLASSES = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "BertModel",
           "BertForSequenceClassification")  # fmt: skip


def plain_refuses(folder: Path, *classes: str) -> None:
    """In a process that knows nothing of textkd every way to load `folder` raises; its tokenizer is there."""
    program = [sys.executable, "-c", textwrap.dedent(PLAIN), str(folder), " ".join(classes or CLASSES)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
