"""Writes a student as a Hugging Face folder that holds nothing of the training; it loads without textkd, but for
models that transformers has no class for (`textkd.models.own`)."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from textkd.errors import TextkdError, fail
from textkd.models.as_saved import load
from textkd.models.files import FULL, UMASK, at_home, refused, share, write_json
from textkd.models.forward import positions
from textkd.models.loading import load_tokenizer, load_with_report, quiet
from textkd.models.model_files import read_json
from textkd.models.regular import regular

# Copied byte for byte beside the weights, where they exist; only a model_max_length beyond the positions is corrected.
SIDE_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "preprocessor_config.json",
    "processor_config.json",
    "README.md",
    "LICENSE",
)


def export(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes the model of `source` to the folder `out` and returns it.

    source: a run folder (of its first seed, the model that the report's first sentence is about) or a model folder.
    tokenizer: a folder with the tokenizer, when the model's own folder has none. The folder gets config.json,
    safetensors in the dtype they were saved in, and the tokenizer's files; training helpers (projections) stay behind.
    It is written beside `out` under another name, loaded again, compared with the source on one batch, and renamed:
    `out` is complete or not there.
    Raises `TextkdError` when `out` exists and is not empty (unless overwrite), source is no model, weights are missing,
    the reloaded model differs, or the disk is full.
    """
    folder, target = student_folder(source), Path(os.path.abspath(at_home(out)))
    _check_target(folder, target, overwrite, "config.json")
    model = load(folder, asked=f"export of {folder}")
    texts = model.main_input_name == "input_ids"
    words = at_home(tokenizer) if tokenizer is not None else folder
    if texts or tokenizer is not None:
        load_tokenizer(words)
    with _written_beside(target, overwrite) as part:
        with quiet():
            model.save_pretrained(part)
        for home in dict.fromkeys((folder, words)):
            for name in SIDE_FILES:
                if (home / name).is_file():
                    shutil.copyfile(home / name, part / name)
        if texts:
            _cut_at(part, positions(model))
        _check_reload(model, part)
    return target


def _cut_at(folder: Path, most: int) -> None:
    """Has the tokenizer of a folder cut texts at `most` tokens, if it says that more would do: the model fails on them.
    A million stands for no limit."""
    file = folder / "tokenizer_config.json"
    if file.is_file() and most < 10**6:
        told = read_json(file, f"the tokenizer of {folder}")
        if not 0 < (told.get("model_max_length") or most + 1) <= most:
            write_json(file, {**told, "model_max_length": most})


