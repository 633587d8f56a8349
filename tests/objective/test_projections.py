"""Projections: what they compute, and that they live and leave with the student."""

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DeiTConfig,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    ViTConfig,
)

from textkd.errors import TextkdError
from textkd.objective import projections


@pytest.fixture
def student():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
    )
    return BertForSequenceClassification(config).eval()


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("linear", lambda y: y),
        ("relu", lambda y: y.clamp(min=0)),
        ("tanh", torch.tanh),
        ("gelu", lambda y: y * 0.5 * (1 + torch.erf(y / 2**0.5))),
        (
            "linear_norm",
            lambda y: (y - y.mean(-1, keepdim=True)) / (y.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt(),
        ),
    ],
)
def test_what_each_kind_computes(kind, function):
    module = projections.build(kind, 3, 5)
    state = module.state_dict()
    weight = next(v for k, v in state.items() if v.dim() == 2)
    bias = torch.arange(5.0)
    next(p for n, p in module.named_parameters() if n in ("bias", "0.bias")).data.copy_(bias)
    x = torch.randn(2, 4, 3)
    assert torch.allclose(module(x), function(x @ weight.T + bias), atol=1e-5)


def test_identity():
    x = torch.randn(2, 3)
    assert torch.equal(projections.build("identity", 3, 3)(x), x)
    with pytest.raises(TextkdError, match="3 wide, the teacher 5"):
        projections.build("identity", 3, 5)


