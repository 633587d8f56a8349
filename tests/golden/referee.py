"""Values and gradients that the original implementations gave, and how a case of them is put to textkd.

Every module `golden_*.py` beside this file maps originals to textkd: ``@original("source", "name")`` above a function
that takes a `Case` and returns the loss, or a mapping of the outputs it stands for. The map goes by the original's name
and parameters (`case.params`), never by a case's number or values.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

HERE = Path(__file__).resolve().parent
OURS = HERE / "values"
FOLDER = Path(os.environ.get("TEXTKD_GOLDEN", OURS))
TOLERANCE = {"float64": 1e-9, "float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}


@dataclass
class Case:
    """One case. params: the original's. tensors: role -> tensor, with the roles `in.*`, `out.*` and `grad.*`."""

    source: str
    name: str
    number: Any
    params: Mapping[str, Any]
    precision: str
    expected: float | None
    tensors: dict[str, Tensor]
    inputs: dict[str, Tensor] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.source}-{self.name}-{self.number}"

    def __getitem__(self, name: str) -> Tensor:
        """The input of this name; those whose gradient is known carry one."""
        return self.inputs[name]

    def get(self, name: str) -> Tensor | None:
        return self.inputs.get(name)

    def listed(self, prefix: str) -> list[Tensor]:
        """The inputs `prefix0`, `prefix1`, ... (or `prefix.0`, ...) in order."""
        found = [
            (key[len(prefix) :].lstrip("._"), value) for key, value in self.inputs.items() if key.startswith(prefix)
        ]
        return [value for number, value in sorted((int(n), v) for n, v in found if n.isdigit())]

    @property
    def outputs(self) -> dict[str, Tensor]:
        return {role[4:]: value for role, value in self.tensors.items() if role.startswith("out.")}

    @property
    def gradients(self) -> dict[str, Tensor]:
        return {role[5:]: value for role, value in self.tensors.items() if role.startswith("grad.")}


Outcome = Tensor | Mapping[str, Any]
ORIGINALS: dict[tuple[str, str], Callable[[Case], Outcome]] = {}
# (source, name) -> why textkd has no such thing
NOT_OURS = {("overhaul", "ofd_margin_from_bn"): "reads a batch norm, which transformers do not have"}
# (source, name) -> why the original's hand-written gradient is not that of its formula
OTHER_GRADIENT = {
    ("darkrank", name): "written by hand without the query's side: query_gradient off"
    for name in ("ListMLELoss", "ListNetLoss", "ListMSELoss")
}


def original(source: str, name: str) -> Callable[[Callable[[Case], Outcome]], Callable[[Case], Outcome]]:
    """Decorator: this function is what textkd has for the original `name` of `source`."""

    def put(run: Callable[[Case], Outcome]) -> Callable[[Case], Outcome]:
        assert (source, name) not in ORIGINALS, f"{source} {name} is mapped twice"
        ORIGINALS[source, name] = run
        return run

    return put


def cases(folder: Path = FOLDER) -> Iterator[Case]:
    """Every case in `folder`, from the manifests; tensors are read when the case runs (`load`)."""
    assert folder.is_dir(), f"no folder of golden values at {folder}"
    for manifest in sorted(folder.glob("*.json")):
        for row in json.loads(manifest.read_text())["cases"]:
            yield Case(
                manifest.stem, row["name"], row["case"], row["params"], row["precision"], row.get("expected"),
                {role: (manifest.with_suffix(".safetensors"), at["key"]) for role, at in row["tensors"].items()},
            )  # fmt: skip


_FILES: dict[Path, dict[str, Tensor]] = {}


def load(case: Case) -> Case:
    """The case with its tensors; inputs with a known gradient ask for one."""
    files = {file for file, _ in case.tensors.values()}
    for file in files - set(_FILES):
        _FILES[file] = load_file(file)
    case.tensors = {role: _FILES[file][key] for role, (file, key) in case.tensors.items()}
    case.inputs = {
        role[3:]: value.clone().requires_grad_(f"grad.{role[3:]}" in case.tensors)
        for role, value in case.tensors.items()
        if role.startswith("in.")
    }
    return case


def maps() -> None:
    """Imports every map beside this file."""
    for file in sorted(HERE.glob("golden_*.py")):
        importlib.import_module(file.stem)


def check(case: Case) -> None:
    """Runs the case and compares all outputs and gradients. A case without a map fails."""
    if reason := NOT_OURS.get((case.source, case.name)):
        pytest.skip(reason)
    run = ORIGINALS.get((case.source, case.name))
    assert run is not None, f"nothing in textkd is mapped to {case.source}'s {case.name} {dict(case.params)}"
    load(case)
    outcome = run(case)
    given = {"loss": outcome} if isinstance(outcome, Tensor) else dict(outcome)
    rtol = TOLERANCE[case.precision]
    wanted: dict[str, Any] = dict(case.outputs)
    if "loss" not in wanted and case.expected is not None:
        wanted["loss"] = torch.tensor(case.expected, dtype=torch.float64)
    missing = [name for name in wanted if name not in given and not name.startswith("backward_code")]
    assert not missing, f"the map gives no {', '.join(missing)}"
    for name, value in wanted.items():
        if name in given:
            _close(torch.as_tensor(given[name]), torch.as_tensor(value), rtol, name)
    if not case.gradients or (case.source, case.name) in OTHER_GRADIENT:
        return
    named = sorted(case.gradients)
    found = torch.autograd.grad(given["loss"], [case[name] for name in named], allow_unused=True)
    for name, gradient in zip(named, found, strict=True):
        due = case.gradients[name]
        _close(torch.zeros_like(due) if gradient is None else gradient, due, rtol, f"gradient of {name}")


def _close(found: Tensor, due: Tensor, rtol: float, what: str) -> None:
    # a number far below the tensor's largest one carries the rounding of that one
    scale = float(due.detach().abs().max()) if due.numel() else 0.0
    torch.testing.assert_close(
        found.detach().double(), due.detach().double(), rtol=rtol, atol=rtol * max(scale, 1e-6), check_dtype=False,
        msg=lambda text: f"{what}: {text}",
    )  # fmt: skip
