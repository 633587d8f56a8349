"""What makes a run this run, and a node this node: hashes of what they are told and of what they are made from."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import Any

import yaml

from textkd.errors import HIDDEN, without_secrets
from textkd.experiment.own_code import own_code
from textkd.experiment.plan import ModelSpec, Node, Training
from textkd.experiment.setup import Setup
from textkd.models.processes import processes
from textkd.models.versions import versions
from textkd.teachers.cache.keys import VOLATILE
from textkd.teachers.cache.keys import identity as weights_and_config
from textkd.training.stages import Stage

VERSION = 4  # of the hashes of nodes
PLACES = ("output_dir", "logging_dir", "run_name", "seed")  # arguments that change no weight, or that a node has itself


def fingerprint(setup: Setup) -> str:
    """All that a run is told, as text."""
    experiment = setup.experiment
    if experiment.recipe:
        lines = experiment.recipe.splitlines(keepends=True)
        return "".join(line for line in lines if not line.endswith(f": {HIDDEN}\n"))
    boxes = [setup.models.start(name) for name, spec in experiment.models.items() if spec.is_black_box]
    teacher = boxes[0] if boxes else None
    read = "" if setup.targets is None else setup.targets.fingerprint(teacher)
    told = [_words(training) for training in experiment.trainings]
    return _stable((setup.rows.experiment.task.fingerprint(), told, experiment.seeds, _reading(setup))) + read


def told(setup: Setup) -> str:
    """What a run is told, as YAML: its recipe, or what Python code said by the names of the trainings. Two of them show
    which key is another one; what makes the run this one is `fingerprint`."""
    experiment = setup.experiment
    if experiment.recipe:
        return fingerprint(setup)
    task = setup.rows.experiment.task
    made = {
        "task": {"name": task.name, "content": hashlib.sha256(task.fingerprint().encode()).hexdigest()[:8]},
        "seeds": list(experiment.seeds), **{one.name: _block(one) for one in experiment.trainings},
        "pseudo": setup.pseudo,
        "models": {name: _cached(spec) for name, spec in experiment.models.items()},
    }  # fmt: skip
    return yaml.safe_dump(_plain(made), sort_keys=False)


def _block(training: Training) -> dict[str, Any]:
    """What a training is told, with the keys of a recipe."""
    stages = [
        {
            "args": {k: v for k, v in without_secrets(training.arguments(one)).items() if k not in PLACES},
            "matches": list(one.matches), "frozen": list(one.frozen),
            **({"quantised": list(one.quantised)} if one.quantised else {}),
        }
        for one in training.stages
    ]  # fmt: skip
    own = {"share_encoder": training.share_encoder, "update": training.update}
    return {**stages[0], **own} if len(stages) == 1 else {"stages": stages, **own}


def _cached(spec: ModelSpec) -> dict[str, Any]:
    cache = None if spec.cache is None else replace(spec.cache, folder=None, max_gb=None)
    return {"cache": cache, "precision": spec.live.numbers}


def _plain(made: Any) -> Any:
    """Blocks, lists and values that YAML knows; of an object its fields that are not as they are by default, of a
    function its name."""
    if isinstance(made, Mapping):
        return {key if type(key) in (str, int) else str(key): _plain(value) for key, value in made.items()}
    if isinstance(made, list | tuple):
        return [_plain(value) for value in made]
    if is_dataclass(made) and not isinstance(made, type):
        given = {one: getattr(made, one.name) for one in fields(made)}
        return {one.name.rstrip("_"): _plain(value) for one, value in given.items() if not _is_usual(one, value)}
    if made is None or type(made) in (str, int, float, bool):
        return made
    return getattr(made, "__qualname__", None) or _stable(made)


def _is_usual(one: Field[Any], value: Any) -> bool:
    """Whether a field has the value that it has where nobody gives one."""
    usual = one.default_factory() if one.default_factory is not MISSING else one.default
    return type(value) is type(usual) and bool(value == usual)


def inputs(setup: Setup) -> dict[str, str]:
    """A hash of each thing that may change under the same name or is no part of `fingerprint`: data, models, settings.

    A model that a function makes is known by its config: random weights differ in a last bit on other kinds of CPU.
    """
    experiment = setup.experiment
    made = {"data": experiment.task.fingerprint(), "tokenizer": setup.rows.words()}
    made.update({f"tokenizer of {name}": setup.rows.words(name) for name in setup.rows.own_words})
    if setup.targets is not None:
        readers = [setup.models.start(name) for name in setup.teachers]
        made["pseudo labels"] = setup.targets.fingerprint(readers[0])
    for name, spec in experiment.models.items():
        training = experiment.trainer_of(name)
        if spec.is_black_box or name == experiment.report.control:
            continue
        if spec.teaches and training is not None and training.key is not None:
            made[name] = training.key(experiment.seeds[0])  # its head is not there yet
        else:
            made[name] = source(setup, spec)
    if code := own_code(_told_by(setup)):
        made["code of your own"] = code
    if not experiment.recipe:
        words = setup.rows.given_tokenizer
        named = words and (type(words).__name__, words.name_or_path)
        made["settings"] = _stable((setup.rows.max_length, named))
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in made.items()}


def _told_by(setup: Setup) -> list[Any]:
    """All that may hold code of somebody's own."""
    experiment = setup.experiment
    sources = [spec.source.told for spec in experiment.models.values()]
    return [experiment.task, experiment.task.output, [_words(one) for one in experiment.trainings], sources]


