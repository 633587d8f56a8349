"""What transformers means by certain numbers."""

from __future__ import annotations

IGNORED = -100  # the label of a position that has none
