"""The table of losses: finding, registering and wrapping them, and telling what is wrong with a name or an option."""

from functools import partial
from typing import Annotated, Literal

import pytest
import torch
from torch import Tensor, nn

import textkd.losses.registry as registry
from textkd import losses
from textkd.errors import TextkdError
from textkd.losses import Fraction, NonNegative, Positive, Range


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))


def my_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
    """Mine."""
    return scale * (student - teacher).abs().mean()


def wrong(entry, **options):
    return {p.where: p for p in losses.check_options(entry, options)}


def test_names_of_a_family():
    assert {"kl", "mse"} <= set(losses.names("attention"))
    assert "cosine" not in losses.names("attention")
    assert {"kl", "cosine", "cross_entropy"} <= set(losses.names())


def test_unknown_name_tells_the_nearest_of_the_family():
    with pytest.raises(TextkdError) as caught:
        losses.get("normalized_mse", "hidden")
    (problem,) = caught.value.problems
    assert problem.nearest[0] == "normalised_mse"
    assert "cosine" in problem.fix


def test_name_of_another_family_says_which():
    with pytest.raises(TextkdError, match="cosine is a loss of hidden; the tap is attention"):
        losses.get("cosine", "attention")


def test_unknown_family():
    with pytest.raises(TextkdError, match="nearest: attention"):
        losses.get("mse", "atention")
    with pytest.raises(TextkdError, match="nearest: hidden"):
        losses.register("x", family="hiden")(my_loss)


def test_register_and_call():
    assert losses.register("mine", family="hidden", source="me", formula="|s - t|")(my_loss) is my_loss
    entry = losses.get("mine", "hidden")
    assert entry(torch.ones(2, 3), torch.zeros(2, 3), scale=2.0).item() == 2.0
    assert (entry.doc, entry.source, entry.formula) == ("Mine.", "me", "|s - t|")
    row = next(r for r in losses.rows() if r["name"] == "mine")
    assert row == {
        "family": "hidden",
        "name": "mine",
        "options": "scale=1.0",
        "takes": "",
        "formula": "|s - t|",
        "source": "me",
        "doc": "Mine.",
    }
    losses.register("mine", family="hidden")(my_loss)  # the same function again: a notebook cell run twice


def test_a_taken_name_is_refused():
    with pytest.raises(TextkdError, match="has this name"):
        losses.register("mse", family="hidden")(my_loss)


def test_rows_follow_the_families():
    order = [row["family"] for row in losses.rows()]
    assert order == sorted(order, key=list(losses.FAMILIES).index)
    assert len(order) == len(registry._ENTRIES)


def test_needs_are_not_options():
    @losses.register("labelled", family="logits", needs=("labels",))
    def labelled(student, teacher, mask=None, *, labels, alpha: float = 1.0):
        return (student.sum() + labels.sum()) * alpha

    entry = losses.get("labelled", "logits")
    assert [option.name for option in entry.options] == ["alpha"]
    assert entry.needs == ("labels",)
    assert entry(torch.ones(2), torch.ones(2), labels=torch.ones(1)).item() == 3.0


def test_needs_temperature():
    assert losses.get("kl", "logits").needs_temperature
    assert not losses.get("mse", "hidden").needs_temperature


def test_units():
    kl, pkd = losses.get("kl", "logits"), losses.get("normalised_mse", "hidden")
    assert [kl.unit({}), kl.unit({"reduction": "sequence_mean"}), pkd.unit({"positions": "first"})] == [
        "position",
        "row",
        "row",
    ]
    assert losses.get("mse", "scores").unit({}) == losses.as_loss(my_loss, "attention").unit({}) == "pair"
    assert losses.get("kl", "attention").unit({}) == "position"
    with pytest.raises(TextkdError, match="one of row, position, pair"):
        losses.register("mine", family="hidden", per="token")(my_loss)