def key(setup: Setup, node: Node) -> str:
    """A hash of all that the models of a node depend on: its own words, the data, and the hashes of what it reads."""
    experiment, training = setup.experiment, node.training
    made_from = [name for model in training.trains for name in experiment.models[model].source.reads]
    before = {name: _ended(setup, name, node.seed) for name in dict.fromkeys([*training.reads, *made_from])}
    if training.steps_of:
        before["steps"] = key(setup, _node(experiment.training(training.steps_of), node.seed))
    parts = [
        VERSION, node.seed, _words(training), setup.rows.fingerprint, before,
        [source(setup, experiment.models[name]) for name in training.trains], _reading(setup, training),
        [experiment.models[name].source.told for name in training.trains],
        "" if training.targets is None else training.targets.fingerprint(_writer(setup, training)),
    ]  # fmt: skip
    parts += [processes().num_processes, versions()]
    own = [setup.rows.words(name) for name in (*training.trains, *training.reads) if name in setup.rows.own_words]
    if own:
        parts.append(own)
    if code := own_code([setup.experiment.task, setup.experiment.task.output, parts]):
        parts.append(code)
    return hashlib.sha256(f"{_stable(parts)}{_own(setup, parts)}".encode()).hexdigest()[:32]


def source(setup: Setup, spec: ModelSpec) -> str:
    """A text that changes with what a model is made from."""
    place = id(spec.source)
    if place not in setup.hashes:
        model = setup.models.start(spec.name)
        by_weights = spec.source.is_given or spec.teaches
        made = weights_and_config(model, None) if by_weights else f"{spec.source.content()} {_config(model)}"
        setup.hashes[place] = made
    return setup.hashes[place]


def _ended(setup: Setup, name: str, seed: int) -> str:
    """The hash of a model as it ends."""
    training, spec = setup.experiment.trainer_of(name), setup.experiment.models[name]
    if training is not None:
        return key(setup, _node(training, seed))
    return str(setup.models.start(name).fingerprint()) if spec.is_black_box else source(setup, spec)


def _node(training: Training, seed: int) -> Node:
    return Node(training, seed if training.seed is None else training.seed)


def _writer(setup: Setup, training: Training) -> Any:
    return setup.models.start(training.reads[0])


def _words(training: Training) -> list[Any]:
    """What a training is told, without its name, its places and its secrets."""
    stages = [_stage(training, stage) for stage in training.stages]
    words = [training.trains, training.reads, stages, training.share_encoder, training.update]
    grid = [tuple(stage.quantised) for stage in training.stages]
    return [*words, grid] if any(grid) else words


def _stage(training: Training, stage: Stage) -> Any:
    arguments = {k: v for k, v in without_secrets(training.arguments(stage)).items() if k not in PLACES}
    return replace(stage, training=dict(sorted(arguments.items())), name="")


def _reading(setup: Setup, training: Training | None = None) -> list[Any]:
    """How teachers are read, as far as that changes numbers: where a cache is and how large it may become does not."""
    specs: Mapping[str, ModelSpec] = setup.experiment.models
    names = list(specs) if training is None else list(training.reads)
    caches = [None if (one := specs[name].cache) is None else replace(one, folder=None, max_gb=None) for name in names]
    return [caches, [specs[name].live.numbers for name in names]]


def _config(model: Any) -> str:
    settings = {key: value for key, value in model.config.to_dict().items() if key not in VOLATILE}
    return json.dumps([type(model).__name__, settings], sort_keys=True, default=str)


def _own(setup: Setup, made_of: Any) -> list[str]:
    """A hash of everything inside that is somebody's own: functions with the values that they hold, modules with their
    weights. Two of one name may differ in these."""
    if isinstance(made_of, Mapping):
        return [one for value in made_of.values() for one in _own(setup, value)]
    if isinstance(made_of, list | tuple | set | frozenset):
        return [one for value in made_of for one in _own(setup, value)]
    if is_dataclass(made_of) and not isinstance(made_of, type):
        return [one for field in fields(made_of) for one in _own(setup, getattr(made_of, field.name))]
    if made_of is None or isinstance(made_of, str | int | float):
        return []
    if id(made_of) not in setup.own:
        setup.own[id(made_of)] = made_of, _content(made_of)
    return [setup.own[id(made_of)][1]]


def _content(one: Any) -> str:
    from datasets.fingerprint import Hasher  # heavy, and few runs have anything of their own
    from datasets.utils._dill import Pickler

    class ByName(Pickler):  # type: ignore[misc]
        """Our own modules by their names: what they remember of models is no part of a function that uses them."""

        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, ModuleType) and thing.__name__.partition(".")[0] == "textkd":
                return import_module, (thing.__name__,)
            return NotImplemented

    made = BytesIO()
    try:
        ByName(made, recurse=True).dump(one)
        return str(Hasher.hash_bytes(made.getvalue()))
    except Exception:  # whatever cannot be pickled, in whatever way: it is like nothing else
        return uuid.uuid4().hex


def _stable(made_of: Any) -> str:
    """A function of the user's own is known by its name: its address differs in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(made_of))