def test_init_is_small_and_repeatable():
    made = []
    for _ in range(2):
        torch.manual_seed(5)
        made.append(projections.build("linear", 200, 300))
    assert torch.equal(made[0].weight, made[1].weight)
    assert made[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (made[0].bias == 0).all()
    assert projections.build("tanh", 200, 300, init_std=0.5)[0].weight.std().item() == pytest.approx(0.5, rel=0.05)


def test_a_typo_tells_the_nearest():
    with pytest.raises(TextkdError, match="nearest: linear"):
        projections.build("linaer", 3, 5)


NAMES = ["hidden:1<-2/mse", "module:bert.encoder.layer.0", "100%", "a%2Eb", "keys", "training", "%%x", ""]


def test_any_name_can_be_attached(student):
    modules = {name: projections.attach(student, name, nn.Linear(2, 2)) for name in NAMES}
    assert projections.names(student) == NAMES
    assert all(projections.get(student, name) is module for name, module in modules.items())
    assert projections.detach(student) == modules


def test_they_are_the_students_parameters(student):
    before = {name for name, _ in student.named_parameters()}
    module = projections.attach(student, "hidden:1", projections.build("linear", 16, 32))
    added = {name for name, _ in student.named_parameters()} - before
    assert added == {"textkd_projections.hidden:1.weight", "textkd_projections.hidden:1.bias"}
    assert any(p is module.weight for p in student.parameters())
    projections.detach(student)
    assert {name for name, _ in student.named_parameters()} == before
    assert not hasattr(student, "textkd_projections")
    assert projections.detach(student) == {}


def test_attach_follows_the_students_float_type(student):
    module = projections.attach(student.to(torch.bfloat16), "a", projections.build("linear", 16, 32))
    assert module.weight.dtype == torch.bfloat16
    assert module(torch.zeros(1, 16, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_an_equal_module_keeps_the_trained_one_and_a_different_one_is_refused(student):
    first = projections.attach(student, "a", projections.build("linear", 16, 32))
    assert projections.attach(student, "a", projections.build("linear", 16, 32)) is first
    with pytest.raises(TextkdError, match="detach the old one"):
        projections.attach(student, "a", projections.build("linear", 16, 8))


def test_get_tells_the_nearest(student):
    projections.attach(student, "hidden:1<-2/mse", nn.Linear(2, 2))
    with pytest.raises(TextkdError, match="nearest: hidden:1<-2/mse"):
        projections.get(student, "hidden:1<-3/mse")


def test_a_student_saved_with_projections_loads_without_them(student, tmp_path):
    ids = torch.tensor([[1, 2, 3]])
    expected = student(ids).logits
    projections.attach(student, "hidden:1<-2/mse", projections.build("linear", 16, 32))
    student.save_pretrained(tmp_path)
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert torch.equal(loaded.eval()(ids).logits, expected)
    assert not info["missing_keys"]
    assert set(info["unexpected_keys"]) == {f"textkd_projections.hidden:1<-2/mse.{end}" for end in ("weight", "bias")}


def test_a_detached_student_saves_no_trace(student, tmp_path):
    projections.attach(student, "hidden:1<-2/mse", projections.build("linear", 16, 32))
    projections.detach(student)
    student.save_pretrained(tmp_path)
    _, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"]


def test_resume_restores_trained_projections(student, tmp_path):
    trained = projections.attach(student, "module:a.b", projections.build("linear", 16, 32))
    state = {name: value.clone() for name, value in student.state_dict().items()}
    nn.init.ones_(trained.weight)
    student.load_state_dict(state)
    assert torch.equal(trained.weight, state["textkd_projections.module:a%2Eb.weight"])


# grids of patches: the reference pools by hand, bin by bin, from the definition of adaptive pooling


def bins(old: int, new: int) -> list[range]:
    return [range(i * old // new, -((i + 1) * old // -new)) for i in range(new)]


def pooled_by_hand(x: torch.Tensor, grid: projections.Grid, target: projections.Grid) -> torch.Tensor:
    rows = []
    for row in bins(grid.height, target.height):
        for column in bins(grid.width, target.width):
            tokens = [grid.special + r * grid.width + c for r in row for c in column]
            rows.append(x[:, tokens].mean(1))
    return torch.stack(rows, dim=1)


GRIDS = [
    (projections.Grid(1, 16, 1), projections.Grid(1, 8, 1)),  # columns half as wide
    (projections.Grid(1, 8, 2), projections.Grid(1, 16, 1)),  # columns twice as wide, DeiT
    (projections.Grid(4, 4, 2), projections.Grid(1, 10, 1)),  # finer in one axis, coarser in the other
    (projections.Grid(5, 7, 0), projections.Grid(3, 4, 1)),  # bins that overlap
    (projections.Grid(2, 6, 1), projections.Grid(2, 6, 2)),  # the same grid, other special tokens
]


@pytest.mark.parametrize(("student", "teacher"), GRIDS, ids=str)
def test_both_sides_are_pooled_to_the_coarser_grid(student, teacher):
    target = projections.common_grid(student, teacher)
    sides = (projections.build("grid", 6, 6, grids=(student, teacher)), projections.teacher_pool(student, teacher))
    for module, grid in zip(sides, (student, teacher), strict=True):
        x = torch.randn(3, grid.special + grid.height * grid.width, 6, dtype=torch.float64)
        y = module(x)
        assert torch.allclose(y, pooled_by_hand(x, grid, target))
        planes = x[:, grid.special :].transpose(1, 2).reshape(3, 6, grid.height, grid.width)
        expected = nn.functional.adaptive_avg_pool2d(planes, (target.height, target.width))
        assert torch.equal(y.transpose(1, 2).reshape(expected.shape), expected)
    assert target.height == min(student.height, teacher.height)
    assert target.width == min(student.width, teacher.width)


def test_special_tokens_have_no_part_in_it():
    grid = projections.Grid(2, 4, 2)
    module = projections.build("grid", 3, 3, grids=(grid, projections.Grid(1, 4, 1)))
    x = torch.randn(2, 10, 3)
    changed = x.clone()
    changed[:, :2] = 100.0
    assert torch.equal(module(x), module(changed))
    same = projections.build("grid", 3, 3, grids=(grid, grid))
    assert torch.equal(same(x), x[:, 2:])


def test_a_grid_projection_has_a_linear_layer_where_widths_differ():
    grids = projections.Grid(1, 8, 1), projections.Grid(1, 4, 1)
    assert not list(projections.build("grid", 6, 6, grids=grids).parameters())
    torch.manual_seed(3)
    module = projections.build("grid", 6, 5, grids=grids)
    torch.manual_seed(3)
    linear = projections.build("linear", 6, 5)
    x = torch.randn(2, 9, 6, requires_grad=True)
    assert torch.allclose(module(x), pooled_by_hand(x, grids[0], grids[1]) @ linear.weight.T, atol=1e-6)
    module(x).sum().backward()
    assert (x.grad[:, 0] == 0).all()
    assert (x.grad[:, 1:] != 0).all()


def test_grid_projections_are_told_apart_by_their_grids(student):
    one, other = (
        projections.build("grid", 4, 4, grids=(projections.Grid(1, w, 1), projections.Grid(1, 2, 1))) for w in (4, 8)
    )
    assert projections.attach(student, "a", one) is one
    with pytest.raises(TextkdError, match="1x4 patches after 1 special tokens"):
        projections.attach(student, "a", other)


@pytest.mark.parametrize("encoder", [ViTConfig, DeiTConfig])
@pytest.mark.parametrize(("image", "patch", "shape"), [(8, 4, (2, 2)), ([8, 32], [8, 4], (1, 8)), ([8, 32], 4, (2, 8))])
def test_the_grid_of_a_config_is_that_of_its_hidden_states(encoder, image, patch, shape):
    config = encoder(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=image,
        patch_size=patch,
    )
    grid = projections.grid_of(config)
    assert (grid.height, grid.width) == shape
    height, width = image if isinstance(image, list) else (image, image)
    pixels = torch.zeros(1, 3, height, width)
    model = AutoModel.from_config(config).eval()
    with torch.no_grad():
        model.embeddings.position_embeddings.zero_()
        model.embeddings.patch_embeddings.projection.bias.zero_()
        y, x = shape[0] - 1, 1
        step = [height // shape[0], width // shape[1]]
        pixels[:, :, y * step[0] : (y + 1) * step[0], x * step[1] : (x + 1) * step[1]] = 1.0
        tokens = model.embeddings(pixels)
    assert tokens.shape[1] == grid.special + grid.height * grid.width
    lit = tokens[0, grid.special :].abs().sum(-1).nonzero().flatten().tolist()
    assert lit == [y * grid.width + x]  # row by row
    both = VisionEncoderDecoderConfig.from_encoder_decoder_configs(config, TrOCRConfig(vocab_size=20))
    assert projections.grid_of(both) == grid


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: projections.build("grid", 3, 3), "no grids of patches"),
        (lambda: projections.grid_of(BertConfig()), "type bert"),
        (lambda: projections.GridPool(projections.Grid(1, 4), projections.Grid(1, 5)), "there are only 1x4"),
        (lambda: projections.GridPool(projections.Grid(1, 4, 1), projections.Grid(1, 2))(torch.zeros(2, 4, 3)), "2, 4"),
        (lambda: projections.GridPool(projections.Grid(1, 4, 1), projections.Grid(1, 4))(torch.zeros(5, 3)), "5, 3"),
    ],
)
def test_grids_that_cannot_be_are_told(call, words):
    with pytest.raises(TextkdError, match=words):
        call()
