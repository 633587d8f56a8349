"""For every option of a recipe's blocks: a recipe in which it makes sense, another value, and where it is seen."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from ocr_lab import DECODER, ENCODER, make_reader
from option_lab import OptionLab, Seen, Trial, graph, said, shown
from tiny_lab import make_teacher, make_tokenizer
from transformers import AutoModelForSequenceClassification

from textkd.experiment.distiller import Run
from textkd.models.students import build
from textkd.models.students.widths import have
from textkd.training.cache_filling import autocast

TINY = {"shrink": {"layers": [1]}}
LABELS = [{"tap": "labels"}]
LOGITS = {"tap": "logits", "loss": "kl"}
ONNX = {"format": "onnx"}
SEARCH = {"budget": {"size_mb": 1}, "over": {"student.shrink.layers": [[1], [2]]}}
NEW = {"config": {"encoder": dict(ENCODER), "decoder": dict(DECODER)}, "finetune": {"num_train_epochs": 1}}
NEW_STUDENT = {"student": {"config": {"encoder": {"num_hidden_layers": 1}}}}


def recipe(path: str, value: Any, base: dict[str, Any] | None = None, see: Any = graph, ocr: bool = False) -> Trial:
    """The option at `path`, in the recipe of texts (or of lines) with changes."""

    def trial(lab: OptionLab) -> Seen:
        start = lab.ocr if ocr else lab.text
        made, other = base or {}, {path: value}
        before = made | {path: made.get(path)} if path in made else made
        first = lab.once(lambda *_: see(lab.run(start, before)), see.__name__, ocr, lab.made(before))
        return first, see(lab.run(start, made | other))

    return trial


def read(made: Run) -> Any:
    """How the teacher is read."""
    live = made.experiment.models["teacher"].live
    precision = autocast(SimpleNamespace(bf16=False, fp16=False), live)
    return live.place(torch.device("meta")), precision, live.sharded, live.numbers


def weights(made: Run) -> Any:
    """The teacher as it is loaded, or why it is not."""
    return said(lambda: sum(float(p.detach().sum()) for p in made.start("teacher").parameters()))


def pickled(lab: OptionLab) -> str:
    folder = lab.folder / "pickled"
    if not folder.is_dir():
        model = make_teacher()
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        make_tokenizer().save_pretrained(folder)
    return str(folder)


def stage(**keys: Any) -> dict[str, Any]:
    return {"matches": None, "stages": [{"matches": [LOGITS], **keys}]}


def link(**keys: Any) -> dict[str, Any]:
    return {"student": None, "chain": [{"name": "small", "student": TINY, **keys}]}


def second(lab: OptionLab) -> str:
    return lab.file("second")


def two(lab: OptionLab) -> Any:
    return {"big": {"path": lab.file("teacher")}, "other": {"path": lab.file("second")}}


def length(made: Run) -> Any:
    return [list(column.shape) for column in made.setup.rows.sample(made.experiment.training("student")).values()]


def sought(made: Any) -> Any:
    """What is searched for, where anything is."""
    return [getattr(made, name, None) for name in ("space", "budget", "trials", "steps")]


def pruned(made: Any) -> Any:
    """The graph, and what is left after each pruning."""
    sizes = [have(made.start(name).config) for name in made.experiment.models]
    return graph(made), sizes, {name: made.experiment.models[name].about(made.start(name)) for name in ("student",)}


def prune(option: str, value: Any, **block: Any) -> Trial:
    """An option of the block `prune` without a student."""
    whole = {"target": {"parameters": 0.6}, "rounds": 2, **block}
    return recipe(f"prune.{option}", value, {"student": None, "prune": whole}, pruned)


def refused(path: str, one: Any, other: Any) -> Trial:
    """There is one value so far: another is refused."""

    def trial(lab: OptionLab) -> Seen:
        made = [said(lambda value=value: graph(lab.run(lab.text, {path: value}))) for value in (one, other)]
        return made[0], made[1]

    return trial


RECIPES: dict[str, Trial] = {
    "Recipe.about": lambda lab: tuple(shown(lambda a=about: lab.run(lab.text, {"about": a})) for about in ("a", "b")),
    "Recipe.task": recipe("task.subset", "rte", see=lambda made: made.task.name),
    "Recipe.teacher": recipe("teacher.path", second),
    "Recipe.teachers": recipe("teachers", two, {"teacher": None, "matches": [{**LOGITS, "from": "big"}],
                                                "teachers": lambda lab: {"big": two(lab)["big"]}}),
    "Recipe.student": recipe("student", TINY),
    "Recipe.chain": recipe("chain", [{"name": "small", "student": TINY}], {"student": None, **link(student=TINY)} | {
        "chain": [{"name": "other", "student": TINY}]}),
    "Recipe.cohort": recipe("cohort", {"size": 2}, {"matches": None}),
    "Recipe.training": recipe("training.learning_rate", 0.5),
    "Recipe.matches": recipe("matches", LABELS),
    "Recipe.stages": recipe("stages", [{"matches": LABELS}], {"matches": None, "stages": [{"matches": [LOGITS]}]}),
    "Recipe.preset": recipe("preset", "hinton", {"matches": None, "preset": "distilbert"}),
    "Recipe.control": recipe("control", False),
    "Recipe.seeds": recipe("seeds", [1, 2]),
    "Recipe.max_length": recipe("max_length", 6, see=length),
    "Recipe.pseudo": recipe("pseudo", {"mix": 0.5}, ocr=True),
    "TeacherBlock.path": recipe("teacher.path", second),
    "TeacherBlock.config": recipe("teacher", NEW, ocr=True),
    "TeacherBlock.finetune": recipe("teacher.finetune", {"num_train_epochs": 1}),
    "TeacherBlock.keep": recipe("teacher.keep", "elsewhere", {"teacher.finetune": {"num_train_epochs": 1}}),
    "TeacherBlock.sha256": recipe("teacher.sha256", "0" * 64, see=weights),
    "TeacherBlock.allow_pickle": recipe("teacher.allow_pickle", True, {"teacher.path": pickled}, weights),
    "TeacherBlock.cache": recipe("teacher.cache", True),
    "TeacherBlock.precision": recipe("teacher.precision", "bf16", see=read),
    "TeacherBlock.device": recipe("teacher.device", "cpu", see=read),
    "TeacherBlock.sharded": recipe("teacher.sharded", True, see=read),
    "TeacherBlock.runtime": recipe("teacher.runtime", "int8", see=read),
    "TeacherBlock.recogniser": recipe("teacher", lambda lab: {"recogniser": "x.onnx"}, {
        "pseudo": {}, "matches": LABELS, **NEW_STUDENT}, ocr=True),
    "FinetuneBlock.frozen": recipe("teacher.finetune.frozen", ["bert.embeddings"], {"teacher.finetune": {}}),
    "FinetuneBlock.matches": recipe("teacher.finetune.matches", [{**LABELS[0], "weight": 2}], {"teacher.finetune": {}}),
    "FinetuneBlock.stages": recipe("teacher.finetune.stages", [{"matches": LABELS}] * 2, {"teacher.finetune": {}}),
    "StageBlock.name": recipe("stages.0.name", "warm", stage()),
    "StageBlock.matches": recipe("stages.0.matches", LABELS, stage()),
    "StageBlock.training": recipe("stages.0.training", {"learning_rate": 0.5}, stage()),
    "StageBlock.frozen": recipe("stages.0.frozen", ["bert.embeddings"], stage()),
    "LinkBlock.name": recipe("chain.0.name", "other", link()),
    "LinkBlock.student": recipe("chain.0.student", {"shrink": {"layers": [2]}}, link()),
    "LinkBlock.training": recipe("chain.0.training", {"learning_rate": 0.5}, link()),
    "LinkBlock.matches": recipe("chain.0.matches", LABELS, {"matches": None, **link(matches=[LOGITS])}),
    "LinkBlock.stages": recipe("chain.0.stages", [{"matches": LABELS}], {
        "matches": None, **link(stages=[{"matches": [LOGITS]}])}),
    "CohortBlock.size": recipe("cohort.size", 3, {"matches": None, "cohort": {}}),
    "CohortBlock.students": recipe("cohort.students", {"a": TINY, "b": TINY}, {
        "matches": None, "student": None, "cohort": {"students": {"c": TINY, "b": TINY}}}),
    "CohortBlock.update": recipe("cohort.update", "in_turn", {"matches": None, "cohort": {}}),
    "Recipe.artifacts": recipe("artifacts", [ONNX]),
    "ArtifactBlock.format": refused("artifacts", [ONNX], [{"format": "tflite"}]),
    "ArtifactBlock.int8": recipe("artifacts.0.int8", "dynamic", {"artifacts": [ONNX]}),
    "ArtifactBlock.rows": recipe("artifacts.0.rows", 8, {"artifacts": [{**ONNX, "int8": "static"}]}),
    "ArtifactBlock.keep": recipe("artifacts.0.keep", 0.9, {"artifacts": [ONNX]}),
    "ArtifactBlock.of": recipe("artifacts.0.of", "control", {"artifacts": [ONNX]}),
    "ArtifactBlock.name": recipe("artifacts.0.name", "small", {"artifacts": [ONNX]}),
    "Recipe.search": recipe("search", SEARCH, see=sought),
    "SearchBlock.budget": recipe("search.budget.size_mb", 5, {"search": SEARCH}, sought),
    "SearchBlock.over": recipe("search.over", {"student.shrink.layers": [[1]]}, {"search": SEARCH}, sought),
    "SearchBlock.trials": recipe("search.trials", 3, {"search": SEARCH}, sought),
    "SearchBlock.steps": recipe("search.steps", 3, {"search": SEARCH}, sought),
    "Recipe.quantise": recipe("quantise", {}),
    "QuantiseBlock.weights": refused("quantise", {"weights": 8}, {"weights": 4}),
    "QuantiseBlock.activations": refused("quantise", {"activations": 8}, {"activations": 4}),
    "QuantiseBlock.scheme": recipe("quantise.scheme", "c", {
        "matches": None, "stages": [{"matches": [LOGITS]}] * 2, "quantise": {"scheme": "b"}}),
    "Recipe.prune": recipe("prune", {"target": {"parameters": 0.6}}),
    "PruneBlock.target": prune("target", {"macs": 0.6}),
    "PruneBlock.kind": prune("kind", ["heads"], target={"parameters": 0.8}),
    "PruneBlock.schedule": prune("schedule", "linear", kind="ffn", target={"parameters": 0.75}),
    "PruneBlock.rounds": prune("rounds", 3),
    "PruneBlock.recover": prune("recover", 2),
    "PruneBlock.by": prune("by", "magnitude"),
    "PruneBlock.rows": prune("rows", 8),
    "PseudoBlock.lines": recipe("pseudo.lines", lambda lab: lab.file("dev.parquet"), {"pseudo": {}}, ocr=True),
    "training.output_dir": recipe("training.output_dir", "runs/other"),
    "training.seed": recipe("training.seed", 7, {"seeds": None}),
    "training.dropout": recipe("training.dropout", 0.0),
    "training.average": recipe("training.average", 0.5),
    "student.from": recipe("student.from", second),
    "cache.folder": recipe("teacher.cache", {"folder": "taps"}, {"teacher.cache": True}),
}  # fmt: skip


def made_of(first: dict[str, Any], other: dict[str, Any], two_sided: bool = False, examples: Any = None) -> Trial:
    """The students of two blocks. examples: rows that importance is measured on."""

    def trial(lab: OptionLab) -> Seen:
        def student(block: dict[str, Any]) -> Any:
            spec = lab.made(block)
            torch.manual_seed(0)
            teacher = make_reader() if two_sided else make_teacher()
            made = said(partial(build, examples=examples), spec, teacher, AutoModelForSequenceClassification)
            return made if isinstance(made, str) else (made.config.to_json_string(), float(_total(made).detach()))

        return student(first), student(other)

    return trial


def _total(model: Any) -> torch.Tensor:
    return torch.stack([p.double().abs().sum() for p in model.parameters()]).sum()


TWO_SIDES = {"encoder_layers": 2, "decoder_layers": 1}
UNITS = {"ffn": 8, "by": "fisher"}
BILSTM = {"kind": "bilstm", "hidden": 4}
LATER, MORE_UNITS = {"deeper": {"after": [1]}}, {"wider": {"ffn": 40}}
MORE_OF_SIDES = {"wider": {"encoder_ffn": 50, "decoder_ffn": 50}}
ROWS = [{"input_ids": (5 * torch.arange(36).view(6, 6) ** 2) % 21, "labels": torch.tensor([0, 1, 0, 1, 1, 0])}]
ONE = {"layers": [1]}
FEW: dict[str, Any] = {"factorise": {"decoder": {"embeddings": 2}}}
CHEAP: dict[str, Any] = {"cheap": {"decoder": {"ffn": "grouped"}}}
STUDENTS: dict[str, Trial] = {
    "student.shrink": made_of({"shrink": {"layers": [1, 2]}}, {"shrink": {"layers": [1]}}),
    "student.path": made_of({"shrink": {"layers": [1]}}, {"path": second}),
    "student.config": made_of({"config": {"num_hidden_layers": 1}}, {"config": {"num_hidden_layers": 2}}),
    "student.sha256": made_of({"path": second, "sha256": "0" * 64}, {"path": second}),
    "student.allow_pickle": made_of({"path": pickled}, {"path": pickled, "allow_pickle": True}),
    "student.share_encoder": recipe("student.share_encoder", True, {
        "student": {"shrink": {"decoder_layers": 1}}, "matches": LABELS}, ocr=True),
    "student.vocabulary": recipe("student.vocabulary", "task"),
    "vocabulary.from": recipe("student.vocabulary.from", "task", {"student.vocabulary": None}),
    "vocabulary.keep": recipe("student.vocabulary.keep", 15, {"student.vocabulary": {}}),
    "vocabulary.list": recipe("student.vocabulary.list", "words.txt", {"student.vocabulary": {}}),
    "student.factorise": made_of({"shrink": ONE}, {"shrink": ONE, "factorise": {"layers": 2}}),
    "factorise.embeddings": made_of({"factorise": {"embeddings": 4}}, {"factorise": {"embeddings": 5}}),
    "factorise.layers": made_of({"factorise": {"layers": 4}}, {"factorise": {"layers": {"ffn": 4}}}),
    "factorise.encoder": made_of(FEW, {"factorise": {**FEW["factorise"], "encoder": {"layers": 2}}}, True),
    "factorise.decoder": made_of(FEW, {"factorise": {"decoder": {"embeddings": 3}}}, True),
    "student.cheap": made_of({"shrink": ONE}, {"shrink": ONE, "cheap": {"ffn": "bottleneck"}}),
    "cheap.ffn": made_of({"cheap": {"ffn": "grouped"}}, {"cheap": {"ffn": "bottleneck"}}),
    "cheap.attention": made_of({"cheap": {"attention": "grouped"}}, {"cheap": {"attention": "low_rank"}}),
    "cheap.groups": made_of({"cheap": {"ffn": "grouped"}}, {"cheap": {"ffn": "grouped", "groups": 2}}),
    "cheap.rank": made_of({"cheap": {"ffn": "low_rank"}}, {"cheap": {"ffn": "low_rank", "rank": 2}}),
    "cheap.encoder": made_of(CHEAP, {"cheap": {**CHEAP["cheap"], "encoder": {"ffn": "grouped"}}}, True),
    "cheap.decoder": made_of(CHEAP, {"cheap": {"decoder": {"ffn": "grouped", "groups": 2}}}, True),
    "shrink.layers": made_of({"shrink": {"layers": "first", "n_layers": 2}}, {"shrink": {"layers": [2, 4]}}),
    "shrink.n_layers": made_of({"shrink": {"n_layers": 2}}, {"shrink": {"n_layers": 1}}),
    "shrink.encoder_layers": made_of({"shrink": TWO_SIDES}, {"shrink": {**TWO_SIDES, "encoder_layers": 1}}, True),
    "shrink.decoder_layers": made_of({"shrink": TWO_SIDES}, {"shrink": {**TWO_SIDES, "decoder_layers": [1]}}, True),
    "shrink.heads": made_of({"shrink": {"heads": 2}}, {"shrink": {"heads": 1}}),
    "shrink.ffn": made_of({"shrink": {"ffn": 24}}, {"shrink": {"ffn": 0.5}}),
    "shrink.hidden": made_of({"shrink": {"hidden": 8}}, {"shrink": {"hidden": 12}}),
    "shrink.by": made_of({"shrink": UNITS}, {"shrink": {**UNITS, "by": "activation"}}, examples=ROWS),
    "shrink.rows": made_of({"shrink": UNITS}, {"shrink": {**UNITS, "rows": 1}}, examples=ROWS),
    **{f"shrink.{name}": made_of({"shrink": {name: one}}, {"shrink": {name: other}}, True)
       for side in ("encoder", "decoder")
       for name, one, other in ((f"{side}_heads", 2, 1), (f"{side}_ffn", 24, 0.5), (f"{side}_hidden", 12, 8))},
    "student.recurrent": made_of({"shrink": {"layers": [1]}}, {"recurrent": BILSTM}),
    "recurrent.kind": made_of({"recurrent": BILSTM}, {"recurrent": {"kind": "textcnn"}}),
    **{f"recurrent.{name}": made_of({"recurrent": BILSTM}, {"recurrent": {**BILSTM, name: value}})
       for name, value in (("hidden", 5), ("layers", 2), ("embedding", 5), ("dense", 5), ("dropout", 0.0))},
    **{f"recurrent.{name}": made_of({"recurrent": {"kind": "textcnn"}}, {"recurrent": {"kind": "textcnn", name: value}})
       for name, value in (("filters", 5), ("widths", [2]))},
    "student.grow": made_of({"shrink": {"layers": [1]}}, {"shrink": {"layers": [1]}, "grow": MORE_UNITS}),
    "grow.wider": made_of({"grow": LATER}, {"grow": {**LATER, **MORE_UNITS}}),
    "grow.deeper": made_of({"grow": MORE_UNITS}, {"grow": {**LATER, **MORE_UNITS}}),
    "grow.noise": made_of({"grow": MORE_UNITS}, {"grow": {**MORE_UNITS, "noise": 0.1}}),
    "grow.deeper.after": made_of({"grow": {"deeper": {"after": [1]}}}, {"grow": {"deeper": {"after": [1, 2]}}}),
    "grow.deeper.encoder_after": made_of({"grow": MORE_OF_SIDES}, {"grow": {**MORE_OF_SIDES, "deeper": {
        "encoder_after": [1]}}}, True),
    "grow.deeper.decoder_after": made_of({"grow": MORE_OF_SIDES}, {"grow": {**MORE_OF_SIDES, "deeper": {
        "decoder_after": [1], "nearly": True}}}, True),
    "grow.deeper.nearly": made_of({"grow": {"deeper": {"decoder_after": [1]}}}, {"grow": {"deeper": {
        "decoder_after": [1], "nearly": True}}}, True),
    **{f"grow.wider.{name}": made_of({"grow": LATER}, {"grow": {**LATER, "wider": {name: value}}})
       for name, value in (("heads", 8), ("ffn", 40), ("hidden", 32))},
    **{f"grow.wider.{name}": made_of({"grow": MORE_OF_SIDES}, {"grow": {"wider": {
        **MORE_OF_SIDES["wider"], name: value}}}, True) for side in ("encoder", "decoder")
       for name, value in ((f"{side}_heads", 4), (f"{side}_ffn", 64), (f"{side}_hidden", 64))},
}  # fmt: skip
