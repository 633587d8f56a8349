"""A search under a budget: candidates are measured before they are trained, tried shortly, the best of them longer, and
the best of all in full (successive halving, Jamieson and Talwalkar 2016, arXiv:1502.07943)."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from textkd import report
from textkd.errors import Problem, TextkdError, fail
from textkd.experiment.candidates import Budget, Candidate, Choice, Space
from textkd.experiment.distiller import Result, Run
from textkd.experiment.measured import Cost, cost_of
from textkd.models.files import read_record, write_json

log = logging.getLogger("textkd")
HALVING = 3  # a third of the candidates goes on, with three times the steps
FOUND = "search.json"
Make = Callable[[Choice, Mapping[str, Any], Path, bool], Run]


class Search:
    """Candidates of a recipe under a budget; `run` ends as a run of the best of them does.

    Args:
        space: which keys may have which values.
        budget: what a student may cost.
        trials: how many candidates are tried at most.
        steps: of the shortest training.
        make: f(choice, arguments of training, folder, alone) -> the run of a candidate; alone: one seed, no control.
        path: the run folder.
    """

    def __init__(self, space: Space, budget: Budget, trials: int, steps: int, make: Make, path: Path) -> None:
        self.space, self.budget, self.trials, self.steps = space, budget, trials, steps
        self.make, self.path = make, path
        self.first = make(space.choices()[0], {}, self._home("first"), True)
        self.found = dict[str, Candidate]()

    def __getattr__(self, name: str) -> Any:
        """What is asked of a run is answered by the first candidate, which stands for all."""
        if name == "first":
            raise AttributeError(name)
        return getattr(self.first, name)

    @property
    def folder(self) -> Any:
        """The folder of the run that the search ends in."""
        return type(self.first.folder)(self.path)

    def check(self) -> None:
        """Looks at the first candidate, and at the words of all others. Writes nothing.

        Raises:
            TextkdError: with every problem.
        """
        try:
            self.first.check()
        except TextkdError as error:
            raise TextkdError(*map(self._of_first, error.problems)) from error
        if not self.folder.is_finished:
            _optuna()

    def plan(self) -> list[str]:
        """What `run` will do, a line each."""
        every = len(self.space.choices())
        tried = min(every, self.trials)
        parts = {"ms": self.budget.latency_ms, "MB": self.budget.size_mb}
        most = " and ".join(f"{value:g} {unit}" for unit, value in parts.items() if value is not None)
        told = (
            f"search: {tried} of {every} candidates are measured; of those within {most} each learns for {self.steps} "
            f"steps, the best third {HALVING} times as long, and so on; the best one in full"
        )
        return [*self.first.plan(), told]

    def run(self) -> Result:
        """Searches, then trains the best candidate in full. What was tried already is not tried again.

        Raises:
            TextkdError: nothing meets the budget: the nearest is named.
        """
        if not self.folder.is_finished:
            self._read()
            self._explore()
            self._halve()
        best = self._best()
        log.info("search: the best is %s", best.name)
        made = self.make(best.choice, {}, self.path, False)
        result = made.run()
        self._tell(best)
        self._tidy()
        return Result(result.metrics, report.build(self.path), result.student, result.summary)

    def _of_first(self, problem: Problem) -> Problem:
        """A problem of the first candidate, which names the key of the search that it may come from."""
        for key, values in self.space.over.items():
            if problem.where and f"{key}.".startswith(f"{problem.where}."):
                told = f"in the first candidate, which has {key}: {values[0]!r} of search.over"
                return replace(problem, found=f"{problem.found} ({told})")
        return problem

    # -- the parts of a search ----------------------------------------------------------------------------------------

    def _explore(self) -> None:
        """Candidates, each measured and, where it fits, trained for the fewest steps. All of a small space; of a large
        one those that Optuna asks for, which learns from what it is told."""
        # what could not be trained may be possible now: the reason may have been a full disk
        self.found = {key: one for key, one in self.found.items() if not one.refused}
        optuna, every = _optuna(), self.space.choices()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        place = self._place
        place.mkdir(parents=True, exist_ok=True)
        backend = optuna.storages.journal.JournalFileBackend(str(place / "study.log"))
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend), study_name="search", load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=len(self.found), n_startup_trials=max(3, self.trials // 3)),
            direction="maximize",
        )  # fmt: skip
        for stopped in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(stopped.number, state=optuna.trial.TrialState.FAIL)  # of a process that was killed
            study.enqueue_trial(stopped.params)
        if len(every) <= self.trials:
            for choice in every:
                study.enqueue_trial(self._places(choice), skip_if_exists=True)
        tried = set[str]()
        for _ in range(5 * self.trials):  # it may ask for one again
            if len(tried) >= min(self.trials, len(every)):
                break
            trial = study.ask()
            choice = {
                key: values[trial.suggest_int(key, 0, len(values) - 1)] for key, values in self.space.over.items()
            }
            one = self._tried(choice)
            tried.add(one.key)
            if one.metric is None or not math.isfinite(one.metric):
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(trial, one.metric if self._rises else -one.metric)

    def _places(self, choice: Choice) -> dict[str, int]:
        return {key: list(values).index(choice[key]) for key, values in self.space.over.items()}

    @property
    def _rises(self) -> bool:
        """Whether more of the metric is better."""
        return bool(self.first.task.output.greater_is_better)

    def _tried(self, choice: Choice) -> Candidate:
        """A candidate, measured, and trained for the fewest steps where it fits."""
        one = Candidate(dict(choice), math.inf, math.inf, False)
        if one.key not in self.found:
            try:
                run = self.make(choice, {}, self._home(f"{one.key}-0"), True)
                with tempfile.TemporaryDirectory(prefix="textkd-") as place:
                    cost = cost_of(run, Path(place), self.budget.threads)
                one.latency_ms, one.size_mb, one.fits = cost.latency_ms, cost.size_mb, self.budget.over(cost) <= 1
                told = "" if one.fits else ": over the budget, it is not trained"
                log.info("search: %s: %.2f ms, %.2f MB%s", one.name, cost.latency_ms, cost.size_mb, told)
                if one.fits:
                    run.check()
            except TextkdError as error:
                one.fits, one.refused = False, f"{error.problems[0].asked}: {error.problems[0].found}"
                log.warning("search: %s cannot be: %s", one.name, one.refused)
            self._keep(one)
        one = self.found[one.key]
        if one.fits:
            self._train(one, 0, self.steps)
        return one

    def _train(self, one: Candidate, rung: int, steps: int) -> None:
        """Trains a candidate for so many steps, if it has not been yet."""
        if one.steps < steps:
            one.metric, one.steps = self._try(one, rung, steps), steps
            log.info("search: %s after %d steps: %.4f", one.name, steps, one.metric)
            self._keep(one)

    def _halve(self) -> None:
        """Longer trainings of the best third, and of the best third of these, until one is left."""
        left = [one for one in self.found.values() if one.fits]
        if not left:
            raise self._nothing()
        rung, steps = 0, self.steps
        while len(left) > 1:
            left = sorted(left, key=self._rank)[: max(1, len(left) // HALVING)]
            rung, steps = rung + 1, steps * HALVING
            for one in left if len(left) > 1 else ():
                self._train(one, rung, steps)

    def _try(self, one: Candidate, rung: int, steps: int) -> float:
        result = self.make(one.choice, {"max_steps": steps}, self._home(f"{one.key}-{rung}"), True).run()
        shipped = next(reversed(result.metrics.values()))  # the student, or its artifact
        return float(shipped[self.first.task.output.main_metric])

    def _rank(self, one: Candidate) -> float:
        metric = math.nan if one.metric is None else one.metric
        if not math.isfinite(metric):
            return math.inf
        return -metric if self._rises else metric

    def _best(self) -> Candidate:
        if not self.found:
            self._read()
        fitting = [one for one in self.found.values() if one.fits]
        if not fitting:
            raise self._nothing()
        return min(fitting, key=lambda one: (-one.steps, self._rank(one)))

    def _nothing(self) -> TextkdError:
        if not self.found:
            fix = "look at the values of search.over"
            return fail("search", "no candidate can be made", fix=fix, where="search.over")
        sound = [one for one in self.found.values() if not one.refused]
        if not sound:
            one = next(iter(self.found.values()))
            what = f"none of {len(self.found)} candidates can be trained; of {one.name}: {one.refused}"
            return fail("search", what, fix="`textkd check` with its values tells all that is wrong",
                        where="search.over")  # fmt: skip
        near = min(sound, key=lambda one: self.budget.over(Cost(one.latency_ms, one.size_mb)))
        cost = f"{near.latency_ms:.2f} ms and {near.size_mb:.2f} MB"
        what = f"of {len(self.found)} candidates none meets it; the nearest, {near.name}, has {cost}"
        fix = "a larger budget, or smaller values under search.over"
        return fail(f"a budget of {self.budget}", what, fix=fix, where="search.budget")

    # -- what is kept -------------------------------------------------------------------------------------------------

    @property
    def _place(self) -> Path:
        """The folder of what is known, beside that of the run."""
        return self.path.with_name(f"{self.path.name}-search")

    def _home(self, name: str) -> Path:
        """The run folder of a candidate: beside the run's own, so that teachers are kept in one place."""
        return self.path.with_name(f"{self.path.name}-search-{name}")

    def _tidy(self) -> None:
        """Removes the runs of candidates: their weights are of no more use."""
        for home in self.path.parent.glob(f"{self.path.name}-search-*"):
            shutil.rmtree(home, ignore_errors=True)

    def _read(self) -> None:
        file = self._place / FOUND
        if file.is_file():
            known = read_record(file, "the search in", "delete it: the same command searches anew")
            for row in known.get("candidates", []):
                one = Candidate(**row)
                one.fits = not one.refused and self.budget.over(Cost(one.latency_ms, one.size_mb)) <= 1
                self.found[one.key] = one

    def _keep(self, one: Candidate) -> None:
        self.found[one.key] = one
        write_json(self._place / FOUND, {"candidates": [asdict(each) for each in self.found.values()]})

    def _tell(self, best: Candidate) -> None:
        """Puts the candidates into the results of the run."""
        results = report.load(self.path)
        points = [
            {"name": one.name, "latency_ms": one.latency_ms, "size_mb": one.size_mb, "metric": one.metric,
             "steps": one.steps, "fits": one.fits, "chosen": one is best}
            for one in self.found.values() if math.isfinite(one.latency_ms)
        ]  # fmt: skip
        refused = [one.name for one in self.found.values() if one.refused]
        if refused:
            log.warning("search: %d candidates cannot be trained: %s", len(refused), "; ".join(refused))
        told = {"points": points, "latency_ms": self.budget.latency_ms, "size_mb": self.budget.size_mb}
        report.save(self.path, results.with_search(told))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise fail("a search", "optuna is not installed", fix="pip install 'textkd[search]'", where="search") from error
    return optuna
