"""Names of models in a row, and where long ones may break."""

from __future__ import annotations

from textkd.report.words import humps, listed


def test_names_in_a_row_and_names_that_may_break():
    assert [listed(["a", "b", "c"][:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert humps("BertForMaskedLM 3x384") == ["Bert", "For", "Masked", "LM 3x384"]
    assert "".join(humps("DebertaV2ForTokenClassification")) == "DebertaV2ForTokenClassification"
