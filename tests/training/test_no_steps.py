"""A training that makes no step is an error, and no run that was stopped."""

from __future__ import annotations

import pytest
from tiny_lab import Tiny

from textkd.config import build
from textkd.errors import TextkdError


def test_batches_that_are_never_full(tiny: Tiny) -> None:
    recipe = tiny.recipe
    recipe["training"] |= {"dataloader_drop_last": True, "per_device_train_batch_size": 100}
    with pytest.raises(TextkdError, match="64 rows: no batch is ever full"):
        build.from_recipe(tiny.write(recipe)).check()
