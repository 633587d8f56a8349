"""Random numbers of known seeds that leave everybody else's alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_from(seed: int) -> Iterator[None]:
    """Inside, Python's, numpy's and torch's random numbers begin at `seed`; afterwards they go on as if nothing had
    been drawn."""
    before = random.getstate(), np.random.get_state()
    begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if begun else []
    with torch.random.fork_rng(devices):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # what it takes; a seed too large for a run is told elsewhere
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
