"""Walks the graph: trains what is not there yet, node by node. Nothing else knows an order."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from textkd import report
from textkd.experiment import fingerprint
from textkd.experiment.finished import Finished, lost
from textkd.experiment.plan import Node, Training
from textkd.experiment.same_steps import same_steps
from textkd.experiment.setup import Setup
from textkd.experiment.storage import NodeIndex, note_code
from textkd.models.processes import locked, processes
from textkd.models.versions import difference, versions
from textkd.objective.match_checks import needs_teacher
from textkd.teachers.frozen import FrozenModel
from textkd.training import several
from textkd.training.cache_filling import fill_stages
from textkd.training.stages import Stage, run_stages

log = logging.getLogger("textkd")
DONE = "done"


class Runner:
    """The nodes of an experiment, in a run folder.

    A node has a folder for each model that it trains, which appears whole or not at all. A node that another run has
    finished is taken from there: a node is known by a hash of its own words and of all that it is made from.

    Args:
        setup: the experiment and what it runs on.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.experiment, self.folder = setup, setup.experiment, setup.folder
        self.models, self.rows = setup.models, setup.rows
        self.index = NodeIndex(setup.folder.path.parent)
        self._given: dict[str, Finished] = {}
        self._made = list[Node]()  # by this process

    # -- where a node is ---------------------------------------------------------------------------------------------

    def homes(self, node: Node) -> dict[str, Path]:
        """The folders of the models that a node trains."""
        training = node.training
        if training.kept is None:
            return {name: self.folder.model(name, node.seed) for name in training.trains}
        key = training.key(node.seed) if training.key else f"{node.name}-{self.key(node)[:10]}-seed{node.seed}"
        key += self._read_by(training)
        several = len(training.trains) > 1
        return {name: training.kept / key / name if several else training.kept / key for name in training.trains}

    def _read_by(self, training: Training) -> str:
        """What the folder of a kept model is named by beside its own key: the tokenizer, and more than one process."""
        several = processes().num_processes
        return f"-{self.rows.words(training.trains[0])[:6]}{f'-{several}processes' if several > 1 else ''}"

    def key(self, node: Node) -> str:
        """A hash of all that a node's models depend on."""
        return fingerprint.key(self.setup, node)

    @cached_property
    def nodes(self) -> list[Node]:
        """All nodes, in an order in which they can run."""
        return self.experiment.nodes()

    def node_of(self, model: str, seed: int) -> Node | None:
        """The node that trains a model for a seed of the experiment; None for models that are used as they are."""
        training = self.experiment.trainer_of(model)
        return None if training is None else Node(training, seed if training.seed is None else training.seed)

    def is_done(self, node: Node) -> bool:
        """Whether the models of a node are there."""
        return all(Finished.is_there(home) for home in self.homes(node).values())

    def state(self, node: Node) -> str:
        """How far a node is: done, begun, done by another run, or to do. Weights with a recorded hash are read."""
        if self.is_done(node):
            bad = [f"{home}: {what}" for home in self.homes(node).values() if (what := lost(home))]
            return f"damaged: {bad[0]}; delete it to train it anew" if bad else DONE
        begun = self._work(self.homes(node)).exists()
        anew = begun and node.training.kept is None and self.folder.begins_anew(fingerprint.fingerprint(self.setup))
        if begun and not anew:
            return "begun: it goes on"
        if self.index.find(self.key(node)):
            return "another run has it"
        return "begun, then edited: it begins anew" if anew else "to do"

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self) -> list[dict[str, Finished]]:
        """Runs all nodes. Returns the finished models of every seed by name, those of the report's rows."""
        done = {(node.name, node.seed): self.finish(node) for node in self.nodes}
        found = []
        for seed in self.experiment.seeds:
            row = {}
            for name in self.experiment.report.rows:
                node = self.node_of(name, seed)
                row[name] = self.given(name) if node is None else done[node.name, node.seed][name]
            found.append(row)
        return found

    def tell_lost(self) -> None:
        """Warns of models of a finished run that are gone or are not what it measured: it reads its results alone."""
        own = [node for node in self.nodes if node.training.kept is None]
        for home in [home for node in own for home in self.homes(node).values()]:
            if what := lost(home):
                fix = f"delete {home} and results.json in the run folder: the same command makes it again"
                log.warning("the finished model %s: %s; %s", home, what, fix)

    def ended(self, model: str, seed: int) -> Finished:
        """A model as it ends, for a seed of the experiment. Its node is run if it is not there."""
        node = self.node_of(model, seed)
        return self.given(model) if node is None else self.finish(node)[model]

    def given(self, model: str) -> Finished:
        """A model that nobody trains here, judged on the task."""
        if model not in self._given:
            one = self.rows.judge_given(self.models.start(model), self.experiment.models[model])
            self._given[model] = one
            for doubt in one.record["doubts"]:
                log.warning("%s: %s", model, doubt)
        return self._given[model]

    def finish(self, node: Node) -> dict[str, Finished]:
        """The models of a node, trained if they are not there."""
        homes = self.homes(node)
        if node.training.kept is None:
            return self._finish(node, homes)
        with locked(self._lock(node), wait=True):
            return self._finish(node, homes)

    def _lock(self, node: Node) -> Path:
        first = next(iter(self.homes(node).values()))
        return first if len(node.training.trains) == 1 else first.parent

    def _finish(self, node: Node, homes: Mapping[str, Path]) -> dict[str, Finished]:
        work = self._work(homes)
        found = self._read(homes)
        if found is not None:
            if processes().is_main_process:
                shutil.rmtree(work, ignore_errors=True)  # left by a kill between publishing and tidying up
            if node.training.kept is not None and node not in self._made:
                log.info("%s: %s is there already, from an earlier run", node.name, next(iter(homes.values())))
                if told := difference(next(iter(found.values())).record.get("versions", {}), versions()):
                    log.warning(
                        "%s was trained with other code: %s; delete its folder to train it anew", node.name, told
                    )
            return {name: one.complete(self.rows.seen_by(name), self.experiment.task) for name, one in found.items()}
        if not self._take(node, homes):
            self._train(node, homes, work)
        self._made.append(node)
        done = self._read(homes)
        assert done is not None
        for name, one in done.items():
            for doubt in one.record.get("doubts", []):
                log.warning("%s, seed %d: %s", name, node.seed, doubt)
        return done

    def _read(self, homes: Mapping[str, Path]) -> dict[str, Finished] | None:
        found = {name: Finished.read(home, self.experiment.task) for name, home in homes.items()}
        return None if None in found.values() else found  # type: ignore[return-value]

    def _work(self, homes: Mapping[str, Path]) -> Path:
        first = next(iter(homes.values()))
        return first.with_name(f"{first.name}.work")

    def _take(self, node: Node, homes: Mapping[str, Path]) -> bool:
        """Takes the models of the same node from another run, if there are such."""
        if self._work(homes).exists():
            return False
        taken = processes().is_main_process and self.index.take(self.key(node), homes)
        processes().wait_for_everyone()
        if all(Finished.is_there(home) for home in homes.values()):
            if taken:
                log.info("%s, seed %d: another run has done the same; its models are taken", node.name, node.seed)
            return True
        return False

    def _train(self, node: Node, homes: Mapping[str, Path], work: Path) -> None:
        training, seed = node.training, node.seed
        ends = self._ends(node)
        models = self.models.fresh(training, seed, ends)
        frozen = {name: self._frozen(training, name, ends[name]) for name in self._asked(training)}
        data, told = self.rows.of(training, self._writer(training, ends))
        label = f"{node.name}, seed {seed}" if len(self.experiment.seeds) > 1 else node.name
        if training.kept is not None and processes().is_main_process:  # run.json says it of all others
            note_code(work, label)
        with report.PeakMemory(processes().device) as memory:
            trained = run_stages(work, models, frozen, self._stages(node), data, {}, seed, label,
                                 training.share_encoder, training.update)  # fmt: skip
        record = {
            **vars(trained),
            "peak_mb": memory.mb,
            "seed": seed,
            "node": self.key(node),
            "versions": versions(),
            **told,
        }
        if processes().is_main_process:
            for name, model in models.items():
                self.rows.publish(name, homes[name], model, {**record, **_own(record, name, training)})
            shutil.rmtree(work, ignore_errors=True)
            self.index.add(record["node"], homes)
        processes().wait_for_everyone()

    def _ends(self, node: Node) -> dict[str, Any]:
        """The models that a node needs, as they end: those that it reads, and those that its models are made from."""
        made_from = [one for name in node.training.trains for one in self.experiment.models[name].source.reads]
        writer = node.training.reads[:1] if node.training.targets is not None else ()
        names = dict.fromkeys([*self._asked(node.training), *made_from, *writer])
        return {name: self.ended(name, node.seed).load() for name in names}

    def _writer(self, training: Training, ends: Mapping[str, Any]) -> Any:
        """The model that writes what a training learns from; None where its task has labels."""
        return None if training.targets is None else ends[training.reads[0]]

    def _stages(self, node: Node) -> list[Stage]:
        """The stages of a node with all their arguments."""
        training = node.training
        stages = [replace(stage, training=training.arguments(stage)) for stage in training.stages]
        if not training.steps_of:
            return stages
        other = self.experiment.training(training.steps_of)
        homes = self.homes(Node(other, node.seed if other.seed is None else other.seed))
        first = Finished.read(next(iter(homes.values())), self.experiment.task)
        assert first is not None
        return same_steps(stages, first.record, {})

    def _asked(self, training: Training) -> list[str]:
        """The frozen models that matches compare with; a black box gives nothing but texts."""
        if not any(needs_teacher(match) for stage in training.stages for match in stage.matches):
            return []
        return [name for name in training.reads if not self.experiment.models[name].is_black_box]

    def _frozen(self, training: Training, name: str, model: nn.Module) -> FrozenModel:
        spec = self.experiment.models[name]
        return FrozenModel(model, spec.cache, spec.live, self.rows.pieces(training, name))

    def fill_caches(self) -> list[dict[str, Any]]:
        """Fills the caches of all teachers over the training rows, without training a student; teachers that are
        trained first are. One dict per stage and teacher, as `cache_filling.fill` returns it."""
        told = list[dict[str, Any]]()
        for node in self.nodes:
            if not any(self.experiment.models[name].cache for name in self._asked(node.training)):
                continue
            if not self._teachers_differ(node.training) and node.seed != self.experiment.seeds[0]:
                continue
            ends = self._ends(node)
            frozen = {name: self._frozen(node.training, name, ends[name]) for name in self._asked(node.training)}
            data, _ = self.rows.of(node.training, self._writer(node.training, ends))
            models = self.models.fresh(node.training, node.seed, ends)
            told += fill_stages(models, frozen, self._stages(node), data, {}, node.training.share_encoder)
        return told

    def _teachers_differ(self, training: Training) -> bool:
        """Whether every seed has teachers of its own."""
        trainings = [self.experiment.trainer_of(name) for name in training.reads]
        return any(one is not None and one.seed is None for one in trainings)


def _own(record: Mapping[str, Any], model: str, training: Training) -> dict[str, Any]:
    """What of the record of a training is one model's own, where several learn together."""
    if len(training.trains) == 1:
        return {}
    told = f"{' and '.join(training.trains)} learned together: training time and memory are those of all of them"
    rows = [several.own_row(row, model, training.trains) for row in record["history"]]
    return {"history": rows, "notes": [*record["notes"], told]}
