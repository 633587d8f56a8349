"""What a run will do, in words."""

from __future__ import annotations

from contextlib import suppress

from textkd import report
from textkd.errors import TextkdError
from textkd.experiment import forecast, rates
from textkd.experiment.glance import glances
from textkd.experiment.plan import Node
from textkd.experiment.run import DONE, Runner
from textkd.experiment.setup import Setup
from textkd.models.own.door import Own
from textkd.models.own.marks import LOADS
from textkd.models.taps import anatomy
from textkd.teachers.generation import words


def plan(setup: Setup, runner: Runner) -> list[str]:
    """What a run will do, a line each."""
    experiment, (train, held) = setup.experiment, setup.rows.sizes
    seeds = experiment.seeds
    shown = f"seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    examples = f"{train} training and {held} evaluation examples"
    lines = [f"{experiment.name}: {experiment.task.name}, {examples}, {shown}"]
    for training in experiment.trainings:
        nodes = [node for node in runner.nodes if node.name == training.name]
        if training.kept is not None:
            state = "is there already" if all(map(runner.is_done, nodes)) else _first(training.where)
            lines.append(f"{training.name}: {_blocks(setup, training.trains[0])}, {state}: {training.kept}")
    for name, spec in experiment.models.items():
        if spec.cache is not None:
            kept = f"its taps of the training rows are computed once and kept in {spec.cache.folder}"
            lines.append(f"{name} cache: {kept}")
    if setup.targets is not None:
        first = setup.teachers[0]
        is_box = experiment.models[first].is_black_box
        who = f"a {words.name(setup.models.start(first))}" if is_box else f"the {first}"
        lines.append(words.plan(setup.targets, who))
    rest = [training for training in experiment.trainings if training.kept is None]
    control = experiment.report.control
    names = [name for training in rest if not training.is_control for name in training.trains if name != control]
    students = ", ".join(names)
    what = f"{students} and {control} (the same without a teacher)" if control else students
    count = len(rest[0].stages)
    stages = f"{count} stages" if count > 1 else "1 stage"
    lines.append(f"{what}: {_blocks(setup, rest[0].trains[0])}, {stages}; report in {setup.folder.path}")
    return lines


def _first(where: str) -> str:
    return "is fine-tuned first and kept" if where.endswith("finetune") else "is trained first and kept"


def _blocks(setup: Setup, name: str) -> str:
    model = setup.models.start(name)
    with suppress(TextkdError):  # an architecture whose blocks are not known: its logits are compared, or its modules
        count = anatomy(model).num_blocks
        return f"{count} block{'' if count == 1 else 's'}"
    return f"{report.short(report.parameters(model))} parameters"


def notes(setup: Setup) -> list[str]:
    """What to know of data and models before a training: sentences, a line each."""
    if setup.task is None:
        return []
    given = [name for name in setup.models.running if setup.experiment.trainer_of(name) is None]
    trusted = [(name, told) for name in given for told in setup.task.output.on_trust(setup.models.start(name))]
    told = [*glances(setup), *rates.notes(setup), *setup.rows.notes, *(f"{name}: {told}" for name, told in trusted)]
    made = [name for name, model in setup.models.running.items() if isinstance(model, Own) and name not in given]
    return [*told, f"{' and '.join(made)}: {LOADS}"] if made else told


def table(setup: Setup, runner: Runner, timed: bool = True) -> list[dict[str, str]]:
    """The graph, a row for each node in the order in which they run.

    Args:
        timed: try some steps of every kind of node that is not done, to say how long it is likely to take.
    """
    known = dict[str, float]()
    return [_row(setup, runner, node, known, timed) for node in runner.nodes]


def _row(setup: Setup, runner: Runner, node: Node, known: dict[str, float], timed: bool) -> dict[str, str]:
    training = node.training
    sources = [_start(setup, name) for name in training.trains]
    taught = f"learns from {', '.join(training.reads)}" if training.reads else "learns from labels"
    if len(training.trains) > 1:
        taught = f"{', '.join(training.trains)} learn {training.update.replace('_', ' ')}"
    if grid := [number for number, stage in enumerate(training.stages, 1) if stage.quantised]:
        taught += ", on the int8 grid" + (f" from stage {grid[0]}" if grid[0] > 1 else "")
    state = runner.state(node)
    steps = sum(forecast.steps(setup.rows.data, training))
    if timed and state != DONE and training.name not in known:
        known[training.name] = forecast.seconds(setup, node)
    likely = _duration(known[training.name]) if state != DONE and training.name in known else ""
    first = next(iter(runner.homes(node).values()))
    return {
        "node": f"{node.name}, seed {node.seed}", "starts": ", ".join(dict.fromkeys(sources)), "learns": taught,
        "state": state, "steps": f"{steps:,}", "likely": likely, "folder": str(first),
    }  # fmt: skip


def _start(setup: Setup, name: str) -> str:
    """Where a model comes from, and how large that is where it has yet to be found."""
    source = setup.experiment.models[name].source
    return source.kind if source.size is None else f"{source.kind}, {source.size(setup.models.start(name))}"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
