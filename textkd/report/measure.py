"""Size and memory of models, and what they were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import threading
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from textkd.errors import fail
from textkd.models.cpu import cpu

MB = 1e6
PACKAGES = ("textkd", "torch", "transformers", "datasets", "accelerate", "evaluate", "numpy")
_PROJECTION = "textkd_"


def parameters(model: nn.Module) -> int:
    """Number of parameters that a model ships with: tied ones once, textkd's own projections not at all.

    Args:
        model: any module.

    Returns:
        The number; buffers are not counted.

    Example:
        >>> parameters(nn.Linear(2, 3))
        9
    """
    return sum(p.numel() for name, p in model.named_parameters() if _PROJECTION not in name)


def short(count: int) -> str:
    """A number of parameters in a word.

    Args:
        count: the number.

    Example:
        >>> short(22_713_216), short(313_000), short(812)
        ('22.7M', '313k', '812')
    """
    for size, letter, digits in ((1_000_000, "M", 1), (1_000, "k", 0)):
        if count >= size:
            return f"{count / size:.{digits}f}{letter}"
    return str(count)


def disk_mb(folder: str | Path) -> float:
    """Size of the weights in a folder, in MB (1e6 bytes): of the *.safetensors right inside it.

    Args:
        folder: of a saved model.

    Returns:
        MB, files of other kinds not counted.

    Raises:
        TextkdError: there is no such file; an absent weight file is an error, not 0.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "model.safetensors").write_bytes(bytes(500_000))
        ...     disk_mb(folder)
        0.5
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise fail(f"the size of the weights in {folder}", "no *.safetensors there", fix="save the model first")
    return sum(file.stat().st_size for file in files) / MB


def weights_mb(model: nn.Module) -> float:
    """Size of a model's weights in their dtypes, in MB (1e6 bytes), tied ones once.

    Args:
        model: any module.

    Returns:
        MB, buffers that are saved counted too.

    Example:
        >>> weights_mb(nn.Linear(999, 250))
        1.0
    """
    tensors = {tensor.data_ptr(): tensor for tensor in model.state_dict().values()}
    return float(sum(tensor.nbytes for tensor in tensors.values())) / MB


class PeakMemory:
    """Context manager; afterwards `mb` is the peak of memory inside the block, in MB (1e6 bytes).

    On a cuda device: memory that torch allocated there. Otherwise: the resident memory of this whole process (without
    its children), looked at from time to time, so a shorter peak between two looks is missed.

    Args:
        device: what is watched.
        interval_s: seconds between two looks.

    Example:
        >>> with PeakMemory() as peak:
        ...     ones = torch.ones(1000)
        >>> peak.mb > 0
        True
    """

    def __init__(self, device: str | torch.device = "cpu", interval_s: float = 0.05) -> None:
        self.device = torch.device(device)
        self.interval_s = interval_s
        self.mb = 0.0

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            return self
        self._process = psutil.Process()
        self._stop = threading.Event()
        self.mb = 0.0
        self._look()
        self._thread = threading.Thread(target=self._watch, name="textkd-peak-memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.mb = torch.cuda.max_memory_allocated(self.device) / MB
            return
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(self.interval_s):
            self._look()

    def _look(self) -> None:
        self.mb = max(self.mb, self._process.memory_info().rss / MB)


def hardware() -> dict[str, Any]:
    """What a measurement was made on.

    Returns:
        {"cpu": model name and flags, "cores": cores that this process may use, "gpu": names of the cuda devices}.

    Example:
        >>> sorted(hardware())
        ['cores', 'cpu', 'gpu']
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpu = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return {"cpu": cpu(), "cores": cores, "gpu": gpu}


def versions(*more: str) -> dict[str, str]:
    """Python's and the libraries' versions.

    Args:
        more: packages after the usual ones.

    Returns:
        The version by name; what is not installed is left out.

    Example:
        >>> {"python", "torch", "transformers"} <= set(versions("no-such-package"))
        True
    """
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, *more):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