def test_as_loss_takes_functions_lambdas_partials_modules_and_entries():
    class Module(nn.Module):
        def forward(self, student, teacher, mask=None, *, scale: float = 1.0):
            return scale * (student - teacher).sum()

    ones, zeros = torch.ones(2, 3), torch.zeros(2, 3)
    for fn, expected in [
        (my_loss, 1.0),
        (lambda a, b, mask=None: (a - b).sum(), 6.0),
        (partial(my_loss, scale=3.0), 3.0),
        (Module(), 6.0),
        (losses.get("mse", "hidden"), 1.0),
    ]:
        assert losses.as_loss(fn, "hidden")(ones, zeros).item() == expected
    assert losses.as_loss(Module(), "hidden").name == "Module"
    assert wrong(losses.as_loss(Module(), "hidden"), scale="x").keys() == {"scale"}
    assert wrong(losses.as_loss(partial(my_loss, scale=1.0), "hidden"), scale="x").keys() == {"scale"}


@pytest.mark.parametrize(
    "fn",
    [
        lambda student: student,
        lambda student, teacher: student,
        lambda student, mask=None: student,
        lambda *tensors, mask=None: tensors[0],
        torch.nn.functional.mse_loss,
        nn.MSELoss(),
        max,
        3,
    ],
)
def test_other_signatures_are_refused(fn):
    with pytest.raises(TextkdError, match="def loss\\(student, teacher, mask=None"):
        losses.as_loss(fn, "hidden")


def test_a_loss_that_gives_no_scalar_is_refused():
    with pytest.raises(TextkdError, match=r"shape \[2, 3\]"):
        losses.as_loss(lambda s, t, mask=None: s - t, "hidden")(torch.ones(2, 3), torch.zeros(2, 3))
    with pytest.raises(TextkdError, match="float"):
        losses.as_loss(lambda s, t, mask=None: 1.0, "hidden")(torch.ones(2, 3), torch.zeros(2, 3))


def test_a_users_loss_gets_float32_outside_of_autocast():
    seen = {}

    def spy(student, teacher, mask=None):
        seen["types"] = (student.dtype, teacher.dtype, (student @ teacher.T).dtype)
        return student.sum()

    half = torch.ones(2, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses.as_loss(spy, "hidden")(half, half)
    assert set(seen["types"]) == {torch.float32}


def test_all_wrong_options_at_once():
    problems = wrong(losses.get("kl", "logits"), temprature=2, temperature=0, scale_by_t2=1, reduction="batch_mean")
    assert set(problems) == {"temprature", "temperature", "scale_by_t2", "reduction"}
    assert problems["temprature"].nearest[0] == "temperature"
    assert "a number > 0" in problems["temperature"].found
    assert problems["reduction"].nearest[0] == "batchmean"
    assert "true or false" in problems["scale_by_t2"].fix


def test_yaml_numbers_that_arrive_as_text_say_how_to_write_them():
    assert "0.001" in wrong(losses.get("kl", "logits"), temperature="1e-3")["temperature"].fix


def test_a_missing_option_is_told():
    entry = losses.as_loss(lambda s, t, mask=None, *, alpha: s, "hidden")
    assert "missing" in wrong(entry)["alpha"].found
    assert wrong(entry, alpha=object()) == {}


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (float, [1, 1.5], [True, "1", None]),
        (int, [1], [1.0, True, "1"]),
        (bool, [True], [1, "true"]),
        (str, ["a"], [1, None]),
        (float | None, [None, 2], ["x"]),
        (Literal["a", 1], ["a", 1], ["b", True]),
        (Positive, [1e-9], [0, -1, float("nan"), float("inf"), True]),
        (NonNegative, [0], [-1]),
        (Fraction, [0, 1], [1.1, -0.1]),
        (Annotated[int, Range(1, 4)], [1, 4], [0, 5, 1.5]),
        (Positive | None, [None, 1], [0]),
        (list[int], [[1, 2], (1,), []], [[1.5], 1]),
        (tuple[float, ...], [(1, 2.5)], [("a",)]),
    ],
    ids=str,
)
def test_types(annotation, good, bad):
    entry = losses.Loss("x", "hidden", my_loss, (losses.Option("o", annotation, None),))
    assert [value for value in good if wrong(entry, o=value)] == []
    assert [value for value in bad if not wrong(entry, o=value)] == []
    assert losses.check_options(entry, {"o": object()})[0].fix.startswith("give ")
