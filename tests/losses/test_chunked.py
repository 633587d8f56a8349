"""Large vocabularies: rows of logits a few at a time, and logits of a linear head that are never whole."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from second_proofs import but_few
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses import LinearLogits
from textkd.losses.logits import chunked

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "vocab_kl.py"
B, T, V, H = 3, 5, 40, 6
MASK = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1], [0, 0, 0, 0, 0]])
DIVERGENCES = ("kl", "soft_cross_entropy", "reverse_kl", "symmetric_kl", "skewed_kl", "jsd", "total_variation")
REDUCTIONS = ("batchmean", "mean", "token_mean", "sequence_mean", "sum")


def get(name):
    return losses.get(name, "logits")


def heads(dtype=torch.float32, spread=1.0, seed=0):
    """Hidden states, weight and bias of a student, with gradient, and of a wider teacher."""
    torch.manual_seed(seed)
    shapes = [(B, T, H), (V, H), (V,), (B, T, H + 2), (V, H + 2), (V,)]
    made = [(spread * torch.randn(shape)).to(dtype) for shape in shapes]
    return [x.requires_grad_() for x in made[:3]], made[3:]


def same(one, other, **how):
    """Values and gradients, these beside the largest of their kind."""
    torch.testing.assert_close(other[0], one[0], rtol=how.get("rtol", 1e-5), atol=1e-6)
    for a, b in zip(one[1], other[1], strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=how.get("rtol", 1e-5) * a.abs().max().item())


def run(value, leaves):
    return value.detach(), torch.autograd.grad(value, leaves)


class Storages(TorchDispatchMode):
    """Bytes of the memory that operations make, beside that of `known` tensors; `large`: what has `limit` or more."""

    def __init__(self, limit, *known):
        super().__init__()
        self.limit, self.known, self.large = limit, {x.untyped_storage().data_ptr() for x in known}, []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                memory = x.untyped_storage()
                if memory.nbytes() >= self.limit and memory.data_ptr() not in self.known:
                    self.known.add(memory.data_ptr())
                    self.large.append((str(op), memory.nbytes()))
        return out


# -- chunks of rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", but_few(DIVERGENCES, *list(DIVERGENCES)[:2]))
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_all_forms_have_one_value_and_gradient(name, reduction):
    (h, w, b), (its, its_w, its_b) = heads()
    loss, teacher = get(name), F.linear(its, its_w, its_b)
    options = {"temperature": 2.0, "reduction": reduction}
    for mask in (None, MASK):
        plain = run(loss(F.linear(h, w, b), teacher, mask, chunk=0, **options), [h, w, b])
        assert plain[0] > 0
        for chunk in (1, 4, 1000):
            same(plain, run(loss(F.linear(h, w, b), teacher, mask, chunk=chunk, **options), [h, w, b]))
        student, linear = LinearLogits(h, w, b), LinearLogits(its, its_w, its_b)
        same(plain, run(loss(student, teacher, mask, chunk=4, **options), [h, w, b]))
        same(plain, run(loss(student, linear, mask, **options), [h, w, b]))
        same(plain, run(loss(F.linear(h, w, b), linear, mask, chunk=4, **options), [h, w, b]))


def test_rows_of_samples_and_slices_of_longer_logits():
    torch.manual_seed(0)
    student, teacher = torch.randn(6, V, requires_grad=True), torch.randn(6, V)
    for mask in (None, torch.tensor([1, 0, 1, 1, 1, 0])):
        plain = run(get("kl")(student, teacher, mask, chunk=0), [student])
        same(plain, run(get("kl")(student, teacher, mask, chunk=4), [student]))
    long, its = torch.randn(B, T + 1, V, requires_grad=True), torch.randn(B, V, T + 1).transpose(1, 2)
    for mask in (None, MASK, torch.ones(B, 1)):
        plain = run(get("jsd")(long[:, :-1], its[:, 1:], mask, chunk=0), [long])
        same(plain, run(get("jsd")(long[:, :-1], its[:, 1:], mask, chunk=4), [long]))


def test_cross_entropy_of_labels():
    (h, w, b), _ = heads()
    labels = torch.randint(V, (B, T)).masked_fill(MASK == 0, -100)
    loss = losses.get("cross_entropy", "labels")
    plain = run(loss(F.linear(h, w, b), labels, label_smoothing=0.1, chunk=0), [h, w, b])
    for student in (F.linear(h, w, b), LinearLogits(h, w, b)):
        same(plain, run(loss(student, labels, label_smoothing=0.1, chunk=3), [h, w, b]))


def test_a_teacher_that_learns_too_has_its_gradient():
    torch.manual_seed(0)
    both = [torch.randn(B, T, V, requires_grad=True) for _ in range(2)]
    same(run(get("kl")(*both, MASK, chunk=0), both), run(get("kl")(*both, MASK, chunk=4), both))


@pytest.mark.parametrize("garbage", [math.nan, math.inf])
def test_padded_rows_are_not_computed(garbage):
    (h, w, b), (its, its_w, its_b) = heads()
    dead = (MASK == 0)[..., None]
    clean = run(get("kl")(LinearLogits(h, w, b), F.linear(its, its_w, its_b), MASK), [h, w, b])
    spoilt = h.detach().masked_fill(dead, garbage).requires_grad_()
    other_its = its.masked_fill(dead, garbage)
    teacher = LinearLogits(other_its, its_w, its_b)
    assert run(get("kl")(LinearLogits(spoilt, w, b), teacher, MASK), [spoilt, w, b])[0].equal(clean[0])
    for chunk in (2, 0):
        value, (g, *_) = run(get("kl")(F.linear(spoilt, w, b), teacher.whole(), MASK, chunk=chunk), [spoilt])
        assert value.isclose(clean[0])
        assert (g[dead.expand_as(g)] == 0).all()
    seen = []
    values = chunked.in_chunks(lambda x: (seen.append(len(x)), x.sum(-1))[1], [torch.ones(B, T, V)], MASK, 4)
    assert seen == [4, 3]
    assert values.equal(V * MASK.float())


def test_nothing_valid_is_zero():
    (h, w, b), (its, its_w, its_b) = heads()
    for student in (F.linear(h, w, b), LinearLogits(h, w, b)):
        value, gradients = run(get("kl")(student, F.linear(its, its_w, its_b), torch.zeros(B, T), chunk=2), [h, w, b])
        assert value == 0
        assert all((g == 0).all() for g in gradients)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_by_rows(dtype):
    torch.manual_seed(0)
    s, t = (3 * torch.randn(B, T, V)).to(dtype).requires_grad_(), (3 * torch.randn(B, T, V)).to(dtype)
    plain = run(get("kl")(s, t, MASK, chunk=0), [s])
    with Storages(B * T * V * 4, s, t) as made:
        ours = run(get("kl")(s, t, MASK, chunk=2), [s])
    assert made.large == []
    assert ours[0].dtype == torch.float32
    torch.testing.assert_close(ours[0], plain[0])
    assert ours[1][0].dtype == dtype
    torch.testing.assert_close(ours[1][0], plain[1][0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_head_in_half_precision(dtype):
    (h, w, b), (its, its_w, its_b) = heads(dtype)
    # gradients of some 1e-9 are none in float16, before a loss scale or ours makes them larger
    options = {"temperature": 100.0, "scale_by_t2": False, "reduction": "mean"}
    plain = run(get("kl")(F.linear(h, w, b), F.linear(its, its_w, its_b), chunk=0, **options) * 2**20, [h, w, b])
    linear = LinearLogits(its, its_w, its_b)
    same(plain, run(get("kl")(LinearLogits(h, w, b), linear, **options) * 2**20, [h, w, b]), rtol=2e-2)


def test_autocast_computes_the_head_as_the_head_itself_would():
    (h, w, b), (its, its_w, its_b) = heads()
    with torch.autocast("cpu", torch.bfloat16):
        logits, teacher = F.linear(h, w, b), F.linear(its, its_w, its_b)
        assert logits.dtype == torch.bfloat16
        plain = get("kl")(logits, teacher, chunk=0)
        gradients = torch.autograd.grad(plain, [h, w, b], retain_graph=True)
        value = get("kl")(LinearLogits(h, w, b), LinearLogits(its, its_w, its_b))
        same((plain.detach(), gradients), run(value, [h, w, b]), rtol=1e-2)
        torch.testing.assert_close(value.detach(), plain.detach(), rtol=1e-6, atol=0)  # in float32 it is another one
    exact = get("kl")(LinearLogits(h, w, b), LinearLogits(its, its_w, its_b))
    assert not math.isclose(exact.item(), value.item(), rel_tol=1e-6)


def test_autocast_does_not_reach_the_backward():
    x, w = torch.randn(6, V, requires_grad=True), torch.randn(V, V)
    value = chunked.in_chunks(lambda rows: (rows @ w).square().sum(-1), [x], None, 2).sum()
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = torch.autograd.grad(value, x)
    torch.testing.assert_close(found, 2 * x @ w @ w.T, rtol=1e-5, atol=1e-3)


def test_a_second_derivative_is_refused():
    (h, w, b), (its, its_w, its_b) = heads()
    for student in (F.linear(h, w, b), LinearLogits(h, w, b)):
        value = get("kl")(student, F.linear(its, its_w, its_b), chunk=2)
        with pytest.raises(TextkdError, match="chunk: 0"):
            torch.autograd.grad(value, h, create_graph=True)


def test_what_large_logits_do_by_default():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert chunked.rows_per_chunk((16, 128, 1000), "auto", cpu) == 0
    assert chunked.rows_per_chunk((8, 128, 64_044), "auto", cpu) == 8
    assert chunked.rows_per_chunk((8, 128, 64_044), "auto", cuda) == 65
    assert chunked.rows_per_chunk((4, 64_044), "auto", cpu) == 0
    assert chunked.rows_per_chunk((8, 128, 10), 7, cpu) == 7
    assert chunked.rows_per_chunk((8, 128, 2**22), "auto", cpu) == 1
    for wrong in (-1, True, "all", 2.5):
        assert losses.check_options(get("kl"), {"chunk": wrong})


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("masked", [False, True])
def test_nothing_but_the_gradient_is_as_large_as_the_logits(name, masked):
    (h, w, b), (its, its_w, its_b) = heads()
    s, t = F.linear(h, w, b).detach().requires_grad_(), F.linear(its, its_w, its_b)
    mask = MASK if masked else None
    with Storages(s.numel() * 4, s, t) as made:
        value = get(name)(s, t, mask, chunk=3, temperature=2.0)
        assert made.large == []
        value.backward()
    assert len(made.large) == 1
    with Storages(s.numel() * 4, s, t) as plain:
        get(name)(s, t, mask, chunk=0, temperature=2.0).backward()
    assert len(plain.large) > 3


def test_logits_of_a_head_are_never_whole():
    (h, w, b), (its, its_w, its_b) = heads()
    leaves = [h, w, b, its, its_w, its_b]
    with Storages(B * T * V * 4 // 2, *leaves) as made:
        get("kl")(LinearLogits(h, w, b), LinearLogits(its, its_w, its_b), chunk=4).backward()
    assert made.large == []
    assert w.grad.abs().sum() > 0


def test_without_gradient_none_is_computed():
    (h, w, b), (its, its_w, its_b) = heads()
    with torch.no_grad():
        expected = get("kl")(F.linear(h, w, b), F.linear(its, its_w, its_b), chunk=0)
        value = get("kl")(LinearLogits(h, w, b), LinearLogits(its, its_w, its_b))
    assert not value.requires_grad
    torch.testing.assert_close(value, expected)
    w.requires_grad_(False)
    (g,) = torch.autograd.grad(get("kl")(LinearLogits(h, w), LinearLogits(its, its_w)), h)
    assert g.abs().sum() > 0


# -- linear logits ----------------------------------------------------------------------------------------------------


def test_linear_logits_look_like_logits():
    (h, w, b), (its, its_w, _) = heads()
    student = LinearLogits(h, w, b)
    assert (student.shape, len(student), student.requires_grad) == ((B, T, V), B, True)
    assert not student.detach().requires_grad
    torch.testing.assert_close(student.whole(), h @ w.T + b)
    assert losses.check_shapes(get("kl"), student.shape, LinearLogits(its, its_w).shape) == []
    with pytest.raises(TextkdError, match="one shape"):
        get("kl")(student, LinearLogits(its, its_w[:-1]))


def test_losses_that_need_all_logits_say_so():
    (h, w, b), _ = heads()
    with pytest.raises(TextkdError, match=r"whole\(\)"):
        get("mse")(LinearLogits(h, w, b), torch.zeros(B, T, V))
    with pytest.raises(TextkdError, match=r"teacher.detach"):
        get("kl")(LinearLogits(h, w, b), LinearLogits(h, w, b))


def test_a_fused_backward_runs_once():
    (h, w, b), (its, its_w, its_b) = heads()
    value = get("kl")(LinearLogits(h, w, b), LinearLogits(its, its_w, its_b))
    value.backward(retain_graph=True)
    with pytest.raises(TextkdError, match="second backward"):
        value.backward()


@pytest.mark.slow
def test_the_benchmark(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("vocab_kl", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, benchmark)
    spec.loader.exec_module(benchmark)
    assert benchmark.main(["--quick", "--repeats", "1"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["name"], said["ok"]) == ("vocab_kl", True)
    assert set(said["limits"]) < set(said["ratios"])
    assert all(ratio < 0.8 for name, ratio in said["ratios"].items() if name.endswith("memory"))
    monkeypatch.setattr(benchmark, "Sizes", lambda: benchmark.QUICK)
    monkeypatch.setattr(benchmark, "NAMES", ())
    monkeypatch.setitem(benchmark.LIMITS, "memory", 1e-6)
    assert benchmark.main(["--repeats", "1"]) == 0
    assert not json.loads(capsys.readouterr().out.splitlines()[-1])["ok"]
