"""Position embeddings: for images of another size, and TrOCR's sinusoidal ones, which transformers does not load."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from textkd.errors import fail
from textkd.models.loading import clone
from textkd.models.students.copying import is_two_sided
from textkd.models.students.sides import TYPES, size_of


def fit_image_size(model: PreTrainedModel, size: tuple[int, int]) -> PreTrainedModel:
    """A copy of a ViT or DeiT, or of a `VisionEncoderDecoderModel` with one, for images of another size.

    The position embeddings of the patches are interpolated on the patch grid (bicubic, in float32, corners not aligned:
    what transformers' `interpolate_pos_encoding=True` does, here also for oblong grids). Those of the CLS and
    distillation tokens, and all other weights, stay. The configs tell the new size, so that the saved copy loads as it
    is. At the model's own size the copy computes exactly the same.

    Args:
        model: what is copied. It is not changed.
        size: (height, width) of the images in pixels.

    Returns:
        The copy, with the model's mode, dtype and device.

    Raises:
        TextkdError: another architecture, or a size that is no multiple of the patch size.

    Example:
        >>> from transformers import ViTConfig, ViTModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 1}
        >>> square = ViTModel(ViTConfig(image_size=32, patch_size=8, **sizes))
        >>> fit_image_size(square, (16, 64)).embeddings.position_embeddings.shape  # 2 x 8 patches and CLS
        torch.Size([1, 17, 8])
    """
    encoder = model.encoder if is_two_sided(model) else model.base_model
    if encoder.config.model_type not in TYPES["encoder"]:
        found = f"its encoder is of model_type {encoder.config.model_type}"
        raise fail(f"{type(model).__name__} for another image size", found, fix="use a ViT or a DeiT encoder")
    patch = size_of(encoder.config.patch_size)
    _check_size(size, patch)
    twin: PreTrainedModel = clone(model)
    encoder = twin.encoder if is_two_sided(twin) else twin.base_model
    old = size_of(encoder.config.image_size)
    if old == tuple(size):
        return twin
    embeddings = encoder.embeddings
    grids = [(h // patch[0], w // patch[1]) for h, w in (old, size)]
    weight = embeddings.position_embeddings
    special = weight.shape[1] - grids[0][0] * grids[0][1]
    fitted = torch.cat([weight[:, :special], _interpolated(weight[:, special:], *grids)], dim=1)
    embeddings.position_embeddings = nn.Parameter(fitted.detach(), requires_grad=weight.requires_grad)
    embeddings.image_size = embeddings.patch_embeddings.image_size = tuple(size)
    embeddings.patch_embeddings.num_patches = grids[1][0] * grids[1][1]
    for config in {id(c): c for c in (encoder.config, getattr(twin.config, "encoder", encoder.config))}.values():
        config.image_size = size[0] if size[0] == size[1] else list(size)
    return twin


def _check_size(size: Any, patch: tuple[int, int]) -> None:
    asked = f"an image size of {size!r}"
    if not isinstance(size, tuple | list) or len(size) != 2 or not all(type(n) is int and n > 0 for n in size):
        raise fail(asked, "not (height, width) in pixels", fix="for example (32, 1024)")
    if any(n % p for n, p in zip(size, patch, strict=True)):
        near = tuple(max(1, round(n / p)) * p for n, p in zip(size, patch, strict=True))
        raise fail(asked, f"no multiple of the patches of {patch[0]}x{patch[1]} pixels", fix=f"use {near}")


def _interpolated(weight: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """[1, h*w, H] on the grid `old` -> [1, h'*w', H] on `new`."""
    if old == new:
        return weight
    grid = weight.float().reshape(1, *old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=new, mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).reshape(1, new[0] * new[1], -1).to(weight.dtype)
