"""Whether plain transformers refuses a folder, in a process that knows nothing of textkd."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

PLAIN = """
import sys, transformers as t
folder, classes = sys.argv[1], sys.argv[2].split()
ways = {name: getattr(t, name).from_pretrained for name in classes}
ways["pipeline"] = lambda folder: t.pipeline("text-classification", folder)
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
