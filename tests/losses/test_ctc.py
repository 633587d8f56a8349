"""CTC against a sum over all alignments; its start at marks; what it leaves out."""

import itertools
import logging
import math

import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError
from textkd.objective.projections import Grid

NONE = -100
UNKNOWN = torch.full((2, 3), torch.nan)


def build(positions=2, vocabulary=3, grid=None, **options):
    torch.manual_seed(0)
    shape = (2, positions, 6)
    return losses.get("ctc", "hidden").build(shape, (2, 3), options, vocabulary=vocabulary, grid=grid).double()


def over_all_alignments(scores, labels):
    """-log of the probability of all paths over the frames that read `labels`, per label."""
    frames, classes = scores.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=frames):
        read = [key for key, _ in itertools.groupby(path) if key != classes - 1]
        if read == labels:
            total += math.exp(sum(scores[t, c].item() for t, c in enumerate(path)))
    return -math.log(total) / len(labels)


def test_it_is_the_probability_of_all_alignments_per_label():
    module, hidden = build(), torch.randn(2, 2, 6, dtype=torch.float64)
    labels = torch.tensor([[1, NONE, 1], [2, 0, NONE]])  # a gap among the labels counts as none
    scores = module.head(module.norm(hidden)).view(2, 4, 4).log_softmax(-1)
    expected = [over_all_alignments(scores[0], [1, 1]), over_all_alignments(scores[1], [2, 0])]
    value = module(hidden, labels, progress=1.0, marks=UNKNOWN)
    assert value.item() == pytest.approx(sum(expected) / 2)


def test_masked_positions_and_special_tokens_are_no_frames():
    module, hidden = build(3), torch.randn(2, 3, 6, dtype=torch.float64)
    labels, mask = torch.tensor([[1, 2]] * 2), torch.tensor([[1, 0, 1], [1, 1, 1]]) != 0
    short = module(hidden[:1, [0, 2]], labels[:1], progress=1.0, marks=UNKNOWN)
    whole = module(hidden[1:], labels[1:], progress=1.0, marks=UNKNOWN)
    both = module(hidden, labels, mask, progress=1.0, marks=UNKNOWN)
    assert both.item() == pytest.approx((short + whole).item() / 2)
    after_one = build(4, grid=Grid(1, 3, special=1))
    after_one.load_state_dict(module.state_dict())
    with_class_token = torch.cat([torch.randn(2, 1, 6), hidden], 1)
    assert torch.equal(after_one(with_class_token, labels, mask, progress=1.0, marks=UNKNOWN), both)


def test_at_the_start_marks_say_which_frame_reads_what():
    module, hidden = build(marked=0.5), torch.randn(2, 2, 6, dtype=torch.float64)
    labels, marks = torch.tensor([[1, 2]] * 2), torch.tensor([[0.1, 0.6], [torch.nan, torch.nan]])
    scores = module.head(module.norm(hidden)).view(2, 4, 4).log_softmax(-1)
    # of four frames the first holds 0.1; 0.6 lies in the third, and the one before it belongs to it too
    at_marks = -(scores[0, 0, 1] + scores[0, 1, 2] + scores[0, 2, 2]) / 3
    alone = module(hidden, labels, progress=0.5, marks=marks)
    for progress, fading in ((0.0, 1.0), (0.25, 0.5)):
        value = module(hidden, labels, progress=progress, marks=marks)
        assert value.item() == pytest.approx(((1 - 0.8 * fading) * alone + fading * at_marks).item())
    off = build(marked=0.0)
    assert torch.equal(off(hidden, labels, progress=0.0, marks=marks), alone)


def test_rows_without_room_are_left_out_aloud(caplog):
    module, hidden = build(), torch.randn(2, 2, 6, dtype=torch.float64)
    labels = torch.tensor([[1, 1, 1], [1, 2, NONE]])  # five frames beside four
    with caplog.at_level(logging.WARNING):
        value = module(hidden, labels, progress=1.0, marks=UNKNOWN)
        module(hidden, labels, progress=1.0, marks=UNKNOWN)
    alone = module(hidden[1:], labels[1:], progress=1.0, marks=UNKNOWN)
    assert torch.equal(value, alone)
    assert [record.message.count("more labels than frames") for record in caplog.records] == [1]
    # a later batch of such rows alone teaches nothing and stops nothing; where none has ever fitted, something is wrong
    hidden.requires_grad_()
    none = module(hidden[:1], labels[:1], progress=1.0, marks=UNKNOWN)
    none.backward()
    assert none.item() == 0
    assert not hidden.grad.any()
    with pytest.raises(TextkdError, match="narrower patches"):
        build()(hidden[:1], labels[:1], progress=1.0, marks=UNKNOWN)


def test_models_that_it_cannot_read():
    with pytest.raises(TextkdError, match="no vocabulary"):
        build(vocabulary=None)
    with pytest.raises(TextkdError, match="patches of the image's height"):
        build(grid=Grid(2, 3, special=1))
