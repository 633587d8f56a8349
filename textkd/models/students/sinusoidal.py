"""Position embeddings that start as waves: neighbours alike, far places unlike, before a single step is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from textkd.models.students.sides import size_of

LONGEST = 10_000.0  # of the slowest wave, in positions, over 2 pi (Vaswani et al. 2017)
ENCODER_RMS = 0.35  # half of plain sines, near what patches of ink on paper add at the start


def waves(count: int, width: int) -> Tensor:
    """[count, width] float32: sines, then cosines, of wavelengths in geometric progression, root mean square 1.

    Vaswani et al. 2017, section 3.5, times the square root of 2; an odd last column is 0.
    """
    half = width // 2
    speed = LONGEST ** (-torch.arange(half) / max(1, half - 1))
    angles = torch.arange(count)[:, None] * speed
    return 2**0.5 * torch.cat([angles.sin(), angles.cos(), torch.zeros(count, width % 2)], dim=1)


def grid_waves(rows: int, columns: int, width: int) -> Tensor:
    """[rows * columns, width]: the first half tells the row, the rest the column; with one row all of it."""
    if rows == 1:
        return waves(columns, width)
    down, across = waves(rows, width // 2), waves(columns, width - width // 2)
    return torch.cat([down.repeat_interleave(columns, 0), across.repeat(rows, 1)], dim=1)


@torch.no_grad()
def start_as_waves(model: Any, sides: Sequence[str] = ("encoder", "decoder")) -> None:
    """Writes waves into the learned position embeddings of new sides of a `VisionEncoderDecoderModel`: of the patches,
    of the tokens. Special tokens and sinusoidal embeddings are left alone."""
    if "encoder" in sides:
        config = model.config.encoder
        rows, columns = (s // p for s, p in zip(size_of(config.image_size), size_of(config.patch_size), strict=True))
        places = model.encoder.embeddings.position_embeddings
        places[0, -rows * columns :] = ENCODER_RMS * grid_waves(rows, columns, places.shape[2]).to(places)
    learned = model.decoder.model.decoder.embed_positions
    if "decoder" in sides and isinstance(learned, nn.Embedding):
        tokens = learned.weight[getattr(learned, "offset", 0) :]
        tokens[:] = model.config.decoder.init_std * waves(*tokens.shape).to(tokens)
