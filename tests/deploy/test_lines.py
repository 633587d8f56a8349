"""Exported readers of lines: each part of the runtime equals transformers, the folder reads as the model does, and what
cannot be exported is refused with its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from ocr_lab import EVAL, Reading, make_reader, processor, save_teacher, write_lines
from PIL import Image

import textkd
from textkd import deploy
from textkd.deploy import manifest
from textkd.deploy.artifact import Artifact
from textkd.deploy.lines_graphs import DecoderGraph, EncoderGraph, parity
from textkd.deploy.lines_onnx import generated, search_of
from textkd.deploy.runtime.lines import LineModel
from textkd.deploy.runtime.lines_search import Decoding, Search
from textkd.deploy.to_onnx import export_onnx, refuse
from textkd.errors import TextkdError
from textkd.experiment.artifacts import problems
from textkd.experiment.evaluate import evaluate
from textkd.models.as_saved import load
from textkd.tasks.ocr.output import LineTexts
from textkd.tasks.ocr.processor import decode_texts, pixels

SINUSOIDAL = {"use_learned_position_embeddings": False}
PLAIN = {"size": {"height": 16, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.5, 0.25, 1.0]}


class Session:
    """A graph as PyTorch computes it, with the face of an onnxruntime session."""

    def __init__(self, module: torch.nn.Module, count: int, shape: list[Any], images: bool) -> None:
        self.module, self.images = module.eval(), images
        names = [f"{what}_{i}" for what in ("cross", "past") for i in range(count)]
        self.inputs = [SimpleNamespace(name=name, shape=shape) for name in names]
        outputs = ["logits"] * (not images) + [f"{'cross' if images else 'present'}_{i}" for i in range(count)]
        self.outputs = [SimpleNamespace(name=name) for name in outputs]

    def get_inputs(self) -> list[Any]:
        return self.inputs

    def get_outputs(self) -> list[Any]:
        return self.outputs

    @torch.no_grad()
    def run(self, _: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        have = {name: torch.from_numpy(value) for name, value in given.items()}
        if self.images:
            return [one.numpy() for one in self.module(have["pixel_values"])]
        lists = [[have[one.name] for one in self.inputs if one.name.startswith(what)] for what in ("cross", "past")]
        return [one.numpy() for one in self.module(have["input_ids"], have["position"], *lists)]


def decoding(model: Any) -> Decoding:
    layers = model.decoder.model.decoder.layers
    shape = ["batch", layers[0].self_attn.num_heads, "past", layers[0].self_attn.head_dim]
    sides = ((EncoderGraph(model), True), (DecoderGraph(model), False))
    return Decoding(*(Session(module, 2 * len(layers), shape, images) for module, images in sides))


@pytest.mark.parametrize("positions", [{}, SINUSOIDAL], ids=["learned", "sinusoidal"])
@pytest.mark.parametrize("kind", ["vit", "deit", "projection"])
def test_steps_with_cached_keys_give_the_logits_of_the_model(kind: str, positions: dict[str, Any]) -> None:
    model = make_reader(kind, decoder={**positions, "scale_embedding": kind == "deit"})
    told = parity(model, decoding(model), (1, 3))
    assert told["largest_difference"] < 2e-5
    assert told["largest_logit"] > 0.5
    assert told["shapes"] == [[1, 16], [3, 16]]


SEARCHES: list[dict[str, Any]] = [
    {}, {"no_repeat_ngram_size": 2}, {"repetition_penalty": 1.3}, {"num_beams": 2}, {"num_beams": 4},
    {"num_beams": 4, "length_penalty": 2.0}, {"num_beams": 3, "length_penalty": -1.0, "early_stopping": "never"},
    {"num_beams": 2, "length_penalty": 0.0, "early_stopping": True},
    {"num_beams": 3, "no_repeat_ngram_size": 3, "repetition_penalty": 1.1, "early_stopping": "never"},
]  # fmt: skip


@pytest.mark.parametrize("settings", SEARCHES, ids=str)
def test_texts_are_found_as_generate_finds_them(settings: dict[str, Any]) -> None:
    """Several tokens end a text, so that rows of a batch end one after the other."""
    model, lengths = make_reader("deit"), set[int]()
    runtime = decoding(model)
    for images, ends in ((1, (4, 9)), (4, (5,)), (4, (5, 6, 8, 2))):
        search = Search(2, ends, 9, **settings)
        batch = 3 * torch.randn(images, 3, 16, 64, generator=torch.Generator().manual_seed(images))
        wanted = generated(model, batch, search)
        assert runtime.search(batch.numpy(), search) == wanted
        lengths |= {len(row) for row in wanted}
    assert len(lengths) > 1


def with_settings(**settings: Any) -> Any:
    model = make_reader()
    ids = {"decoder_start_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    model.generation_config = hf.GenerationConfig(**{**ids, **settings})
    return model


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"suppress_tokens": [5]}, "suppress_tokens"), ({"forced_eos_token_id": 2}, "forced_eos_token_id"),
        ({"do_sample": True}, "do_sample"), ({"min_length": 3}, "min_length: 3"), ({"eos_token_id": None}, "eos"),
    ],
)  # fmt: skip
def test_settings_that_are_not_known_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(TextkdError, match=told):
        search_of(with_settings(**settings), "it")


def test_the_search_is_what_the_folder_says() -> None:
    found = search_of(with_settings(num_beams=4, length_penalty=2.0, max_length=9), "it")
    assert found == Search(2, (2,), 8, 4, 2.0)
    assert search_of(with_settings(max_new_tokens=99, eos_token_id=[2, 4]), "it") == Search(2, (2, 4), 16)
    assert Search.of(json.loads(json.dumps(vars(found)))) == found
    for wrong in ({"ends": []}, {"num_beams": 0}, {"start": "a"}, {"more": 1}):
        with pytest.raises(ValueError, match="the search"):
            Search.of({**vars(found), **wrong})


def test_a_folder_with_a_damaged_search_is_refused() -> None:
    model = make_reader()
    sides, search = decoding(model), vars(search_of(with_settings(), "it"))
    for damaged in ({**search, "num_beams": "4"}, {**search, "more": 1}, {**search, "ends": 2}, [1]):
        told = manifest.Manifest("lines", [], 9, ["pixel_values"], [1, "<pad>", 0], lines={"search": damaged})
        with pytest.raises(TextkdError, match="export the model again"):
            LineModel(told, sides.encoder, sides.decoder, None)


def test_static_int8_of_models_that_write_is_refused_before_a_run() -> None:
    told = problems([Artifact("a", "student", int8="static")], ["student"], ["student"], writes=True)
    assert [(one.where, one.fix) for one in told] == [("artifacts[0].int8", "int8: dynamic")]
    assert problems([Artifact("a", "student", int8="static")], ["student"], ["student"]) == []


def test_lines_that_are_lost_are_counted() -> None:
    before, after, truth = ["a b", "c", "d"], ["a b", "e", "f"], ["a b", "c", "x"]
    assert LineTexts().same(before, after) == pytest.approx(1 / 3)
    assert LineTexts().lost(before, after, truth) == "1 of 2 exact lines are lost, as 'c' became 'e'"
    assert LineTexts().lost(before, before, truth) == ""


def test_other_decoders_and_static_int8_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = hf.ViTConfig(**sizes, image_size=8, patch_size=8)
    decoder = hf.BertConfig(**sizes, vocab_size=20, is_decoder=True, add_cross_attention=True)
    both = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    hf.VisionEncoderDecoderModel(both).save_pretrained(tmp_path / "bert")
    with pytest.raises(TextkdError, match="BertLMHeadModel: TrOCR decoders alone"):
        export_onnx(tmp_path / "bert", tmp_path / "out")
    with pytest.raises(TextkdError, match="TrOCR decoders alone"):
        refuse(hf.VisionEncoderDecoderModel(both), processor(), "it")
    with pytest.raises(TextkdError, match="do_center_crop"):
        refuse(make_reader(), SimpleNamespace(image_processor=hf.DeiTImageProcessorPil(**PLAIN)), "it")
    save_teacher(tmp_path / "model")
    with pytest.raises(TextkdError, match="without rows"):
        export_onnx(tmp_path / "model", tmp_path / "out", int8="static", rows=["a"])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bert", "model"]


def lines(count: int, seed: int = 0) -> list[Image.Image]:
    chance = np.random.default_rng(seed)
    sizes = [(int(chance.integers(8, 40)), int(chance.integers(8, 300))) for _ in range(count)]
    return [Image.fromarray(chance.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def texts_of_torch(folder: Path, images: list[Image.Image], **settings: Any) -> list[str]:
    """What transformers reads, one image at a time; sinusoidal positions, which it does not load, are mended."""
    model, reads = load(folder), hf.TrOCRProcessor.from_pretrained(folder)
    found = []
    for image in images:
        batch = torch.from_numpy(pixels(reads, [image]))
        with torch.no_grad():
            ids = model.generate(batch, **settings)
        found += reads.batch_decode(ids, skip_special_tokens=True)
        assert found[-1:] == decode_texts(reads.tokenizer, ids.tolist())
    return found


WITHOUT_TORCH = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {{"torch", "transformers", "datasets", "accelerate", "pydantic", "typer", "scipy",
                                       "sklearn", "evaluate", "safetensors", "yaml", "onnx", {more}}}:
            raise ImportError(name)
sys.meta_path.insert(0, Refused())
from textkd import deploy
model = deploy.load({out!r})
print(model.read({image!r}))
"""