def student_folder(run_dir: str | os.PathLike[str]) -> Path:
    """The folder of the model that a run is about, of its first seed: the student, the last link of a chain, the first
    peer of a cohort. A model folder is returned as it is."""
    folder = at_home(run_dir)
    if not folder.is_dir():
        near = (folder.name, [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else [])
        fix = "give the run folder that `textkd run` wrote, or a model folder"
        raise fail(f"the student in {folder}", "no such folder", near=near, fix=fix)
    if (folder / "config.json").is_file():
        return folder
    name, first = _of_results(folder)
    seeds = sorted((p for p in folder.glob("seed-*") if p.name.removeprefix("seed-").isdigit()), key=_seed_number)
    seeds.sort(key=lambda p: p.name != first)
    done = [p / name for p in seeds if (p / name / "config.json").is_file()]
    if done:
        return done[0]
    asked = f"the student in {folder}"
    if not seeds:
        fix = "give the run folder that `textkd run` wrote, or a model folder"
        raise fail(asked, "neither config.json nor seed-*/student", fix=fix)
    found, fix = f"seed folders without a finished {name}", "let `textkd run` finish"
    if there := [p.parent for seed in seeds for p in sorted(seed.glob("*/config.json"))]:
        fix += f", or give the folder of one model, such as {there[0]}"
    raise fail(asked, found, fix=fix)


def _of_results(folder: Path) -> tuple[str, str]:
    """The name of the model that the report of a finished run is about, and the folder of the recipe's first seed."""
    name, first = "student", ""  # of a run that is not finished, or whose results cannot be read
    with suppress(Exception):
        results = json.loads(regular(folder / "results.json").read_text())
        first = f"seed-{results['seeds'][0]}"
        name = str(results["compare"]["student"])
    return name, first


def _seed_number(folder: Path) -> int:
    return int(folder.name.removeprefix("seed-"))


@contextmanager
def new_folder(folder: Path, target: Path, overwrite: bool, mark: str) -> Iterator[Path]:
    """A new folder that becomes `target` at the end, or vanishes with the error.

    Args:
        folder: of the model that is exported; it stays.
        target: the place of the new one.
        overwrite: what is at `target` is replaced, where it holds the file `mark`.
        mark: a file that tells what may be replaced.

    Raises:
        TextkdError: something else is at `target`, or the disk refuses.
    """
    _check_target(folder, target, overwrite, mark)
    with _written_beside(target, overwrite) as part:
        yield part


def _check_target(folder: Path, target: Path, overwrite: bool, mark: str) -> None:
    asked = f"export to {target}"
    if target.exists() and not target.is_dir():
        raise fail(asked, "it is a file", fix="name a folder")
    inside = folder.resolve()
    if target.resolve() == inside or target.resolve() in inside.parents:
        raise fail(asked, f"the model itself lies in it ({inside})", fix="name another folder")
    if target.is_dir() and any(target.iterdir()):
        if not overwrite:
            raise fail(asked, "the folder is not empty", fix="name another folder, or overwrite it with --overwrite")
        if not (target / mark).is_file():
            fix = "name another folder; only the folder of a model is overwritten"
            raise fail(asked, "the folder holds other things than a model", fix=fix)


@contextmanager
def _written_beside(target: Path, overwrite: bool) -> Iterator[Path]:
    """A new folder beside `target` that becomes `target` at the end, or vanishes with the error."""
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        yield part
        part.chmod(0o777 & ~UMASK)  # mkdtemp's folders are for the owner alone
        share(part)
        _swap(part, target, overwrite)
    except TextkdError:
        raise
    except Exception as error:
        if not (found := refused(error, target.parent)):
            raise
        full = "free some space or name a folder on another disk; nothing was left behind"
        fix = full if found == FULL else "name a folder that you may write to"
        raise fail(f"export to {target}", found, fix=fix) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _swap(part: Path, target: Path, overwrite: bool) -> None:
    old = part.with_name(f"{part.name}-old")
    if target.is_dir():
        target.rename(old)
    try:
        if old.is_dir() and any(old.iterdir()) and not overwrite:
            raise fail(f"export to {target}", "the folder was filled meanwhile", fix="name another folder")
        part.rename(target)
    except BaseException:
        if old.is_dir():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@torch.no_grad()
def _check_reload(model: Any, folder: Path) -> None:
    """The written folder computes what the source computes, on one batch with padding."""
    asked = f"the exported copy in {folder.name}"
    twin, info = load_with_report(folder, type(model), dtype="auto")
    batch = dummy_batch(model)
    ours, again = (_tensors(m(**batch)) for m in (model, twin))
    if not all(value.isfinite().all() for value in ours.values()):
        raise fail(
            asked, "the model computes infinite values or NaN", fix="its training diverged: lower the learning rate"
        )
    differ = [k for k in ours if k not in again or not torch.allclose(ours[k].float(), again[k].float(), atol=1e-5)]
    if info["missing_keys"] or info["unexpected_keys"] or differ or not ours:
        found = f"reloaded outputs differ: {', '.join(differ) or 'other weights'}"
        raise fail(asked, found, fix="nothing was exported; report this with the model's config.json")


def _tensors(output: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in output.items() if isinstance(value, torch.Tensor)}


def dummy_batch(model: Any) -> dict[str, torch.Tensor]:
    """Two rows of random input for a text or vision model: ids [2, 8] with padding (multiple choice: [2, 2, 8]), or
    pixels [2, C, H, W]."""
    chance = torch.Generator().manual_seed(0)
    config = model.config
    if model.main_input_name == "pixel_values":
        vision = getattr(config, "encoder", config)
        size = vision.image_size if isinstance(vision.image_size, list | tuple) else (vision.image_size,) * 2
        pixels = torch.randn(2, vision.num_channels, *size, generator=chance, dtype=torch.float32)
        batch = {"pixel_values": pixels.to(model.dtype)}
        if config.is_encoder_decoder:
            batch["decoder_input_ids"] = torch.randint(config.decoder.vocab_size, (2, 4), generator=chance)
        return batch
    ids = torch.randint(config.vocab_size, (2, 8), generator=chance)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    if config.pad_token_id is not None:
        # the pad id ends the sequence for some models (RoBERTa's positions), so it stays out of the valid part
        ids[ids == config.pad_token_id] = (config.pad_token_id + 1) % config.vocab_size
        ids[1, 5:] = config.pad_token_id
    batch = {"input_ids": ids, "attention_mask": mask}
    if type(model).__name__.endswith("ForMultipleChoice"):
        return {name: value.unsqueeze(1).repeat(1, 2, 1) for name, value in batch.items()}
    return batch
