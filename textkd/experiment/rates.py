"""What the schedule of the learning rate leaves of it over the steps of a training."""

from __future__ import annotations

from typing import Any

from textkd.experiment.forecast import steps_of
from textkd.experiment.plan import Training
from textkd.experiment.setup import Setup
from textkd.experiment.training_checks import FEW
from textkd.training.arguments import make_arguments
from textkd.training.environment import kept_environment
from textkd.training.stages import Stage
from textkd.training.tried_arguments import optimizer_and_schedule

LEAST_PEAK, LEAST_MEAN = 0.1, 0.05  # shares of learning_rate
ALIVE, LEAST_ALIVE = 0.01, 0.1  # a share of learning_rate, and the share of the steps that have it at least
MANY = 20_000  # steps that are looked at, at even distances
OF_RATE = ("warmup_steps", "warmup_ratio", "lr_scheduler_kwargs", "lr_scheduler_type")


def notes(setup: Setup) -> list[str]:
    """Trainings whose rate hardly rises, or falls to nothing at once: a sentence for each stage of each."""
    control = setup.experiment.report.control
    found = list[str]()
    for training in setup.experiment.trainings:
        if control in training.trains and training.own.where != "control":
            continue  # as its student
        for number, stage in enumerate(training.stages, 1):
            if told := _told(setup, training, stage):
                whose = f"{training.name}, stage {number}" if len(training.stages) > 1 else training.name
                found.append(f"{whose}: {told}")
    return found


def _told(setup: Setup, training: Training, stage: Stage) -> str:
    arguments = training.arguments(stage)
    is_known = (training.targets is None and not training.steps_of) or arguments.get("max_steps", -1) > 0
    steps = steps_of(setup.rows.sizes[0], arguments) if is_known else 0
    return "" if steps < FEW else faint(arguments, steps)


@kept_environment()
def faint(given: dict[str, Any], steps: int) -> str:
    """What to know of a schedule that leaves next to nothing of the learning rate; "" where it leaves enough.

    Args:
        given: the arguments of a training.
        steps: its optimizer steps.

    Example:
        >>> told = faint({"warmup_steps": 1000}, 12)
        >>> told.split(":")[0]
        'the learning rate reaches 1.1 % of learning_rate (5e-05) at most, 0.55 % in the mean of 12 steps'
        >>> faint({"warmup_steps": 6}, 12)
        ''
    """
    arguments = make_arguments({name: one for name, one in given.items() if name != "seed"}, "unused")
    lambdas = getattr(optimizer_and_schedule(arguments, steps)[1], "lr_lambdas", None)
    if not lambdas:
        return ""  # it follows what is measured
    rates = [max(lambdas[0](step), 0.0) for step in range(0, steps, -(-steps // MANY))]
    peak, mean = max(rates), sum(rates) / len(rates)
    if peak >= LEAST_PEAK and mean >= LEAST_MEAN and sum(one >= ALIVE for one in rates) >= LEAST_ALIVE * len(rates):
        return ""
    blamed = [f"{name}: {given[name]}" for name in OF_RATE if given.get(name)]
    shares = f"{100 * peak:.3g} % of learning_rate ({arguments.learning_rate:g}) at most, {100 * mean:.3g} %"
    return (f"the learning rate reaches {shares} in the mean of {steps:,} steps: little would be learnt; "
            f"look at {', '.join(blamed) or 'lr_scheduler_type'}, or train longer")  # fmt: skip