@pytest.mark.long
def test_the_folder_reads_as_the_model_does(tmp_path: Path) -> None:
    source = save_teacher(tmp_path / "model", encoder={"num_hidden_layers": 1}, decoder={"decoder_layers": 1})
    out = export_onnx(source, tmp_path / "out")
    model, images = deploy.load(out, threads=1), lines(9)
    told = model.manifest
    assert told.agreement["largest_difference"] < 2e-5
    assert told.agreement["pixels"]["largest_difference"] == 0
    assert told.model_mb == pytest.approx(sum((out / name).stat().st_size for name in told.graphs) / 1e6)
    assert "site-packages" not in (out / manifest.ENCODER).read_bytes().decode("latin-1")
    wanted = texts_of_torch(source, images)
    assert len(set(wanted)) > 1
    for batch in (1, 2, 8):
        assert model.read(iter(images), batch) == wanted
    assert model.predict([np.asarray(image) for image in images]) == wanted
    images[0].save(tmp_path / "line.png")
    assert model.read(str(tmp_path / "line.png")) == wanted[:1]
    assert model.read([]) == []
    for wrong in (0, 1.5, True):
        with pytest.raises(TextkdError, match="batch_size"):
            model.read(images, wrong)
    with pytest.raises(TextkdError, match=r"images\[1\]"):
        model.read([images[0], b"no image"])
    metrics = evaluate(str(out), "ocr", write_lines(tmp_path / "lines.parquet", EVAL), options=["num_beams=2"])
    assert metrics == evaluate(str(source), "ocr", tmp_path / "lines.parquet", options=["num_beams=2"])
    with pytest.raises(TextkdError, match="VisionEncoderDecoderModel"):
        evaluate(str(out), "glue/sst2", tmp_path / "lines.parquet")
    for more, status in (('""', 0), ('"PIL"', 1)):
        code = WITHOUT_TORCH.format(out=str(out), image=str(tmp_path / "line.png"), more=more)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert (done.stdout.strip() == str(wanted[:1])) if not status else ("pip install" in done.stderr)
    file = out / manifest.FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), "lines": {}}))
    with pytest.raises(TextkdError, match="lines holds no search"):
        deploy.load(out)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deit", "projection"])
