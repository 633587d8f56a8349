"""Which CPU this is: int8 is fast or slow by a few of its flags."""

from __future__ import annotations

import platform
from pathlib import Path

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm")


def cpu(path: Path = Path("/proc/cpuinfo")) -> str:
    """The model name of the CPU, and those of its flags that int8 and bf16 are fast by.

    Args:
        path: where the system says so.

    Example:
        >>> isinstance(cpu(), str)
        True
    """
    name, flags = platform.processor() or platform.machine() or "unknown", set[str]()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for line in reversed(lines):  # the first core is named
        key, _, value = (part.strip() for part in line.partition(":"))
        if key.lower() == "model name" and value:
            name = value
        if key in ("flags", "Features"):
            flags = set(value.split())
    told = [flag for flag in FLAGS if flag in flags]
    return f"{name} ({', '.join(told)})" if told else name
