"""Which CPU a benchmark runs on: its figures are of that kind of CPU alone."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from textkd.training.arguments import has_bf16

CPUINFO = Path("/proc/cpuinfo")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16", "i8mm", "sve")
# loops until its parent is gone, so that nothing stays where a benchmark is killed
BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(10_000))"


@cache
def cpu() -> dict[str, Any]:
    """Name, cores, those of `FLAGS` that it has, what torch's kernels use, and whether bf16 is native. A CPU that
    ATEN_CPU_CAPABILITY makes an older one has no bf16: on such ones it is emulated."""
    text = CPUINFO.read_text() if CPUINFO.is_file() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    named = {name.strip(): value.strip() for name, value in fields.items()}
    words = set(named.get("flags", named.get("Features", "")).split())
    is_old = os.environ.get("ATEN_CPU_CAPABILITY", "").lower() in ("avx2", "default")
    return {
        "name": named.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in words],
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "bf16": "native" if has_bf16() and not is_old else "emulated",
    }


def has_native_bf16() -> bool:
    """Whether sides in bf16 are worth a run: where it is emulated, a step takes minutes."""
    return bool(cpu()["bf16"] == "native")


def tell_cpu() -> None:
    """Prints `cpu` for people."""
    found = cpu()
    flags = f"flags {' '.join(found['flags']) or 'unknown'}, torch's kernels {found['kernels']}"
    print(f"{found['name']}, {found['cores']} cores: {flags}, bf16 {found['bf16']}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Inside, so many other processes keep a core busy each."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid())]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()