def test_other_readers_with_beams_and_int8(tmp_path: Path, kind: str) -> None:
    source = save_teacher(tmp_path / "model", kind, decoder=SINUSOIDAL)
    settings = {"num_beams": 3, "length_penalty": 2.0, "max_new_tokens": 12}
    ids = {"decoder_start_token_id": 2, "eos_token_id": [2, 5, 6], "pad_token_id": 1}
    hf.GenerationConfig(**settings, **ids).save_pretrained(source)
    model, images = deploy.load(export_onnx(source, tmp_path / "out")), lines(9)
    assert model.read(images) == texts_of_torch(source, images)
    small = deploy.load(export_onnx(source, tmp_path / "int8", int8="dynamic"))
    assert small.manifest.agreement["int8_largest_difference"] > small.manifest.agreement["largest_difference"]
    assert len(small.read(images)) == 9


@pytest.mark.slow
def test_a_recipe_ships_a_reader(tmp_path: Path) -> None:
    lab = Reading(tmp_path, save_teacher(tmp_path / "teacher"))
    recipe = {**lab.recipe, "control": False, "artifacts": [{"format": "onnx"}, {"format": "onnx", "int8": "dynamic"}]}
    recipe["task"]["generation"] = {"num_beams": 2}
    textkd.from_recipe(lab.write(recipe)).run()
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["models"]
    assert list(rows) == ["teacher", "student", "student-onnx", "student-onnx-int8-dynamic"]
    one, student = rows["student-onnx"], rows["student"]
    assert one["runs"][0]["metrics"] == student["runs"][0]["metrics"]
    assert one["runtime"].startswith("onnxruntime")
    assert "the same answer in 100.00%" in one["description"]
    assert all(one[name] > 0 for name in ("latency_ms", "samples_per_s", "disk_mb", "parameters", "latency_tokens"))
    out = tmp_path / "run" / "artifacts" / "student-onnx"
    assert 'model.read(["line.png"])' in (out / "README.md").read_text()
    assert deploy.load(out).search.num_beams == 2
